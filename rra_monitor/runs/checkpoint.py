"""Weights from a file into a model, without running code of the file."""

import os
import warnings
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rra_monitor.utils.archives import check_unpacked
from rra_monitor.utils.text import sentence, shortened, some

REASON = 300
"""Longest quotation of another library's message in an error, in characters."""

LARGEST_COUNT = 1 << 53
"""Largest number of steps and of epochs."""

EPOCHS = ("loops", "fit_loop", "epoch_progress", "current", "processed")
"""Where Lightning keeps the number of completed epochs."""


def load_checkpoint(model: nn.Module, file: str | os.PathLike[str]) -> tuple[int, int, list[str]]:
    """Load a Lightning checkpoint or a state_dict into a model; weights only, no code of the file is run.

    A prefix before the model's own names is removed (for example `model.`, if a LightningModule holds the model).

    Args:
        model: network on any device, which gets the weights.
        file: path of the checkpoint.

    Returns:
        Numbers of optimiser steps and of completed epochs, 0 if the file has none; names of the entries that do not
        belong to the model, because they lack that prefix.

    Raises:
        ValueError: no such file, a file with more than weights, or weights of another model, with what differs.
    """
    held = read_checkpoint(file)
    weights = held.get("state_dict", held) if isinstance(held, Mapping) else held
    if not isinstance(weights, Mapping) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in weights.items()
    ):
        raise ValueError(
            f"{file} holds no weights: expected a state_dict (names to tensors) or a Lightning checkpoint with one "
            f"under 'state_dict', found {_outline(held)}"
        )
    wanted = model.state_dict()
    prefix = _prefix(weights, wanted)
    own = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    differences = {
        "missing": [name for name in wanted if name not in own],
        "unexpected": [name for name in own if name not in wanted],
        "of another shape": [
            f"{name} is {tuple(own[name].shape)} there, {tuple(value.shape)} in MODEL"
            for name, value in wanted.items()
            if name in own and own[name].shape != value.shape
        ],
        "of another kind": [
            f"{name} is {kind} there, {_kind(value)} in MODEL"
            for name, value in wanted.items()
            if name in own and (kind := _kind(own[name])) != _kind(value)
        ],
    }
    if wrong := "; ".join(f"{len(names)} {what}: {some(names)}" for what, names in differences.items() if names):
        raise ValueError(
            f"{file} does not fit MODEL: {wrong}. Give the model that was trained; its number of classes, for "
            "example, is set by --arguments num_classes=10"
        )
    # A state_dict by itself may have an entry of the same name.
    about = {} if weights is held else held
    step, epoch = _count(about, file, "global_step"), _count(about, file, *EPOCHS)
    try:
        model.load_state_dict(own)
    except RuntimeError as error:  # what torch raises for anything that the model's own code refuses
        raise ValueError(f"{file} does not fit MODEL: {sentence(error)}") from error
    return step, epoch, [key for key in weights if not key.startswith(prefix)]


def read_checkpoint(file: str | os.PathLike[str]) -> Any:
    """The contents of a file of torch.save, which may only be weights and plain values: no code of the file is run.

    Raises:
        ValueError: no file, one that is truncated or holds anything else, or one that would unpack to far more than
            its size.
    """
    path = Path(file)
    if not path.is_file():
        raise ValueError(f"there is no checkpoint {file}" + (": it is no file" if path.exists() else ""))
    try:
        _refuse_bombs(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about how a file was written, which its reader cannot change
            return torch.load(file, map_location="cpu", weights_only=True)
    # Whatever a damaged file makes torch raise; a dozen types were seen.
    except Exception as error:
        raise ValueError(
            f"{file} cannot be read as weights alone ({reason_of(error)}). Save it with "
            "torch.save(model.state_dict(), FILE) where it was trained, and give that file"
        ) from error


def reason_of(error: BaseException) -> str:
    """The first line of an error's message, or its name if it has none."""
    return shortened(sentence(str(error).strip().split("\n")[0]) or type(error).__name__, REASON)


def _prefix(weights: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The prefix of the model's own names: the one that fits most of them; of several, the shortest."""
    depths = {name.count(".") for name in wanted}
    fits = Counter({"": sum(name in weights for name in wanted)})
    for key in weights:
        for depth in depths:
            # A name of the model, and what comes before it.
            before, *name = key.rsplit(".", depth + 1)
            if len(name) == depth + 1 and ".".join(name) in wanted:
                fits[f"{before}."] += 1
    return min(fits, key=lambda prefix: (-fits[prefix], len(prefix), prefix))


def _kind(tensor: torch.Tensor) -> str:
    """The kind of a tensor; tensors of one kind can be copied into one another."""
    if tensor.is_meta:
        return "without values"
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_nested:
        return "not dense"
    return "complex" if tensor.is_complex() else "real"


def _count(held: Mapping[str, Any], file: str | os.PathLike[str], *keys: str) -> int:
    """A number of steps or epochs in a checkpoint, 0 where it has none."""
    value: Any = held
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value < LARGEST_COUNT:
        raise ValueError(f"{file}: {'.'.join(keys)} is no count, which would lie in 0 to {LARGEST_COUNT}")
    return value


def _refuse_bombs(path: Path) -> None:
    """Refuse an archive that would unpack to far more than its size."""
    if not zipfile.is_zipfile(path):
        return
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    check_unpacked(size, unpacked)


def _outline(held: Any) -> str:
    if not isinstance(held, Mapping):
        return type(held).__name__
    # Other keys are given by their type: their text could be larger than any memory.
    return f"the entries {some([key if isinstance(key, str) else f'({type(key).__name__})' for key in held])}"
