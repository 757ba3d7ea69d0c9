"""Chance levels and ceilings: the values of the metrics for unrelated data, and the highest possible ones."""

import math
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

import numpy as np
import numpy.typing as npt

from rra_monitor.metrics._targets import Agreement, checked_targets, pair_agreements

Floats = npt.NDArray[np.float64]

V = TypeVar("V", float, Floats)

NO_ROOM = 1e-12
"""A ceiling that exceeds chance by at most this equals chance: the difference is rounding."""

LARGEST_N = 2**31 - 1
"""Positions of samples are 32-bit integers."""

ALL_TERMS = 1_000_000
"""Largest number of terms that `nnls_chance` sums; if there are more, it sums those around the mean."""


@overload
def adjusted(value: float, chance: float, ceiling: float = 1.0) -> float: ...
@overload
def adjusted(value: Floats, chance: Floats | float, ceiling: Floats | float = 1.0) -> Floats: ...
def adjusted(value: Floats | float, chance: Floats | float, ceiling: Floats | float = 1.0) -> Floats | float:
    """A similarity on the scale from chance, 0, to the highest possible value, 1.

    Formula: (value - chance) / (ceiling - chance).

    Args:
        value: an NNCS or NNLS, or an array of them (for example a matrix of layers).
        chance: `nncs_chance(labels)` or `nnls_chance(n, k)`; for an array one value, or one each.
        ceiling: highest possible value: 1 for NNLS, `nncs_ceiling(labels, k)` for NNCS.

    Returns:
        At most 1, higher is more similar; 0 at chance, negative below. NaN where chance equals the ceiling, so that no
        value means anything: all others are neighbours (k = n - 1), or a class has only one sample.

    Source: the correction for chance of Hubert and Arabie 1985, Comparing Partitions.

    >>> round(adjusted(0.7, chance=0.4), 4)
    0.5
    """
    room = np.asarray(ceiling, dtype=np.float64) - chance
    excess = np.asarray(value, dtype=np.float64) - chance
    ratio: Floats = np.divide(excess, room, out=np.full(np.broadcast(excess, room).shape, np.nan), where=room > NO_ROOM)
    return ratio if ratio.ndim else float(ratio)


@dataclass(frozen=True, eq=False)
class Level(Generic[V]):
    """A class similarity with its chance level and ceiling; numbers, or arrays with one entry per class.

    Attributes:
        value: 0 to 1, higher is more separable.
        chance: value for neighbours drawn at random, 0 to 1.
        ceiling: highest value that k neighbours can give, 0 to 1; below 1 where k exceeds the other samples of a class.
    """

    value: V
    chance: V
    ceiling: V

    @property
    def adjusted(self) -> V:
        """0 at chance, 1 at the ceiling, higher is more separable; NaN where the two are equal."""
        return adjusted(self.value, self.chance, self.ceiling)


def nncs_chance(labels: Any, agreement: Agreement | None = None) -> float:
    """The NNCS expected of neighbours drawn at random: the agreement of all pairs of two different samples.

    Formula: sum over classes of (n_c / n) (n_c - 1) / (n - 1); with an agreement function, its mean over the n (n - 1)
    ordered pairs, in time O(n²).

    Args:
        labels: (n,) integer classes, n >= 2; with an agreement function any targets (n, …).
        agreement: function in place of "the same class", as in `nncs`.

    Returns:
        0 to 1, just below 1 / classes for balanced classes. Exact for features that are independent of the labels,
        whatever their graph.

    Raises:
        ValueError: labels that are not n integers, fewer than 2 of them; an agreement function that `nncs` refuses.

    >>> round(nncs_chance([0, 0, 1, 1]), 4)
    0.3333
    """
    targets = _at_least_two(labels, agreement)
    n = len(targets)
    if agreement is None:
        _, counts = np.unique(targets, return_counts=True)
        return float((counts / n * (counts - 1) / (n - 1)).sum())
    total = 0.0
    for rows, block in pair_agreements(targets, agreement):
        total += float(block.sum(dtype=np.float64)) - float(block[np.arange(len(rows)), rows].sum(dtype=np.float64))
    return total / (n * (n - 1))


