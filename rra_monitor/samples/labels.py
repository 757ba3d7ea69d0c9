"""Values that may be class labels: what they are as integers, and whether they are classes at all."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Labels = npt.NDArray[np.int64]

LARGEST = 1 << 63
"""Labels are below this."""

MANY = 30
"""With more different values than this, whole numbers are looked at more closely: they may be ages or prices."""

OFTEN = 100
"""Values that each occur this often, on average, are classes whatever they are."""


@dataclass(frozen=True)
class Verdict:
    """Whether some values are classes.

    Attributes:
        labels: (n,) int64 classes, or None where the values are none.
        known: (n,) whether each value is a class; the others mark samples without a label.
        reason: why the values are no classes, to follow "they …".
        kind: "classes"; "one" for a single class; "index", "numbers" or "several" (classes at once) for what is none;
            "other" for what cannot be a target.
    """

    labels: Labels | None
    known: npt.NDArray[np.bool_]
    reason: str = ""
    kind: str = "classes"


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


def classes_of(
    values: Any, *, complete: bool = True, positions: npt.NDArray[np.int64] | None = None, named: bool = False
) -> Verdict:
    """Whether the values of one entry of the items are classes, and which.

    Whole numbers, booleans, names and one-hot vectors are. Names become the numbers of their sorted order. Negative
    markers, NaN and None are samples without a label. Not classes are several classes at once, numbers that are not
    whole, and whole numbers that look like quantities: many different ones that are hardly repeated, that leave gaps,
    begin anywhere, or rise to a peak and fall.

    Args:
        values: one value per sample.
        complete: whether these are the values of the whole data set, and not of some items of it.
        positions: (n,) positions of the samples in the data set, to tell an index.
        named: whether the user says that these are classes, so that they are not doubted.
    """
    array = as_array(values)
    if array is None or array.ndim > 2 or not array.size:
        count = 0 if array is None else len(array)
        return Verdict(None, np.zeros(count, bool), "are neither whole numbers nor names", "other")
    known = np.ones(len(array), bool)
    if array.dtype == object:
        known = np.array([value is not None for value in array])
        inner = as_array([value for value in array if value is not None])
        if inner is None or inner.dtype == object or inner.ndim != 1 or not known.any():
            return Verdict(None, ~known & False, "are neither whole numbers nor names", "other")
        filled = np.zeros(len(array), inner.dtype)
        filled[known] = inner
        array = filled
    if array.ndim == 2:
        if array.dtype.kind not in "biuf" or not np.isin(array, (0, 1)).all():
            return Verdict(None, known, "are vectors", "other")
        if not (array.sum(1) == 1).all():
            return Verdict(None, known, "name several classes at once", "several")
        array = array.argmax(1)
    if array.dtype.kind in "US":
        labels = np.unique(array, return_inverse=True)[1].reshape(-1).astype(np.int64)
        numbers = False
    else:
        if array.dtype.kind == "f":
            known &= np.isfinite(array)
            array = np.where(known, array, 0)
        whole = as_labels(array, length=len(array))
        if whole is None or not known.any():
            return Verdict(None, known, "are not whole numbers", "numbers")
        labels = whole
        known &= ~np.isin(labels, unlabelled_markers(labels[known]))
        numbers = True
    if not known.any():
        return Verdict(None, known, "mark every sample as unlabelled", "numbers")
    return _doubted(labels, known, numbers and not named, array.dtype.kind == "f", complete or named, positions, named)


def as_array(values: Any) -> npt.NDArray[Any] | None:
    """One value per sample, in (n,) or (n, m), or None where they do not make an array."""
    if isinstance(values, (list, tuple)) and values and not isinstance(values[0], (int, float, str)):
        values = [_plain(value) for value in values]
        if len({value.shape if isinstance(value, np.ndarray) else () for value in values}) > 1:
            return None
    elif isinstance(values, torch.Tensor):
        values = _plain(values)
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError):
        return None
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.dtype == object and array.ndim == 1 and all(isinstance(value, str) for value in array):
        array = array.astype(str)
    odd = array.dtype.kind not in "biufUSO" or (array.dtype == object and not _plain_or_none(array))
    return None if array.ndim == 0 or odd else array


def unlabelled_markers(labels: Labels) -> list[int]:
    """The negative values that stand for "no label": one beside classes from 0 on, or two."""
    values = np.unique(labels)
    negative: list[int] = values[values < 0].tolist()
    mirrored = set(values.tolist()) == {-value for value in values.tolist()}
    # Of -1, 0 and 1 the first may be a class (an opinion, say), or stand for most of the samples.
    few = mirrored and len(values) <= 3 and (len(values) == 2 or bool((labels < 0).mean() <= 0.5))
    if len(negative) == 1 and not few:
        return negative
    return negative if len(negative) == 2 and len(values) > 3 and not mirrored else []


def _doubted(
    labels: Labels,
    known: npt.NDArray[np.bool_],
    numbers: bool,
    floats: bool,
    complete: bool,
    positions: npt.NDArray[np.int64] | None,
    named: bool,
) -> Verdict:
    """The labels, unless they look like something else."""
    found, count = labels[known], int(known.sum())
    values, counts = np.unique(found, return_counts=True)
    if named:
        return Verdict(labels, known)
    if len(values) == 1:
        return Verdict(labels, known, kind="one")
    if positions is not None and len(values) == count and count > 2:
        order = np.argsort(positions[known])
        if (np.diff(found[order]) > 0).all():
            return Verdict(None, known, "number the items", "index")
    said = f"take {len(values):,} different values in {count:,} items"
    pairs = float((counts * (counts - 1.0)).sum())
    # Of C equally frequent values, this many pairs of samples would be equal: an estimate of C from some items.
    possible = count * (count - 1.0) / pairs if pairs else np.inf
    reach = int(values[-1]) - int(values[0]) + 1
    if len(values) > count / 2:
        dense = pairs > 0 and values[0] in (0, 1) and reach <= 1.5 * possible if numbers else pairs > 20
        if complete or not dense:
            return Verdict(None, known, said, "numbers")
    if numbers and len(values) > MANY:
        reason = _like_quantities(
            values, counts, reach, 1.2 * len(values) if complete else 2 * max(len(values), possible), floats
        )
        if reason:
            return Verdict(None, known, f"{said}, {reason}", "numbers")
    return Verdict(labels, known)


def _like_quantities(values: Labels, counts: Labels, reach: int, expected: float, floats: bool) -> str:
    """Why more than a few whole numbers look like a quantity; empty if they do not.

    Args:
        values: different values, in order.
        counts: how often each occurs.
        reach: number of whole numbers from the smallest to the largest value.
        expected: largest reach that classes of which some do not occur would have.
        floats: whether they are floats.
    """
    if floats:
        return "as floats"
    rare = counts.mean() < OFTEN
    if rare and reach > expected:
        return f"with gaps between {values[0]:,} and {values[-1]:,}"
    # A part of the classes of a larger data set may begin at a multiple of their number.
    if values[0] > 10 * len(values) or (rare and values[0] > 1 and values[0] % len(values)):
        return f"from {values[0]:,} on"
    if reach <= 10 * len(values):
        by_value = np.zeros(reach)
        by_value[values - values[0]] = counts
        peak = int(by_value.argmax())
        inner = reach // 10 < peak < reach - 1 - reach // 10
        if inner and by_value.std() and np.corrcoef(by_value[:-1], by_value[1:])[0, 1] > 0.6:
            return f"most of them near {values[0] + peak:,}"
    return ""


def _plain(value: Any) -> Any:
    """A tensor as an array or a number, an array of one number as that number."""
    if isinstance(value, torch.Tensor):
        if value.is_meta or value.is_nested or value.layout != torch.strided:
            return None
        value = value.detach().cpu()
        value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    return value.item() if isinstance(value, (np.ndarray, np.generic)) and value.size == 1 else value


def _plain_or_none(values: npt.NDArray[Any]) -> bool:
    return all(isinstance(value, (int, float, str, bool, type(None))) for value in values)
