"""Weights from a file into a model, without running code of the file."""

import os
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn


def load_checkpoint(model: nn.Module, file: str | os.PathLike[str]) -> tuple[int, int, list[str]]:
    """Load a Lightning checkpoint or a state_dict into a model; weights only, no code of the file is run.

    Names that carry a prefix before the model's own (`model.`, say, where a LightningModule holds the model) lose it.

    Returns:
        Optimiser steps and completed epochs, 0 where the file does not say; names of the entries that do not belong to
        the model, since they lack that prefix.

    Raises:
        ValueError: no such file, a file with more than weights, or weights of another model, with what differs.
    """
    try:
        held = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"there is no checkpoint {file}") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"{file} can not be read as weights alone ({reason}). Save it with torch.save(model.state_dict(), FILE) "
            "where it was trained, and give that file"
        ) from error
    weights = held.get("state_dict", held) if isinstance(held, Mapping) else held
    if not isinstance(weights, Mapping) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise ValueError(
            f"{file} holds no weights: expected a state_dict (names to tensors) or a Lightning checkpoint with one "
            f"under 'state_dict', found {_outline(held)}"
        )
    wanted = model.state_dict()
    prefixes = {key.removesuffix(name) for key in weights for name in wanted if key.endswith(f".{name}")}
    # The one that fits most names; of several, the shortest.
    prefix = max(sorted({"", *prefixes}, key=len), key=lambda one: sum(one + name in weights for name in wanted))
    own = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    missing, unexpected = [name for name in wanted if name not in own], [name for name in own if name not in wanted]
    shapes = [
        f"{name} is {tuple(own[name].shape)} there, {tuple(value.shape)} in MODEL"
        for name, value in wanted.items()
        if name in own and own[name].shape != value.shape
    ]
    if missing or unexpected or shapes:
        wrong = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
        found = "; ".join(f"{len(names)} {what}: {some(names)}" for what, names in wrong.items() if names)
        raise ValueError(
            f"{file} does not fit MODEL: {found}. Give the model that was trained; its number of classes, say, is set "
            "by --arguments num_classes=10"
        )
    model.load_state_dict(own)
    step, epoch = held.get("global_step"), held
    for key in ("loops", "fit_loop", "epoch_progress", "current", "processed"):
        epoch = epoch.get(key) if isinstance(epoch, Mapping) else None
    left_out = [key for key in weights if not key.startswith(prefix)]
    return step if isinstance(step, int) else 0, epoch if isinstance(epoch, int) else 0, left_out


def some(names: Sequence[str], most: int = 5) -> str:
    """The first of several names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _outline(held: Any) -> str:
    return f"the entries {some([str(key) for key in held])}" if isinstance(held, Mapping) else type(held).__name__
