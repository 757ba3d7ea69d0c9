"""The health of a graph: hubs, ties, duplicates and recall, which tell how far the metrics can be trusted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from rra_monitor.graph.knn import TIE_TOLERANCE
from rra_monitor.metrics._checks import checked_neighbours
from rra_monitor.metrics._near_duplicates import near_duplicates
from rra_monitor.metrics._reduction import Graph, samples_of, sums_over_samples


@dataclass(frozen=True)
class GraphHealth:
    """Properties of a graph that make its neighbours doubtful.

    Attributes:
        hubness: skewness of the k-occurrence, 0 where all samples are neighbours equally often. Above about 1 some
            samples are hubs, neighbours of very many others; so it grows with the intrinsic dimension.
        largest_hub: the highest k-occurrence, in samples, k to n - 1.
        orphans: fraction of samples that are not the neighbour of any sample, 0 to 1.
        ties: fraction of samples whose k-th and (k+1)-th distances are tied, 0 to 1; their last neighbour is arbitrary.
        tied_distances: fraction of the distances that are tied with the next in their row (within 1e-5), 0 to 1.
        zeros: fraction of samples with a duplicate, 0 to 1; the ID leaves them out.
        zero_distances: fraction of the n k distances that are 0, 0 to 1. Near 1 the layer has collapsed.
        recall: fraction of the true neighbours that were found, 1.0 for an exact graph.
        checked: number of rows of an exact graph that were compared with float64, see `KnnGraph`.
        failed: number of these that were wrong, so that the graph was built again; normally 0.
        near_duplicates: fraction of samples with a near-duplicate, 0 to 1, see `near_duplicates`; a few of them can
            rule the ID by maximum likelihood. NaN for k = 1.
    """

    hubness: float
    largest_hub: int
    orphans: float
    ties: float
    tied_distances: float
    zeros: float
    zero_distances: float
    recall: float
    checked: int = 0
    failed: int = 0
    near_duplicates: float = 0.0


def k_occurrence(graph: Graph) -> npt.NDArray[np.int64]:
    """The number of samples that have each sample as their neighbour.

    Formula: N_k(j) = number of samples i with j among the k nearest neighbours of i.

    Args:
        graph: graph of n samples.

    Returns:
        (n,) counts 0 to n - 1 with mean k; high for hubs, 0 for orphans.

    Raises:
        ValueError: indices outside 0 to n - 1.

    Source: Radovanović, Nanopoulos, Ivanović 2010, Hubs in Space.

    >>> from rra_monitor import knn_graph
    >>> k_occurrence(knn_graph([0.0, 1.0, 3.0, 7.0], k=1)).tolist()
    [1, 2, 1, 0]
    """
    return sums_over_samples(lambda: _occurrence(graph), graph).astype(np.int64)


def skewness(counts: npt.NDArray[np.int64]) -> float:
    """The third standardised moment of the counts.

    Formula: mean((N - mean N)³) / std(N)³.

    Args:
        counts: (n,) counts N.

    Returns:
        Any number; 0 for a symmetric distribution, and by convention where all counts are equal.

    >>> round(skewness(np.array([1, 2, 1, 0])), 4), skewness(np.array([3, 3, 3]))
    (0.0, 0.0)
    """
    away = counts - counts.mean()
    spread = float(np.mean(away**2)) ** 1.5
    return float(np.mean(away**3)) / spread if spread > 0 else 0.0


def graph_health(graph: Graph) -> GraphHealth:
    """How far the neighbours of a graph can be trusted.

    Args:
        graph: graph of n samples.

    Returns:
        A GraphHealth, see its attributes for the ranges; low is good, except for `recall` and `checked`.

    Raises:
        ValueError: indices outside 0 to n - 1.

    Source: hubness: Radovanović, Nanopoulos, Ivanović 2010, Hubs in Space, Eq. 1.

    >>> from rra_monitor import knn_graph
    >>> health = graph_health(knn_graph([0.0, 0.0, 1.0, 3.0], k=2))
    >>> health.largest_hub, health.orphans, health.zero_distances
    (3, 0.25, 0.25)
    """

    def counted() -> npt.NDArray[np.int64]:
        distances = graph.distances
        tied = distances[:, 1:] - distances[:, :-1] <= TIE_TOLERANCE * distances[:, 1:]
        return np.concatenate([_occurrence(graph), [np.count_nonzero(tied), np.count_nonzero(distances == 0)]])

    sums = sums_over_samples(counted, graph).astype(np.int64)
    counts, n, k = sums[:-2], samples_of(graph), graph.k
    return GraphHealth(
        hubness=skewness(counts),
        largest_hub=int(counts.max()),
        orphans=float(np.mean(counts == 0)),
        ties=graph.ties,
        tied_distances=int(sums[-2]) / (n * (k - 1)) if k > 1 else 0.0,
        zeros=graph.zeros,
        zero_distances=int(sums[-1]) / (n * k),
        recall=graph.recall,
        checked=graph.checked,
        failed=graph.failed,
        near_duplicates=near_duplicates(graph).share if k > 1 else math.nan,
    )


def _occurrence(graph: Graph) -> npt.NDArray[np.int64]:
    counts = np.zeros(samples_of(graph), np.int64)
    _count(checked_neighbours(graph), counts)
    return counts


@numba.njit(nogil=True, cache=True)
def _count(indices: Any, counts: Any) -> None:
    for row in indices:
        for j in row:
            counts[j] += 1
