"""Models and data by their names on the command line."""

import ast
import difflib
import importlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from rra_monitor.datasets.inputs import ONE_SPLIT, cifar10_inputs, digits_inputs, folder_inputs
from rra_monitor.datasets.normalization import IMAGENET_NORMALIZATION
from rra_monitor.samples.sample import FixedSample
from rra_monitor.utils.imports import required

MOST_LETTERS = 2000
"""Longest text of a function's arguments, in characters."""


def named_model(spec: str, arguments: str | None = None) -> nn.Module:
    """The network of a name: `torchvision:resnet18`, `timm:…`, or `module:function`.

    Args:
        spec: name; a function is called, a model is used as it is.
        arguments: arguments of the function, such as `num_classes=10,in_channels=1`.

    Raises:
        ValueError: no such module, function or network; timm is not installed; arguments of another form.
        TypeError: the object found is not a model.
    """
    origin, _, name = spec.partition(":")
    named = named_values(arguments)
    if origin in ("torchvision", "timm") and name:
        library = required("torchvision.models" if origin == "torchvision" else "timm", f"MODEL {spec!r}")
        if name not in (known := library.list_models()):
            near = ", ".join(difflib.get_close_matches(name, known, n=5, cutoff=0.4))
            raise ValueError(f"{origin} has no model {name!r}" + (f"; the nearest names: {near}" if near else ""))
        create = library.get_model if origin == "torchvision" else library.create_model
        return create(name, **named)  # type: ignore[no-any-return]
    found = _returned(spec, "MODEL", nn.Module, named)
    if not isinstance(found, nn.Module):
        raise TypeError(f"MODEL {spec!r} gave a {type(found).__name__}, expected a torch.nn.Module")
    return found


def named_values(text: str | None) -> dict[str, Any]:
    """Values by name, from a text such as `num_classes=10,name=small`; a comma within a value needs quotes around it.

    Raises:
        ValueError: a part without a name or a value.

    >>> named_values("num_classes=10, pretrained=False, name=small")
    {'num_classes': 10, 'pretrained': False, 'name': 'small'}
    >>> named_values("run='runs/w8,4,8',deep=True")
    {'run': 'runs/w8,4,8', 'deep': True}
    """
    if text and len(text) > MOST_LETTERS:
        raise ValueError(f"the arguments have {len(text)} letters, expected at most {MOST_LETTERS}: {text[:40]}…")
    found: dict[str, Any] = {}
    for part in re.split(r",(?=(?:[^']*'[^']*')*[^']*$)", text) if text else []:
        name, _, value = (piece.strip() for piece in part.partition("="))
        if not name.isidentifier() or not value:
            raise ValueError(f"the arguments {text!r}: expected NAME=VALUE with commas between, found {part!r}")
        try:
            found[name] = ast.literal_eval(value)
        # The last two: brackets or signs by the thousand.
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            found[name] = value
    return found


def samples(
    spec: str, n: int, size: int | None, probe: str | None, seed: int, folder: str | None = None
) -> dict[str, FixedSample]:
    """Name to sample of each split of the data.

    Args:
        spec: `digits`, `cifar10:DIR`, `run:RUN` for the data of a run of `rra-monitor train`, read from the directory
            that the run names, `pickled-run:RUN:DIR` for pickles in DIR, which runs the code they contain, a folder of
            folders of images, `module:function`, or a file of `FixedSample.save`, which is measured as it is.
        n: samples of each split; fewer if there are not enough.
        size: size of the images of a folder: their shorter side is scaled to it and the centre cut out; unscaled if
            None.
        probe: split to use, or the name of data in one split.
        seed: seed of the draw.
        folder: where inputs above 1 GiB are kept, and found by a later draw, see `FixedSample.from_dataset`.

    Raises:
        ValueError: no such data or split.
        TypeError: data that are not data sets.
    """
    if (file := Path(os.path.expanduser(spec))).is_file():
        return {probe or ONE_SPLIT: FixedSample.load(file)}
    splits = data_splits(spec, size)
    if list(splits) == [ONE_SPLIT] and probe is not None:
        splits = {probe: splits[ONE_SPLIT]}
    if probe is not None and probe not in splits:
        raise ValueError(f"the data {spec!r} have the splits {', '.join(splits)}, no {probe!r}; choose one of them")
    try:
        return {
            name: FixedSample.from_dataset(split, n=n, seed=seed, shrink=True, folder=folder)
            for name, split in splits.items()
            if probe in (None, name)
        }
    except TypeError as error:
        if size is not None or not Path(os.path.expanduser(spec)).is_dir():
            raise
        raise TypeError(f"the images of {spec} differ in size; --size 224 makes them alike ({error})") from error