def nncs_ceiling(labels: Any, k: int, agreement: Agreement | None = None) -> float:
    """The highest NNCS that k neighbours can give.

    Formula: sum over classes of (n_c / n) min(1, (n_c - 1) / k); with an agreement function, the mean over samples of
    the mean of its k highest agreements with others, in time O(n²).

    Args:
        labels: (n,) integer classes, n >= 2; with an agreement function any targets (n, …).
        k: number of neighbours, 1 to n - 1.
        agreement: function in place of "the same class", as in `nncs`.

    Returns:
        0 to 1; 1 where every class has more than k samples.

    Raises:
        ValueError: labels that are not n integers, fewer than 2 of them; k out of range; an agreement function that
            `nncs` refuses.

    >>> nncs_ceiling([0, 0, 0, 1], k=2)  # the last sample is alone in its class
    0.75
    """
    targets = _at_least_two(labels, agreement)
    n = len(targets)
    if not 1 <= k < n:
        raise ValueError(f"k={k} must lie in 1 to n-1={n - 1}")
    if agreement is None:
        _, counts = np.unique(targets, return_counts=True)
        return float((counts / n * np.minimum(1, (counts - 1) / k)).sum())
    total = 0.0
    for rows, block in pair_agreements(targets, agreement):
        others = block.astype(np.float64)
        others[np.arange(len(rows)), rows] = -1  # the sample itself comes last
        total += float(np.partition(others, n - k, axis=1)[:, n - k :].sum())
    return total / (n * k)


def nnls_chance(n: int, k: int) -> float:
    """The NNLS expected of two independent random neighbour sets: E[s / (2k - s)], s hypergeometric.

    Two sets of k out of the n - 1 others share s samples with probability C(k, s) C(n-1-k, k-s) / C(n-1, k).

    Args:
        n: number of samples.
        k: number of neighbours, 1 to n - 1.

    Returns:
        0 to 1; about k / (2n) for k far below n.

    Raises:
        ValueError: k outside 1 to n - 1; n above the samples that a graph can have.

    >>> round(nnls_chance(4, 2), 4)  # of 3 others, two pairs share 1 (2/3 of the time) or 2 (1/3)
    0.5556
    """
    if n > LARGEST_N:
        raise ValueError(
            f"n is a number of {int(n).bit_length()} bits, expected at most {LARGEST_N:,} samples of a graph"
        )
    if not 1 <= k < n:
        raise ValueError(f"k={k} must lie in 1 to n-1={n - 1}")
    lowest, highest = max(0, 2 * k - (n - 1)), k
    if highest - lowest > ALL_TERMS:
        # By Hoeffding's bound, which holds for draws without replacement, the rest sums to less than 1e-300.
        middle, reach = k * k // (n - 1), math.isqrt(400 * k)
        lowest, highest = max(lowest, middle - reach), min(highest, middle + reach)
    shared = np.arange(lowest, highest + 1)
    # Ratios of consecutive probabilities, summed as logarithms: no factorial overflows.
    steps = (k - shared[:-1]) ** 2.0 / ((shared[:-1] + 1.0) * (n - 2.0 * k + shared[:-1]))
    logs = np.concatenate([[0.0], np.cumsum(np.log(steps))])
    weights = np.exp(logs - logs.max())
    return float((weights / weights.sum() * shared / (2 * k - shared)).sum())


def _at_least_two(labels: Any, agreement: Agreement | None) -> npt.NDArray[Any]:
    targets = checked_targets(labels, len(labels), agreement)
    if len(targets) < 2:
        raise ValueError(f"a chance level needs neighbours: at least 2 samples, got {len(targets)}")
    return targets
