"""Which samples of a data set are drawn, and a fingerprint of their contents."""

import hashlib
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rra_monitor.capture.labels import (
    Labels,
)
from rra_monitor.utils.checks import whole_number
from rra_monitor.utils.trees import iter_tensors

Positions = npt.NDArray[np.int64]
"""(n,) indices of items of a data set."""


def drawn_positions(length: int, labels: Labels | None, n: int, seed: int, shrink: bool) -> Positions:
    """Positions of `n` of `length` samples: balanced over the classes if there are labels, else uniform."""
    if shrink and labels is None:
        n = min(n, length)
    elif shrink and labels is not None and (possible := largest_balanced(labels)) < n:
        if possible < n // 2 and length >= n:
            warnings.warn(
                f"{possible} of {n} samples are drawn, since the rarest class has only "
                f"{possible // len(np.unique(labels))}; pass a sample of your own to use more",
                stacklevel=3,
            )
        n = possible
    return uniform_draw(length, n, seed) if labels is None else balanced_draw(labels, n, seed)


def balanced_draw(labels: Labels, n: int, seed: int) -> Positions:
    """Positions of n samples, equally many of each class, in random order."""
    n = checked_n(n)
    classes, counts = np.unique(labels, return_counts=True)
    if n < 2 * len(classes):
        raise ValueError(
            f"n={n} gives fewer than two samples of each of {len(classes)} classes, so no neighbour could be of the "
            f"same class. Pass n={20 * len(classes)} or so, or a subset of the classes."
        )
    wanted = np.full(len(classes), n // len(classes))
    wanted[: n % len(classes)] += 1
    if (short := np.flatnonzero(counts < wanted)).size:
        which = short[0]
        raise ValueError(
            f"class {classes[which]} has {counts[which]} samples, but a balanced sample of n={n} over {len(classes)} "
            f"classes needs {wanted[which]}. Pass n={largest_balanced(labels)} or less, or choose the samples yourself "
            "with FixedSample.from_tensors."
        )
    rng = np.random.default_rng(seed)
    picks = [
        rng.choice(np.flatnonzero(labels == label), size, replace=False)
        for label, size in zip(classes, wanted, strict=True)
    ]
    return rng.permutation(np.concatenate(picks)).astype(np.int64)


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
