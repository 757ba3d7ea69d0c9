"""Near-duplicates: pairs of samples that are far nearer to each other than all others, and rule the TwoNN estimate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rra_monitor.metrics._ratios import exponential_rate, log_ratios
from rra_monitor.metrics._reduction import Graph, by_rank

CHANCE = 1e-4
"""Number of ratios, in a graph without near-duplicates, that are expected to be taken for those of near-duplicates."""

LEAST_RATIO, LARGEST_R1 = 2.0, 0.5
"""Bounds of a pair: least r2 / r1, which makes each the nearest of the other; largest r1, in medians of the others."""

LOCAL_K, LOCAL_CHANCE = 8, 1e-3
"""Number of neighbours from which on the local dimension is asked, and the probability by it that stays too small."""

RULED = 0.05
"""Fraction by which the ID is higher without near-duplicates that rule it."""

CENSORED = 0.1
"""Fraction of the largest ratios that the censored estimate does not use."""

Rows = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]


@dataclass(frozen=True, eq=False)
class NearDuplicates:
    """The near-duplicates of a graph, and the intrinsic dimension with and without them.

    Attributes:
        rows: (m,) positions of the samples that have a near-duplicate, ascending.
        samples: number of all samples.
        plain: maximum-likelihood ID of all samples, NaN where undefined.
        without: maximum-likelihood ID without these rows; equal to `plain` if there are none.
        censored: ID by `twonn(graph, method="censored")`.
        excess: (censored / plain - 1) / sqrt(1 / M - 1 / N), with N ratios of which the M smallest are known exactly:
            about standard normal if ln(r2 / r1) is exponential and the ratios are independent. Far above 0 the largest
            ratios are larger than the others allow, for which near-duplicates are one reason of several.
    """

    rows: npt.NDArray[np.int64]
    samples: int
    plain: float
    without: float
    censored: float
    excess: float

    @property
    def share(self) -> float:
        """Fraction of the samples that have a near-duplicate, 0 to 1."""
        return len(self.rows) / self.samples

    @property
    def rule(self) -> bool:
        """Whether the ID is higher by a twentieth or more without them."""
        return bool(self.without > (1 + RULED) * self.plain)


def near_duplicates(graph: Graph) -> NearDuplicates:
    """The samples with a near-duplicate, such as one image in two encodings, and what they do to the ID.

    Two samples i and j count as near-duplicates if all of this holds:

    - both ratios r2 / r1 are larger than the other ratios allow. Of N ascending x = ln(r2 / r1), those from rank
      a = floor(N / 2) to b = floor(3 N / 4) give T = sum_{a<l<=b} (x_l - x_a) + (N - b) (x_b - x_a). If x is
      exponential above its median, T is gamma distributed with shape m = b - a, and of the N - a larger x the expected
      number with (1 + (x - x_a) / T)^-m < c / (N - a) is at most c, here 1e-4 (as if x were not in T itself, which it
      is not above x_b). The upper half of the ratios is judged by its own tail, so a mixture of dimensions or
      of densities is not taken for near-duplicates, and up to a quarter of the samples may be such.
    - r2 / r1 > 2 for both, so that each is the nearest of the other.
    - r1 is at most half the median r1 of the samples whose ratios are ordinary.
    - with k >= 8, both ratios are too large for the dimension around the sample, too:
      (1 + x / S)^-(k - 2) <= 0.001, S = sum_{2<=j<k} ln(r_k / r_j). Where samples are locally uniform S is gamma
      distributed with shape k - 2, and this is the probability of such a ratio. A few samples on a line or surface,
      among many in more dimensions, are told apart by it.

    A sample with exact duplicates (r1 = 0) is none of them, and has no ratio. Of three samples that are near-duplicates
    of each other r2 is small, too: they leave the ID as it is and are not found.

    Args:
        graph: a graph with k >= 2; of shards each rank sends 25 N bytes.

    Returns:
        The rows, and the ID with and without them. No rows is good.

    Raises:
        ValueError: k < 2.

    Source: ours. The spacings of exponential values are independent: Rényi 1953; the difference of an estimate and a
    more efficient one: Hausman 1978.

    >>> from rra_monitor import knn_graph
    >>> points = np.random.default_rng(0).standard_normal((500, 5))
    >>> points[0] = points[1] + 1e-6
    >>> found = near_duplicates(knn_graph(points, k=2))
    >>> found.rows.tolist(), found.rule
    ([0, 1], True)
    """

    def own() -> Rows:
        log_ratios(graph, 1, 2)  # refuses k < 2
        near, far = (graph.distances[:, rank].astype(np.float64) for rank in (0, 1))
        return near, far, graph.indices[:, 0].astype(np.int64), _apart(graph.distances)

    near, far, nearest, apart = (np.concatenate(parts) for parts in zip(*by_rank(own, graph), strict=True))
    usable = near > 0
    rows = _paired_rows(near, far, nearest, apart)
    logs = np.zeros(len(near))
    logs[usable] = np.log(far[usable] / near[usable])
    left = usable.copy()
    left[rows] = False
    ascending = np.sort(logs[usable])
    plain = exponential_rate(ascending, "ml", 0.0)
    censored = exponential_rate(ascending, "censored", CENSORED)
    without = exponential_rate(np.sort(logs[left]), "ml", 0.0)
    return NearDuplicates(rows, len(near), plain, without, censored, _excess(plain, censored, len(ascending)))


def beyond(logs: npt.NDArray[np.float64], chance: float = CHANCE) -> npt.NDArray[np.bool_]:
    """Which values are larger than an exponential tail allows that is fitted to the quarter above the median.

    Args:
        logs: (N,) values, at least 0.
        chance: expected number of such values where the tail is exponential, at most.

    Returns:
        (N,) True for the values that are too large; none where the quarter is empty, or all its values are equal.
    """
    order = np.sort(logs)
    total = len(order)
    start, stop = total // 2, 3 * total // 4
    if start < 1 or stop <= start:
        return np.zeros(total, np.bool_)
    base = order[start - 1]
    excess = order[start:stop] - base
    scale = float(excess.sum() + (total - stop) * excess[-1])
    if not scale > 0:
        return np.zeros(total, np.bool_)
    limit = base + scale * math.expm1(math.log((total - start) / chance) / (stop - start))
    return np.asarray(logs > max(limit, order[stop - 1]))


def _apart(distances: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """(n,) whether r2 / r1 is large, and larger than the dimension around the sample allows, where k tells it."""
    k = distances.shape[1]
    found = (distances[:, 0] > 0) & (distances[:, 1] > LEAST_RATIO * distances[:, 0])
    if k >= LOCAL_K:
        logs = np.log(distances[found].astype(np.float64))
        scale = (logs[:, -1:] - logs[:, 1:-1]).sum(axis=1)
        # (1 + x / S)^-(k - 2) <= p, without a division: S is 0 where all but the nearest are equally far.
        found[found] = logs[:, 1] - logs[:, 0] >= scale * math.expm1(-math.log(LOCAL_CHANCE) / (k - 2))
    return np.asarray(found)


def _paired_rows(
    near: npt.NDArray[np.float64],
    far: npt.NDArray[np.float64],
    nearest: npt.NDArray[np.int64],
    apart: npt.NDArray[np.bool_],
) -> npt.NDArray[np.int64]:
    """Positions of the samples with a near-duplicate.

    Args:
        near: (n,) distances to the nearest neighbours.
        far: (n,) distances to the second ones.
        nearest: (n,) positions of the nearest neighbours.
        apart: (n,) whether a sample's own neighbours allow that its nearest is a near-duplicate.
    """
    usable = near > 0
    large = np.zeros(len(near), np.bool_)
    large[usable] = beyond(np.log(far[usable] / near[usable]))
    ordinary = near[usable & ~large]
    large &= apart
    if not large.any() or not ordinary.size:
        return np.empty(0, np.int64)
    mutual = nearest[nearest] == np.arange(len(nearest))
    return np.flatnonzero(large & large[nearest] & mutual & (near <= LARGEST_R1 * np.median(ordinary)))


def _excess(plain: float, censored: float, count: int) -> float:
    """The standardised difference of the two estimates; NaN where one is undefined or nothing is censored."""
    kept = min(int(count * (1 - CENSORED)), count - 1)
    if not plain > 0 or kept < 1:
        return math.nan
    return (censored / plain - 1) / math.sqrt(1 / kept - 1 / count)
