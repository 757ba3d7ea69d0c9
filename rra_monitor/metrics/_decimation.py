"""The intrinsic dimension of fewer and fewer samples: has it converged?"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rra_monitor.graph.knn import KnnGraph
from rra_monitor.metrics._ratios import Method, check_fit, exponential_rate
from rra_monitor.metrics._reduction import whole
from rra_monitor.metrics._twonn import undefined_reason
from rra_monitor.utils.checks import whole_number


@dataclass(frozen=True, eq=False)
class Decimation:
    """The ID by number of samples, all of them first.

    Attributes:
        parts: (s,) number of random parts into which the samples were divided.
        samples: (s,) mean number of samples in a part, n / parts.
        dimensions: (s,) mean over the parts of their TwoNN estimates; NaN where undefined or where k is too small.
        spreads: (s,) standard deviation over the parts; NaN for one part.
        covered: (s,) fraction of samples whose two nearest in their part are among their k neighbours, 0 to 1. At 1 the
            dimensions are exactly those of graphs built from the parts alone.
    """

    parts: npt.NDArray[np.int64]
    samples: npt.NDArray[np.float64]
    dimensions: npt.NDArray[np.float64]
    spreads: npt.NDArray[np.float64]
    covered: npt.NDArray[np.float64]


def decimated_twonn(
    graph: KnnGraph,
    parts: Sequence[int] | None = None,
    method: Method = "ml",
    discard: float = 0.1,
    seed: int = 0,
    least_covered: float = 0.9,
) -> Decimation:
    """The TwoNN dimension of random parts of the samples, computed from the graph of all of them.

    The samples are divided at random into parts of equal size. The neighbours of a sample that lie in its part are, in
    their order, its nearest within the part; if there are two of them among its k, their distances are those
    that a graph of the part alone would have. A dimension that no longer changes from n / 2 to n has converged; one
    that still rises needs more samples.

    The limit: with m parts a sample has about k / m neighbours of its part, and if it has fewer than two, its ratio
    is unknown and left out. Under TwoNN's assumption of a constant density this does not bias the result: r2 / r1 does
    not depend on r2. But the scale is then finer than that of a graph of the part, so where less than `least_covered`
    of the samples remain, the dimension is NaN. k = 4 m covers 0.91, k = 5 m 0.96, k = 7 m 0.99.

    Args:
        graph: whole graph of n samples with k neighbours; k = 20 is enough for n / 4, k = 150 for n / 32.
        parts: numbers of parts; by default 1, 2, 4, ... as far as k allows.
        method: method, as in `twonn`.
        discard: discarded fraction, as in `twonn`.
        seed: seed of the random division.
        least_covered: fraction of the samples below which a dimension is NaN, 0 to 1.

    Returns:
        The dimensions by number of samples, higher means more complex; with a warning wherever one is NaN.

    Raises:
        TypeError: parts that are not several whole numbers.
        ValueError: k < 2; one rank's shard of a graph (gather it first); numbers of parts below 1 or above n / 3.

    Source: Facco et al. 2017 (the dimension against the number of samples); 5.1 of the thesis.
    """
    check_fit(method, discard)
    if whole(graph).k < 2:
        raise ValueError(f"the ID needs two neighbours per sample, the graph has k={graph.k}; build it with k >= 2")
    if parts is not None and (not isinstance(parts, (Sequence, np.ndarray)) or isinstance(parts, str)):
        raise TypeError(f"parts={parts!r:.80}; expected several whole numbers, as in (1, 2, 4)")
    asked = None if parts is None else [whole_number("parts", number) for number in parts]
    if asked is not None and (not asked or min(asked) < 1 or max(asked) > graph.n / 3):
        raise ValueError(f"parts={asked} must each lie in 1 to {graph.n // 3}, a third of n={graph.n}")
    numbers = _default_parts(graph, least_covered) if asked is None else np.array(asked, dtype=np.int64)
    order = np.random.default_rng(seed).permutation(graph.n)
    rows = [_one(graph, order, int(number), method, discard, least_covered) for number in numbers]
    columns = np.array(rows, dtype=np.float64).T
    return Decimation(numbers, graph.n / numbers, columns[0], columns[1], columns[2])


def _one(
    graph: KnnGraph, order: npt.NDArray[np.int64], number: int, method: str, discard: float, least: float
) -> tuple[float, float, float]:
    """Dimension, standard deviation and covered fraction for one number of parts."""
    part = np.empty(graph.n, np.int64)
    part[order] = np.arange(graph.n) % number
    first, second, known = _two_of_own_part(graph, part)
    covered = float(known.mean())
    if covered < least:
        _warn(f"n / {number} is out of reach of k={graph.k}: {covered:.0%} of the samples are covered")
        return math.nan, math.nan, covered
    usable = known & (first > 0)
    logs = np.log(second[usable] / first[usable])
    # Ascending within each part.
    by_part = np.lexsort((logs, part[usable]))
    cuts = np.cumsum(np.bincount(part[usable], minlength=number))[:-1]
    values = np.array([exponential_rate(values, method, discard) for values in np.split(logs[by_part], cuts)])
    value = float(values.mean())
    reason = undefined_reason(int(usable.sum()), graph.n, value)
    if reason:
        _warn(f"ID undefined in parts of n / {number}: {reason}")
        return math.nan, math.nan, covered
    return value, float(values.std(ddof=1)) if number > 1 else math.nan, covered


def _two_of_own_part(
    graph: KnnGraph, part: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Distances to the two nearest neighbours of each sample's own part, and whether both are known; (n,) each."""
    own = part[graph.indices] == part[:, None]
    rank = own.cumsum(axis=1, dtype=np.int32)
    known = rank[:, -1] >= 2
    rows = np.arange(graph.n)
    # argmax finds the first True.
    first, second = (graph.distances[rows, (rank == count).argmax(axis=1)].astype(np.float64) for count in (1, 2))
    return first, second, known


def _default_parts(graph: KnnGraph, least: float) -> npt.NDArray[np.int64]:
    numbers = [1]
    while 6 * numbers[-1] <= graph.n and covered_fraction(graph.k, 2 * numbers[-1]) > least:
        numbers.append(2 * numbers[-1])
    return np.array(numbers)


def covered_fraction(k: int, parts: int) -> float:
    """The expected fraction of samples with two of their own part among k neighbours: 1 - q^k - k p q^(k-1), p = 1/m.

    >>> round(covered_fraction(20, 4), 3)
    0.976
    """
    p = 1 / parts
    return 1 - (1 - p) ** k - k * p * (1 - p) ** (k - 1)


def _warn(reason: str) -> None:
    warnings.warn(reason, stacklevel=4)
