"""ImageNet64x64 in its published batches (Chrabaszcz et al. 2017), and the thesis's subset of 50 classes."""

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rra_monitor.recipes.choices import SUBSET_CLASSES, SUBSET_IMAGES, SUBSET_SEED
from rra_monitor.recipes.images import InMemory, Parts
from rra_monitor.recipes.recipe import Data

CLASSES, CHANNELS = 1000, 3

Labels = npt.NDArray[np.int64]
Chosen = npt.NDArray[np.bool_]


def has_batches(folder: Path) -> bool:
    """Whether the folder, or one within it, holds the published batches."""
    return bool(_files(folder, "train_data_batch_*"))


def read_batches(data: Data, folder: Path, allow_pickle: bool) -> Parts:
    """The whole data set, or its subset where the data have 50 classes.

    A batch is a table with `data`, (n, 3 · 64 · 64) bytes, and `labels`, 1 to 1000.

    Args:
        data: how many classes to take.
        folder: that holds `train_data_batch_1.npz` … and `val_data.npz`, at any depth.
        allow_pickle: also read batches that are pickles, which runs what they contain.

    Raises:
        ValueError: no validation batch, a pickle without permission, a batch of another form.
    """
    training, validation = _files(folder, "train_data_batch_*"), _files(folder, "val_data*")
    if not validation:
        raise ValueError(f"{folder} holds {training[0].name} …, but no val_data.npz beside it")
    train = [_labels(file, allow_pickle) for file in training]
    val = [_labels(file, allow_pickle) for file in validation]
    every = np.concatenate(train)
    if data.classes == CLASSES:
        classes, taken = np.arange(CLASSES), np.ones(len(every), dtype=bool)
    else:
        classes = subset_classes(every)
        taken = subset_images(every, classes)
    masks = np.split(taken, np.cumsum([len(labels) for labels in train])[:-1])
    return Parts(
        data,
        tuple(str(label) for label in classes),
        _part(training, train, masks, classes, data.side, allow_pickle),
        _part(validation, val, [np.isin(labels, classes) for labels in val], classes, data.side, allow_pickle),
    )


def subset_classes(labels: Labels) -> Labels:
    """The classes of ImageNet64x64-50: a seeded draw from those with 1,000 images or more, ascending.

    Raises:
        ValueError: fewer such classes than wanted.
    """
    classes, counts = np.unique(labels, return_counts=True)
    large = classes[counts >= SUBSET_IMAGES]
    if len(large) < SUBSET_CLASSES:
        raise ValueError(
            f"{len(large)} of {len(classes)} classes have {SUBSET_IMAGES} training images or more, and "
            f"{SUBSET_CLASSES} are wanted; give the whole of ImageNet64x64"
        )
    return np.sort(np.random.default_rng(SUBSET_SEED).choice(large, SUBSET_CLASSES, replace=False))


def subset_images(labels: Labels, classes: Labels) -> Chosen:
    """(n,) which training images are taken: a seeded draw of 1,000 of each class."""
    rng = np.random.default_rng(SUBSET_SEED)
    taken = np.zeros(len(labels), dtype=bool)
    for label in classes:
        taken[rng.choice(np.flatnonzero(labels == label), SUBSET_IMAGES, replace=False)] = True
    return taken


def _part(
    files: Sequence[Path],
    labels: Sequence[Labels],
    masks: Sequence[Chosen],
    classes: Labels,
    side: int,
    allow_pickle: bool,
) -> InMemory:
    """The chosen images of some batches, one batch in memory beside them at a time."""
    total = sum(int(mask.sum()) for mask in masks)
    images = torch.empty((total, CHANNELS, side, side), dtype=torch.uint8)
    start = 0
    for file, mask in zip(files, masks, strict=True):
        rows = _entry(file, "data", allow_pickle)
        if rows.dtype != np.uint8 or rows.shape != (len(mask), CHANNELS * side * side):
            raise ValueError(
                f"{file}: its data are {rows.dtype} of shape {rows.shape}, expected bytes of "
                f"({len(mask)}, {CHANNELS * side * side}): images of {side} x {side}"
            )
        stop = start + int(mask.sum())
        images[start:stop] = torch.from_numpy(rows[mask]).view(-1, CHANNELS, side, side)
        start = stop
    chosen = np.concatenate([some[mask] for some, mask in zip(labels, masks, strict=True)])
    return InMemory(images, torch.from_numpy(np.searchsorted(classes, chosen)))


def _files(folder: Path, pattern: str) -> list[Path]:
    """The batches of a name, by their numbers; of a batch in both forms the npz."""
    found = {file.with_suffix(""): file for ending in ("", ".npz") for file in folder.rglob(pattern + ending)}
    return sorted((file for file in found.values() if file.is_file()), key=lambda file: (len(file.name), file.name))


def _labels(file: Path, allow_pickle: bool) -> Labels:
    labels = np.asarray(_entry(file, "labels", allow_pickle), dtype=np.int64) - 1
    if len(labels) and not 0 <= labels.min() <= labels.max() < CLASSES:
        raise ValueError(f"{file}: labels from {labels.min() + 1} to {labels.max() + 1}, expected 1 to {CLASSES}")
    return labels


def _entry(file: Path, name: str, allow_pickle: bool) -> Any:
    """One entry of a batch."""
    refused = (
        f"{file} is a pickle, and reading it runs what it contains. Give the npz batches, or --allow-pickle if you "
        "trust it"
    )
    if file.suffix == ".npz":
        with np.load(file, allow_pickle=allow_pickle) as held:
            if name not in held:
                raise ValueError(f"{file} has the entries {', '.join(held)}, expected data and labels")
            try:
                return held[name]
            except ValueError as error:
                if "allow_pickle" in str(error):
                    raise ValueError(refused) from error
                raise
    if not allow_pickle:
        raise ValueError(refused)
    with file.open("rb") as stream:
        batch = pickle.load(stream)
    if not isinstance(batch, Mapping) or name not in batch:
        raise ValueError(f"{file} holds a {type(batch).__name__} without {name!r}, expected data and labels")
    return batch[name]
