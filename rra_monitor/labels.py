"""The class labels of a data set, read without loading its images where that is possible."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import track
from torch.utils.data import ConcatDataset, Subset, TensorDataset

Labels = npt.NDArray[np.int64]

LABEL_KEYS = ("label", "labels", "target", "targets", "y")
"""Where an item that is a dictionary keeps its label."""


def split_item(item: Any) -> tuple[Any, Any]:
    """Split a data set's item into its inputs and its label, which is None where the item has none.

    `(x, label)` gives `x`; `(a, b, label)` gives `(a, b)`; a dictionary gives itself without its label's key.
    """
    if isinstance(item, Mapping):
        key = next((key for key in LABEL_KEYS if key in item), None)
        return {name: value for name, value in item.items() if name != key}, None if key is None else item[key]
    if isinstance(item, (tuple, list)):
        if len(item) == 1:
            return item[0], None
        if len(item) == 2:
            return item[0], item[1]
        return tuple(item[:-1]), item[-1]
    return item, None


def as_labels(values: Any, *, length: int) -> Labels | None:
    """One integer class per sample as (length,) int64, or None where `values` are something else."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    try:
        array = np.asarray(values)
    except ValueError:
        return None
    if array.shape != (length,) or not np.issubdtype(array.dtype, np.integer):
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


def read_labels(dataset: Any) -> Labels | None:
    """The labels found by reading every item (slow: it loads the inputs too), or None where the items have none."""
    length = len(dataset)
    if as_labels([split_item(dataset[0])[1]], length=1) is None:
        return None
    items = track(range(length), description="reading labels item by item", transient=True, disable=length < 10_000)
    return as_labels([split_item(dataset[index])[1] for index in items], length=length)