def data_splits(spec: str, size: int | None = None) -> dict[str, Any]:
    """Name to data set of each split of the data: `train` and `val`, or `data` alone.

    Raises:
        ValueError: no such folder, module or function.
        TypeError: a function that does not return a data set.
    """
    origin, _, rest = spec.partition(":")
    folder = Path(os.path.expanduser(spec))
    if size is not None and not folder.is_dir():
        raise ValueError(f"--size is for folders of images, and the data {spec!r} are none; drop it")
    if spec == "digits":
        return digits_inputs()
    if origin == "cifar10" and rest:
        return cifar10_inputs(Path(os.path.expanduser(rest)))
    if origin == "run" and rest:
        return dict(_trained().data_of(rest))
    if origin == "pickled-run" and rest:
        run, _, where = rest.rpartition(":")
        if not run or not where:
            raise ValueError(
                f"the data {spec!r}: reading pickles runs what they contain, so where they lie is not taken from the "
                f"run; expected pickled-run:RUN:DIR, as in pickled-run:{rest.rstrip(':')}:/data/imagenet64"
            )
        return dict(_trained().data_of(run, allow_pickle=True, data=where))
    if folder.is_dir():
        return folder_inputs(folder, size, IMAGENET_NORMALIZATION)
    if not rest or "/" in origin:
        raise ValueError(
            f"the data {spec!r} are no folder, and not of the form 'digits', 'cifar10:DIR', 'run:RUN' or "
            "'module:function'"
        )
    found = _returned(spec, "the data", None, {})
    splits = found if isinstance(found, Mapping) else {ONE_SPLIT: found}
    for name, split in splits.items():
        if not hasattr(split, "__getitem__") or not hasattr(split, "__len__") or isinstance(split, str):
            raise TypeError(
                f"the data {spec!r} gave a {type(split).__name__} for {name!r}, expected a Dataset with length and "
                "indexing, or a dictionary of them"
            )
    return dict(splits)


def folder_of_run(spec: str) -> str | None:
    """The directory of images that a run names, for data `run:RUN`; None for other data, and for those of a package.

    Raises:
        ValueError: not a run of `rra-monitor train`.
    """
    origin, _, run = spec.partition(":")
    return _trained().data_folder(run) if origin == "run" and run else None


def _trained() -> Any:
    try:
        from rra_monitor.recipes import trained
    except ModuleNotFoundError as error:
        raise ValueError(f"the data of a run need {error.name}: pip install 'rra-monitor[recipes]'") from error
    return trained


def _returned(spec: str, what: str, ready: type | None, arguments: dict[str, Any]) -> Any:
    """The result of the function `module:function`; the object itself if it is of the type `ready`."""
    origin, _, name = spec.partition(":")
    if not origin or not name:
        forms = "module:function" + (", torchvision:NAME or timm:NAME" if what == "MODEL" else "")
        raise ValueError(f"{what} {spec!r}: expected {forms}")
    _make_findable(origin)
    try:
        found = importlib.import_module(origin)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{origin}.".startswith(f"{error.name}."):
            raise
        raise ValueError(
            f"{what} {spec!r}: there is no module {error.name!r}, neither installed nor in the working directory"
        ) from error
    if not hasattr(found, name):
        near = ", ".join(difflib.get_close_matches(name, dir(found), n=5, cutoff=0.4))
        raise ValueError(
            f"{what} {spec!r}: {origin} has no {name!r}"
            + (f"; the nearest names: {near}" if near else "")
            + f" (it is {getattr(found, '__file__', None) or 'a part of Python'}; what is installed goes before the "
            "working directory)"
        )
    value = getattr(found, name)
    if ready is not None and isinstance(value, ready):
        return value
    if not callable(value):
        raise TypeError(f"{what} {spec!r} is a {type(value).__name__}, expected a function")
    _check_arguments(value, arguments, f"{what} {spec!r}")
    try:
        return value(**arguments)
    except Exception as error:
        if origin.partition(".")[0] == __name__.partition(".")[0] and isinstance(error, (ValueError, TypeError)):
            raise type(error)(f"{what} {spec!r}: {error}") from error
        # With its trace: the fault lies in code that the reader knows.
        raise RuntimeError(f"{what} {spec!r}: calling it failed: {error}") from error


def _make_findable(module: str) -> None:
    """Allow the import of a module in the working directory, without preferring it to installed ones.

    A console command has its own directory at the front of `sys.path`. The working directory may hold foreign files, so
    it is put last, and only for a module that the user named.
    """
    if os.getcwd() not in sys.path and _is_missing(module.partition(".")[0]):
        sys.path.append(os.getcwd())
        importlib.invalidate_caches()


def _is_missing(package: str) -> bool:
    try:
        return package not in sys.modules and importlib.util.find_spec(package) is None
    except ValueError:  # a name that none can have
        return True


def _check_arguments(function: Any, arguments: dict[str, Any], what: str) -> None:
    """Refuse arguments that a function does not accept, or lacks; a callable without a signature is called anyway.

    Raises:
        ValueError: the first such argument.
    """
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):
        return
    try:
        signature.bind(**arguments)
    except TypeError as error:
        remedy = "see --arguments" if what.startswith("MODEL") else "name a function that needs no arguments"
        raise ValueError(f"{what} takes {signature}: {error}; {remedy}") from error
