"""The network and the data of a training, for `rra-monitor analyze` and for a notebook."""

import os
from pathlib import Path
from typing import Any

from torch import nn

from rra_monitor.datasets.catalogue import DATA
from rra_monitor.datasets.images import Normalised
from rra_monitor.datasets.read import read_splits
from rra_monitor.recipes.networks import built
from rra_monitor.recipes.recipe import NetworkSpec
from rra_monitor.recipes.run_files import RUN, read_description
from rra_monitor.utils.text import some


def network_of(run: str) -> nn.Module:
    """The network of a run of `rra-monitor train`, with new weights.

    The trained one is measured by `rra-monitor analyze rra_monitor.recipes.trained:network_of --arguments run=RUN
    --checkpoint RUN/checkpoints/last.ckpt --data run:RUN`.

    Args:
        run: folder of the run.

    Raises:
        ValueError: a folder without a description of a training.
    """
    about = _description(run)
    recipe = about["plan"]["recipe"]
    # JSON has lists where a network has tuples.
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in recipe["network"].items()
    }
    try:
        return built(NetworkSpec(**fields), len(about["classes"]), DATA[recipe["data"]].channels)
    except ValueError as error:
        raise ValueError(f"the network of {run}: {error}") from error


def data_of(run: str, allow_pickle: bool = False, data: str | None = None) -> dict[str, Normalised]:
    """The data sets `train` and `val` of a run of `rra-monitor train`, normalised as there, without augmentation.

    Args:
        run: folder of the run.
        allow_pickle: whether to read pickled batches of ImageNet64x64, which runs the code they contain. Not taken from
            the run, which may come from somebody else; neither is their directory.
        data: directory of the images; if None the one that the run names, for images and arrays, not pickles.

    Raises:
        ValueError: a folder without a description of a training, data that are not there or differ, or
            permission to read pickles from the directory that the run names.
    """
    if allow_pickle and data is None:
        raise ValueError(
            f"allow_pickle=True, and where the data of {run} lie is left to the run, which could name any pickle; pass "
            "data=DIR, too"
        )
    about = _description(run)
    of, folder = DATA[about["plan"]["recipe"]["data"]], _folder(about) if data is None else data
    try:
        # A sample is drawn of them: images in single files need not all be read.
        place = None if folder is None else Path(os.path.expanduser(folder))
        splits = read_splits(of, place, allow_pickle=allow_pickle, lazy=True, check=False)
    except ValueError as error:
        pickled = about["options"].get("allow_pickle") or "--allow-pickle" in str(error)
        there = f"; for analyze that is --data pickled-run:{run}:DIR" if pickled else ""
        raise ValueError(f"the data of {run}: {error}{there}") from error
    if list(splits.classes) != about["classes"]:
        raise ValueError(
            f"the data of {run} have changed: {folder} has {len(splits.classes)} classes ({some(splits.classes)}), "
            f"expected {len(about['classes'])} ({some(about['classes'])}). Put back what it was trained with"
        )
    return {"train": Normalised(splits.train, of.normalization), "val": Normalised(splits.val, of.normalization)}


def data_folder(run: str) -> str | None:
    """The directory of images that a run of `rra-monitor train` names; None for data of a package.

    Raises:
        ValueError: a folder without a description of a training.
    """
    return _folder(_description(run))


def _folder(about: dict[str, Any]) -> str | None:
    folder: str | None = about["options"]["data"]
    return folder


def _description(run: str) -> dict[str, Any]:
    about = read_description(Path(os.path.expanduser(run)))
    if about is None:
        raise ValueError(f"{run} has no {RUN}: it is no folder of `rra-monitor train`")
    return about
