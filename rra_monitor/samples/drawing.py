"""Which samples of a data set are drawn, and a fingerprint of their contents."""

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rra_monitor.samples.labels import Labels
from rra_monitor.utils.checks import whole_number
from rra_monitor.utils.trees import iter_tensors

Positions = npt.NDArray[np.int64]
"""(n,) indices of items of a data set."""


def drawn_positions(
    labels: Labels, known: npt.NDArray[np.bool_], n: int, seed: int, shrink: bool
) -> tuple[Positions, str]:
    """Positions of `n` samples, balanced over the classes, and what to tell the user about them (or nothing).

    Args:
        labels: classes of all samples of the data set.
        known: whether each sample has one.
        n: number of samples.
        seed: seed of the draw.
        shrink: whether to take fewer, or unevenly many of each class, where a balanced draw is not possible.
    """
    n, with_label = checked_n(n), np.flatnonzero(known)
    if not shrink:
        return with_label[balanced_draw(labels[known], n, seed)].astype(np.int64), ""
    _, counts = np.unique(labels[known], return_counts=True)
    balanced = largest_balanced(labels[known])
    if len(with_label) < n and balanced >= max(3, 2 * len(counts), len(with_label) / 2):
        n = balanced
    n = min(n, len(with_label))
    shares, said = class_shares(labels[known], n, seed)
    return with_label[draw_of_shares(labels[known], shares, seed)].astype(np.int64), said


def class_shares(labels: Labels, n: int, seed: int) -> tuple[npt.NDArray[np.int64], str]:
    """How many samples of each class make n, as even as the data allow, and what to tell the user about it."""
    classes, counts = np.unique(labels, return_counts=True)
    usable = np.ones(len(classes), bool)
    said = ""
    if n < 2 * len(classes):
        repeated = np.flatnonzero(counts >= 2)
        some = np.random.default_rng(seed).permutation(repeated)[: max(1, n // 2)]
        usable = np.zeros(len(classes), bool)
        usable[some] = True
        said = f"{len(some):,} of {len(classes):,} classes are drawn, since n={n:,} has no room for two samples of each"
    shares = even_shares(np.where(usable, counts, 0), n)
    drawn = shares[usable]
    if drawn.max() - drawn.min() > 1:
        rarest = classes[usable][drawn.argmin()]
        uneven = (
            f"the classes are drawn unevenly, {drawn.min():,} to {drawn.max():,} samples of each, since class {rarest} "
            f"has only {counts[usable][drawn.argmin()]:,}"
        )
        said = f"{said}; {uneven}" if said else uneven
    return shares, said


def even_shares(counts: npt.NDArray[Any], n: int) -> npt.NDArray[np.int64]:
    """Shares of n, at most `counts` each: as even as possible, the remainder one each from the first that have more.

    >>> even_shares(np.array([9, 2, 9]), 12).tolist()
    [5, 2, 5]
    """
    n = min(n, int(counts.sum()))
    low, high = 0, int(counts.max(initial=0))
    while low < high:
        level = (low + high + 1) // 2
        low, high = (level, high) if np.minimum(counts, level).sum() <= n else (low, level - 1)
    shares: npt.NDArray[np.int64] = np.minimum(counts, low).astype(np.int64)
    shares[np.flatnonzero(counts > low)[: n - int(shares.sum())]] += 1
    return shares


def draw_of_shares(labels: Labels, shares: npt.NDArray[np.int64], seed: int) -> Positions:
    """Positions of so many samples of each class, in random order."""
    rng = np.random.default_rng(seed)
    order = np.argsort(labels, kind="stable")
    ends = np.cumsum(np.unique(labels, return_counts=True)[1])
    members = np.split(order, ends[:-1])
    picks = [rng.choice(each, size, replace=False) for each, size in zip(members, shares, strict=True) if size]
    return rng.permutation(np.concatenate(picks)).astype(np.int64)


def balanced_draw(labels: Labels, n: int, seed: int) -> Positions:
    """Positions of n samples, equally many of each class, in random order.

    Raises:
        ValueError: fewer than two of a class wanted, or fewer of a class there than wanted.
    """
    classes, counts = np.unique(labels, return_counts=True)
    possible = largest_balanced(labels)
    if len(labels) < n:
        uniform_draw(len(labels), n, seed)
    if n < 2 * len(classes):
        advice = f"Pass n={min(20 * len(classes), possible)} or so, " if possible >= 2 * len(classes) else "Pass "
        raise ValueError(
            f"n={n} gives fewer than two samples of each of {len(classes)} classes, so no neighbour could be of the "
            f"same class. {advice}shrink=True for two of each of some classes, or a subset of the classes."
        )
    wanted = np.full(len(classes), n // len(classes))
    wanted[: n % len(classes)] += 1
    if (short := np.flatnonzero(counts < wanted)).size:
        which = short[0]
        advice = f"Pass n={possible} or less, " if possible >= max(3, 2 * len(classes)) else "Pass "
        raise ValueError(
            f"class {classes[which]} has {counts[which]} samples, but a balanced sample of n={n} over {len(classes)} "
            f"classes needs {wanted[which]}. {advice}shrink=True to draw more of the others, or choose the samples "
            "yourself with FixedSample.from_tensors."
        )
    return draw_of_shares(labels, wanted, seed)


def uniform_draw(length: int, n: int, seed: int) -> Positions:
    """Positions of n of `length` samples in random order."""
    n = checked_n(n)
    if length < n:
        raise ValueError(f"the data set has {length} samples, fewer than the n={n} asked for. Pass n={length} or less.")
    return np.random.default_rng(seed).permutation(length)[:n].astype(np.int64)


def largest_balanced(labels: Labels) -> int:
    """The largest n for which every class has enough samples."""
    _, counts = np.unique(labels, return_counts=True)
    return int(counts.min()) * len(counts)


def fingerprint(items: list[Any]) -> str:
    """A hash of types, shapes and bytes of the given inputs, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for item in items:
        for tensor in iter_tensors(item):
            array = tensor.detach().cpu().contiguous()
            digest.update(f"{array.dtype}{tuple(array.shape)}".encode())
            digest.update(array.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def checked_n(n: int) -> int:
    """The number of samples; fewer than the three that TwoNN needs are refused."""
    if whole_number("n", n) < 3:
        raise ValueError(
            f"a sample of n={n} has no two nearest neighbours; n must be at least 3, usefully 1000 or more"
        )
    return int(n)
