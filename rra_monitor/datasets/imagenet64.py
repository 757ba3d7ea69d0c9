"""ImageNet64x64 in its published batches (Chrabaszcz et al. 2017), and the thesis's subset of 50 classes."""

import os
import pickle
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import torch

from rra_monitor.datasets.catalogue import Data
from rra_monitor.datasets.images import InMemory, Splits
from rra_monitor.utils.archives import check_unpacked
from rra_monitor.utils.terminal import passing_progress
from rra_monitor.utils.text import some

SUBSET_SEED = 0
"""Seed of the draw of ImageNet64x64-50: which 50 classes and which 1,000 images of each is not printed."""

SUBSET_CLASSES, SUBSET_IMAGES = 50, 1000
"""Classes, and training images of each, of ImageNet64x64-50 (5.1): as many images as CIFAR-10 has."""

CLASSES, CHANNELS = 1000, 3
TRAINING = tuple(f"train_data_batch_{number}" for number in range(1, 11))
"""The published training batches."""

BROKEN = (
    *(zipfile.BadZipFile, zlib.error, pickle.UnpicklingError, SyntaxError, EOFError, OSError, RuntimeError),
    *(ValueError, TypeError, KeyError, IndexError, AttributeError, MemoryError, OverflowError, NotImplementedError),
)
"""Errors of zipfile, numpy and pickle for a corrupt file."""

ZIP_START = b"PK\x03\x04"

Labels = npt.NDArray[np.int64]
Chosen = npt.NDArray[np.bool_]


def has_batches(folder: Path) -> bool:
    """Whether the folder, or one within it, holds the published batches."""
    return bool(_files(folder, "train_data_batch_*"))


def read_batches(data: Data, folder: Path, allow_pickle: bool) -> Splits:
    """The whole data set, or its subset for data with 50 classes.

    A batch is a table with `data`, (n, 3 · 64 · 64) bytes, and `labels`, 1 to 1000.

    Args:
        data: data set, whose number of classes decides.
        folder: folder with `train_data_batch_1.npz` to `train_data_batch_10.npz` and `val_data.npz`, at any depth.
        allow_pickle: whether to read batches that are pickles, too, which runs the code they contain.

    Raises:
        ValueError: batches or classes that are missing, a pickle without permission, a batch that is corrupt or of
            another form.
    """
    training, validation = _files(folder, "train_data_batch_*"), _files(folder, "val_data*")
    if not validation:
        raise ValueError(f"{folder} holds {training[0].name} …, but no val_data.npz beside it")
    _check_batches(folder, training)
    train = [_labels(file, allow_pickle) for file in training]
    val = [_labels(file, allow_pickle) for file in validation]
    every = np.concatenate(train)
    # The subset is a draw from all classes, so it needs them as well.
    _check_classes("training", folder, every)
    _check_classes("validation", folder, np.concatenate(val))
    if data.classes == CLASSES:
        classes, taken = np.arange(CLASSES), np.ones(len(every), dtype=bool)
    else:
        classes = subset_classes(every)
        taken = subset_images(every, classes)
    masks = np.split(taken, np.cumsum([len(labels) for labels in train])[:-1])
    return Splits(
        data,
        tuple(str(label) for label in classes),
        _split(training, train, masks, classes, data.side, allow_pickle),
        _split(validation, val, [np.isin(labels, classes) for labels in val], classes, data.side, allow_pickle),
    )


def subset_classes(labels: Labels) -> Labels:
    """The classes of ImageNet64x64-50: a seeded draw from those with 1,000 images or more, ascending.

    Raises:
        ValueError: fewer such classes than requested.
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
    """(n,) positions of the training images: a seeded draw of 1,000 of each class."""
    rng = np.random.default_rng(SUBSET_SEED)
    taken = np.zeros(len(labels), dtype=bool)
    for label in classes:
        taken[rng.choice(np.flatnonzero(labels == label), SUBSET_IMAGES, replace=False)] = True
    return taken


def _split(
    files: Sequence[Path],
    labels: Sequence[Labels],
    masks: Sequence[Chosen],
    classes: Labels,
    side: int,
    allow_pickle: bool,
) -> InMemory:
    """The chosen images of some batches, with one batch in memory at a time."""
    total = sum(int(mask.sum()) for mask in masks)
    images = torch.empty((total, CHANNELS, side, side), dtype=torch.uint8)
    start = 0
    with passing_progress() as progress:
        for file, mask in zip(progress.track(files, description="reading batches"), masks, strict=True):
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
    """The batches of a name by their numbers; of a batch in both formats the npz."""
    found = {file.with_suffix(""): file for ending in ("", ".npz") for file in folder.rglob(pattern + ending)}
    return sorted((file for file in found.values() if file.is_file()), key=lambda file: (len(file.name), file.name))


def _check_batches(folder: Path, training: Sequence[Path]) -> None:
    """Refuse an incomplete download, and two downloads in one folder."""
    found = Counter(file.name.removesuffix(".npz") for file in training)
    if missing := [name for name in TRAINING if name not in found]:
        raise ValueError(
            f"{folder} holds {len(TRAINING) - len(missing)} of the {len(TRAINING)} training batches; missing: "
            f"{some(missing, len(TRAINING))}. Fetch them, too"
        )
    if others := [name for name, times in found.items() if times > 1 or name not in TRAINING]:
        raise ValueError(
            f"{folder} holds other training batches, or one twice: {some(others)}; expected {TRAINING[0]} to "
            f"{TRAINING[-1]}, each once. Give the folder of one data set"
        )


def _check_classes(split: str, folder: Path, labels: Labels) -> None:
    missing = np.setdiff1d(np.arange(CLASSES), labels) + 1
    if len(missing):
        raise ValueError(
            f"the {split} batches of {folder} have images of {CLASSES - len(missing)} of the {CLASSES} classes; none "
            f"of the labels {some([str(label) for label in missing])}. Fetch them again; for classes of your own there "
            "are the recipes resnet20-images and resnet34-images"
        )


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
    npz = file.suffix == ".npz"
    if not npz and not allow_pickle:
        raise ValueError(refused)
    try:
        with file.open("rb") as stream:
            batch = _npz(stream, name, allow_pickle) if npz else pickle.load(stream)
    except BROKEN as error:
        if "allow_pickle" in str(error):
            raise ValueError(refused) from error
        form, reason = "npz" if npz else "pickle", str(error) or type(error).__name__
        raise ValueError(f"{file} is corrupt or no {form} ({reason}); fetch it again") from error
    if not isinstance(batch, Mapping) or name not in batch:
        found = (
            f"the entries {', '.join(map(str, batch))}" if isinstance(batch, Mapping) else f"a {type(batch).__name__}"
        )
        raise ValueError(f"{file} has {found}, expected data and labels")
    return batch[name]


def _npz(stream: IO[bytes], name: str, allow_pickle: bool) -> dict[str, Any]:
    """The entries of an npz, of which only the one of that name is read."""
    # numpy takes what is no archive for a pickle.
    if stream.read(len(ZIP_START)) != ZIP_START or not zipfile.is_zipfile(stream):
        raise zipfile.BadZipFile("its start or its end is not that of a zip archive")
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    with zipfile.ZipFile(stream) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist() if entry.filename == f"{name}.npy")
    check_unpacked(size, unpacked)
    stream.seek(0)
    with np.load(stream, allow_pickle=allow_pickle) as held:
        return {key: held[key] if key == name else None for key in held}
