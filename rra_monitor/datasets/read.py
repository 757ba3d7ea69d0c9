"""The data sets of the recipes, read from their formats on disk."""

from collections.abc import Mapping, Sequence
from itertools import compress
from pathlib import Path

import numpy as np
import torch

from rra_monitor.datasets.catalogue import Data
from rra_monitor.datasets.cifar10 import CIFAR10_CLASSES, CIFAR10_FOLDER, cifar10_folder, read_cifar10
from rra_monitor.datasets.digits import read_digits
from rra_monitor.datasets.folders import SPLITS, class_folders, split_folders
from rra_monitor.datasets.imagenet64 import SUBSET_CLASSES, has_batches, read_batches, subset_classes, subset_images
from rra_monitor.datasets.images import Files, Split, Splits, check_all, load_all
from rra_monitor.utils.text import some

TREE = "train/<class>/*.jpg (or png, …) and val/<class>/* or test/<class>/*"
FORMS = {
    "cifar10": f"{CIFAR10_FOLDER}/, as torchvision downloads it (--download), or {TREE}",
    "imagenet64": f"train_data_batch_1.npz … and val_data.npz, or {TREE}",
    "imagenet64-50": f"train_data_batch_1.npz … and val_data.npz of all of ImageNet64x64, or {TREE}",
    "images": TREE,
}
"""Contents of a data directory."""


def read_splits(
    data: Data,
    folder: Path | None,
    *,
    download: bool = False,
    allow_pickle: bool = False,
    lazy: bool = False,
    check: bool = True,
) -> Splits:
    """A data set's training and validation images.

    Args:
        data: entry of the catalogue.
        folder: directory of the images; digits need none.
        download: whether to fetch CIFAR-10 into the folder if it is not there.
        allow_pickle: whether to read pickled batches of ImageNet64x64, which runs the code they contain.
        lazy: whether to leave images in single files on disk, and read them when they are needed.
        check: whether to decode those once, so that a corrupt one stops a training before it starts.

    Raises:
        ValueError: no folder or one with other contents, other classes than the recipe's, corrupt images, no network
            for the download; with what was found, what was expected, and how many.
    """
    if data.name == "digits":
        digits = read_digits()
        return Splits(data, tuple(map(str, range(10))), digits["train"], digits["val"])
    if folder is None:
        raise ValueError(f"{data.title} needs --data DIR, a directory with {FORMS[data.name]}")
    if data.name == "cifar10" and (batches := cifar10_folder(folder, download)) is not None:
        held = read_cifar10(batches, download)
        return Splits(data, CIFAR10_CLASSES, held["train"], held["val"])
    if not folder.is_dir():
        raise ValueError(f"{folder} is no directory; {data.title} needs one with {FORMS[data.name]}")
    if data.name in ("imagenet64", "imagenet64-50") and has_batches(folder):
        return read_batches(data, folder, allow_pickle)
    return _tree(data, folder, lazy, check)


def _tree(data: Data, folder: Path, lazy: bool, check: bool) -> Splits:
    """A tree of images, DIR/train/<class>/* and DIR/val/<class>/*."""
    folders = split_folders(folder)
    if missing := [name for name in SPLITS if name not in folders]:
        found = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
        raise ValueError(
            f"{folder} holds {some(found) if found else 'nothing'}, and no split {' and no split '.join(missing)}; "
            f"expected for {data.title}: {FORMS[data.name]}"
        )
    listed = {name: class_folders(path, f"for {data.title}: {FORMS[data.name]}") for name, path in folders.items()}
    classes, validation = listed["train"].classes, listed["val"].classes
    if classes != validation:
        raise ValueError(f"the classes of {folder} differ: {_differences(classes, validation, 'train', 'validation')}")
    _check_classes(data, classes, folder)
    paths = {name: [path for path, _ in tree.samples] for name, tree in listed.items()}
    labels = {name: np.array(tree.targets, dtype=np.int64) for name, tree in listed.items()}
    if data.name == "imagenet64-50" and len(classes) > SUBSET_CLASSES:
        chosen = subset_classes(labels["train"])
        taken = {"train": subset_images(labels["train"], chosen), "val": np.isin(labels["val"], chosen)}
        paths = {name: list(compress(all_of_it, taken[name])) for name, all_of_it in paths.items()}
        labels = {name: np.searchsorted(chosen, held[taken[name]]) for name, held in labels.items()}
        classes = [classes[label] for label in chosen]
    files = {
        name: Files(paths[name], torch.from_numpy(labels[name]), data.side, resize=data.name == "images")
        for name in SPLITS
    }
    if lazy and check:
        check_all(files)
    splits: Mapping[str, Split] = files if lazy else load_all(files)
    return Splits(data, tuple(classes), splits["train"], splits["val"])


def _check_classes(data: Data, classes: Sequence[str], folder: Path) -> None:
    remedy = "for classes of your own there are the recipes resnet20-images and resnet34-images"
    if data.name == "cifar10" and tuple(classes) != CIFAR10_CLASSES:
        raise ValueError(
            f"the classes of {folder} are not those of CIFAR-10: "
            f"{_differences(CIFAR10_CLASSES, classes, 'CIFAR-10', 'the directory')}; {remedy}"
        )
    # The subset is drawn from the whole, or lies there alone.
    fitting = {data.classes, 1000} if data.name == "imagenet64-50" else {data.classes}
    if data.classes is not None and len(classes) not in fitting:
        raise ValueError(f"{folder} has {len(classes)} classes, and {data.title} has {data.classes}; {remedy}")


def _differences(here: Sequence[str], there: Sequence[str], name: str, other: str) -> str:
    alone = {name: sorted(set(here) - set(there)), other: sorted(set(there) - set(here))}
    return "; ".join(f"only {where} has {some(classes)}" for where, classes in alone.items() if classes)
