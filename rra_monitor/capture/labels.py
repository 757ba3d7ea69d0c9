"""The class labels of a data set, read without loading its images where that is possible."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import track
from torch.utils.data import ConcatDataset, Subset, TensorDataset

Labels = npt.NDArray[np.int64]

LARGEST = 1 << 63
"""Labels are below this."""

LABEL_KEYS = ("label", "labels", "target", "targets", "y")
"""Keys of the label in an item that is a dictionary."""


def split_item(item: Any, at: int = -1) -> tuple[Any, Any]:
    """Split a data set's item into its inputs and its label, which is None where the item has none.

    `(x, label)` gives `x`; `(a, b, label)` gives `(a, b)`; a dictionary gives itself without its label's key.

    Args:
        item: an item of a data set.
        at: position of the label in a tuple; what follows it is dropped.
    """
    if isinstance(item, Mapping):
        key = next((key for key in LABEL_KEYS if key in item), None)
        return {name: value for name, value in item.items() if name != key}, None if key is None else item[key]
    if isinstance(item, (tuple, list)) and len(item) > 1:
        before = tuple(item[:at])
        return before[0] if len(before) == 1 else before, item[at]
    if isinstance(item, (tuple, list)):
        if not item:
            raise ValueError(f"an item of the data set is an empty {type(item).__name__}; expected inputs, and a label")
        return item[0], None
    return item, None


def item_of(dataset: Any, index: int) -> Any:
    """An item of a data set.

    Raises:
        ValueError: the data set has fewer items than its length says.
    """
    try:
        return dataset[index]
    except IndexError as error:
        raise ValueError(
            f"{type(dataset).__name__} says that it has {len(dataset)} items, and has no item {index}: {error!r}"
        ) from error


def as_labels(values: Any, *, length: int) -> Labels | None:
    """One class per sample as (length,) int64, or None where `values` are something else.

    Integers, booleans and whole floats are classes, in shape (length,) or (length, 1), if they fit into 64 bits.
    """
    if isinstance(values, torch.Tensor):
        if values.is_meta or values.is_nested:
            return None
        values = values.detach().cpu().to_dense()
        values = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    elif isinstance(values, (list, tuple)):
        values = [value.item() if isinstance(value, torch.Tensor) and value.numel() == 1 else value for value in values]
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError):
        return None
    if array.shape == (length, 1):
        array = array[:, 0]
    if array.shape != (length,) or array.dtype.kind not in "biuf":
        return None
    if array.dtype.kind == "f" and not (np.isfinite(array).all() and (array == np.round(array)).all()):
        return None
    # Beyond 64 bits several numbers would become one class.
    if array.size and not -LARGEST <= int(array.min()) <= int(array.max()) < LARGEST:
        return None
    return array.astype(np.int64)


def stored_labels(dataset: Any) -> Labels | None:
    """The labels that a data set keeps apart from its items (`targets`, `labels`, …), or None."""
    if isinstance(dataset, Subset):
        labels = stored_labels(dataset.dataset)
        return None if labels is None else labels[np.asarray(dataset.indices)]
    if isinstance(dataset, ConcatDataset):
        parts = [stored_labels(part) for part in dataset.datasets]
        known = [part for part in parts if part is not None]
        return np.concatenate(known) if len(known) == len(parts) else None
    if isinstance(dataset, TensorDataset):
        return as_labels(dataset.tensors[-1], length=len(dataset)) if len(dataset.tensors) > 1 else None
    for name in ("targets", "labels"):
        labels = as_labels(getattr(dataset, name, None), length=len(dataset))
        if labels is not None:
            return labels
    return None


def label_position(items: list[Any], labels: Labels) -> int | None:
    """Position of the given labels in the items; None if they differ (a target_transform renamed the classes)."""
    places = range(1, len(items[0])) if isinstance(items[0], (tuple, list)) else [-1]
    for at in places:
        found = as_labels([split_item(item, at)[1] for item in items], length=len(items))
        if found is not None and np.array_equal(found, labels):
            return at
    return None


def read_labels(dataset: Any) -> Labels | None:
    """The labels found by reading every item (slow: it loads the inputs too), or None where the items have none."""
    length = len(dataset)
    if as_labels([split_item(item_of(dataset, 0))[1]], length=1) is None:
        return None
    items = track(range(length), description="reading labels item by item", transient=True, disable=length < 10_000)
    return as_labels([split_item(item_of(dataset, index))[1] for index in items], length=length)
