"""Values that a data set keeps apart from its items, one per item: columns in which its labels may be found."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import ConcatDataset, TensorDataset

from rra_monitor.samples.items import LABEL_KEYS
from rra_monitor.samples.labels import as_array

Columns = dict[str, npt.NDArray[Any]]
"""Name to (length,) or (length, m) values."""

Column = tuple[str, npt.NDArray[Any]]

NAMES = ("targets", "labels", "target", "label", "y")
"""Attributes that hold the labels by their name."""

MOST_COLUMNS = 32
MOST_ENTRIES = 8
SOME = 4096
MOST_CLASSES = 10_000
"""Largest width of a column of one-hot vectors."""

PLAIN_FEATURES = ("ClassLabel", "Value")
"""Features of a Hugging Face data set that are read without decoding anything."""


def stored_columns(dataset: Any) -> Columns:
    """The columns of a data set, those that are named as labels first."""
    length = len(dataset)
    found = dict(pair for _, pair in zip(range(MOST_COLUMNS), _columns(dataset, length), strict=False))
    return {name: found[name] for name in sorted(found, key=lambda name: _rank(name))}


def is_named(column: str) -> bool:
    """Whether a column's name says that it holds the labels."""
    return column.rpartition(".")[2] in NAMES


def _rank(name: str) -> int:
    last = name.rpartition(".")[2]
    return NAMES.index(last) if last in NAMES else len(NAMES)


def _columns(dataset: Any, length: int) -> Iterator[Column]:
    if isinstance(dataset, TensorDataset):
        for number, tensor in enumerate(dataset.tensors[1:], 1):
            yield from _column(f"tensors.{number}", tensor, length)
        return
    if isinstance(dataset, ConcatDataset):
        parts = [stored_columns(part) for part in dataset.datasets]
        for name in parts[0] if parts else ():
            if all(name in part for part in parts):
                values = [part[name] for part in parts]
                if len({(value.shape[1:], value.dtype.kind) for value in values}) == 1:
                    yield name, np.concatenate(values)
        return
    for name in NAMES:
        yield from _found(partial(_named, dataset, name, length))
    yield from _found(partial(_of_hugging_face, dataset, length))
    seen: set[int] = set()
    for name, value in list(getattr(dataset, "__dict__", {}).items()):
        if name not in NAMES and id(value) not in seen:  # torchvision's imgs are its samples
            seen.add(id(value))
            yield from _found(partial(_of_attribute, name.strip("_"), value, length))
    yield from _found(partial(_of_inner, dataset, length))


def _found(columns: Callable[[], Iterator[Column]]) -> list[Column]:
    """The columns; none where a property or a method of the user's raises, whatever that is."""
    try:
        return list(columns())
    except Exception:
        return []


def _named(dataset: Any, name: str, length: int) -> Iterator[Column]:
    yield from _column(name, getattr(dataset, name, None), length)


def _of_inner(dataset: Any, length: int) -> Iterator[Column]:
    """The columns of the data set that this one is a part of, or wraps."""
    inner, indices = getattr(dataset, "dataset", None), getattr(dataset, "indices", None)
    if inner is not None and indices is not None and len(indices) == length:
        where = np.asarray(indices)
        for name, values in stored_columns(inner).items():
            yield name, values[where]
    elif inner is not None and len(inner) == length:
        yield from stored_columns(inner).items()


def _of_attribute(name: str, value: Any, length: int) -> Iterator[Column]:
    """The columns in an attribute: itself, entries of its tuples, values of its dictionaries, columns of a table."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if isinstance(key, str):
                yield from _column(f"{name}.{key}", inner, length)
        return
    if isinstance(value, str) or not hasattr(value, "__len__") or len(value) != length or not length:
        return
    if hasattr(value, "columns") and hasattr(value, "iloc"):
        for key in value.columns:
            yield from _column(f"{name}.{key}", value[key], length)
        return
    first = value[0] if isinstance(value, (list, tuple)) else None
    if isinstance(first, (list, tuple)):
        for position, entry in enumerate(first[:MOST_ENTRIES]):
            if is_small(entry) and not _are_texts_apart([other[position] for other in value[:SOME]]):
                yield from _column(f"{name}.{position}", [other[position] for other in value], length)
    elif isinstance(first, Mapping):
        for key in LABEL_KEYS:
            if key in first:
                yield from _column(f"{name}.{key}", [entry[key] for entry in value], length)
    else:
        yield from _column(name, value, length)


def _of_hugging_face(dataset: Any, length: int) -> Iterator[Column]:
    """The columns of a Hugging Face data set that hold numbers or names, without its formats and transforms."""
    features, names = getattr(dataset, "features", None), getattr(dataset, "column_names", None)
    if not isinstance(features, Mapping) or not isinstance(names, list) or not hasattr(dataset, "with_format"):
        return
    formatted = getattr(dataset, "format", {}).get("type") is not None
    plain = dataset.with_format(None) if formatted else dataset
    for name in names:
        if type(features[name]).__name__ in PLAIN_FEATURES:
            yield from _column(name, list(plain[name]), length)


def _column(name: str, values: Any, length: int) -> Iterator[Column]:
    """The values as a column, if they are one."""
    if isinstance(values, (str, bytes)) or not hasattr(values, "__len__") or len(values) != length:
        return
    if not isinstance(values, (list, tuple, torch.Tensor, np.ndarray)):
        if not hasattr(values, "__array__"):
            return
        values = np.asarray(values)
    # Only values that may be labels are put together: numbers, names, and one-hot vectors.
    if not length or not is_small(values[0]) or _are_texts_apart(values[:SOME]):
        return
    array = as_array(values)
    if array is not None:
        yield name, array


def _are_texts_apart(values: Any) -> bool:
    """Whether values are texts that hardly repeat, such as the names of files: many and long."""
    return isinstance(values[0], str) and len(values) == SOME and len(set(values)) > SOME / 2


def is_small(value: Any) -> bool:
    """Whether a value may be a label: a number, a name, None, or a vector of zeros and ones."""
    if isinstance(value, (str, int, float, bool, np.generic, type(None))):
        return True
    if not isinstance(value, (torch.Tensor, np.ndarray)) or (isinstance(value, torch.Tensor) and value.is_nested):
        return False
    size = value.numel() if isinstance(value, torch.Tensor) else value.size
    if size == 1:
        return True
    return value.ndim == 1 and size <= MOST_CLASSES and bool(((value == 0) | (value == 1)).all())
