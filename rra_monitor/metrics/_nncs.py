"""Nearest-neighbour class similarity (NNCS): how separable the classes are."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from rra_monitor.graph.knn import KnnGraph
from rra_monitor.metrics._checks import checked_neighbours
from rra_monitor.metrics._reduction import Graph, first_row, samples_of, sums_over_samples, whole
from rra_monitor.metrics._targets import Agreement, all_targets, neighbour_agreements


def nncs(graph: Graph, labels: Any, *, agreement: Agreement | None = None) -> float:
    """The fraction of neighbours of the same class, over all (sample, neighbour) pairs.

    Formula: NNCS = 1 / (n k) sum_i sum_j [label of i = label of its j-th neighbour]. Every sample has equal weight
    (micro); in `nncs_by_class(graph, labels).macro` every class has equal weight.

    Args:
        graph: graph of n samples.
        labels: (n,) integer classes, in the order of the graph's samples; of a shard those of this rank's samples.
            With an agreement function any targets, as an array (n, …).
        agreement: function for targets that are not classes, in place of the indicator. It gets the targets of samples
            and of their neighbours as two arrays (m, k, …) and returns (m, k), True or False or a degree of agreement
            in 0 to 1.

    Returns:
        0 to 1, higher is more separable. Features without class information give `nncs_chance(labels)`, not 0; where
        k exceeds n_c - 1 for a class of n_c samples, 1 cannot be reached: `nncs_ceiling(labels, k)` is the highest
        value. `adjusted` puts a value on the scale between the two.

    Raises:
        ValueError: labels that are not n integers; an agreement function that does not return (m, k) values in 0 to 1.

    Source: Eq. 3.4 of the thesis; the agreement function is ours.

    >>> from rra_monitor import knn_graph
    >>> graph = knn_graph([0.0, 1.0, 3.0, 7.0], k=2)
    >>> nncs(graph, [0, 0, 1, 1])
    0.375
    >>> nncs(graph, [0.1, 0.2, 0.9, 1.0], agreement=lambda a, b: abs(a - b) < 0.5)
    0.375
    """
    targets = all_targets(graph, labels, agreement)

    def agreeing() -> npt.NDArray[np.float64]:
        if agreement is None:
            return np.array(float(_count_same(checked_neighbours(graph), targets, first_row(graph))))
        blocks = neighbour_agreements(graph, targets, agreement)
        return np.array(sum(_total(block) for block in blocks))

    return float(sums_over_samples(agreeing, graph)) / (samples_of(graph) * graph.k)


def nncs_per_sample(graph: KnnGraph, labels: Any, *, agreement: Agreement | None = None) -> npt.NDArray[np.float64]:
    """The fraction of each sample's neighbours that are of its class.

    Formula: 1 / k sum_j [label of i = label of its j-th neighbour], for each sample i.

    Args:
        graph: whole graph of n samples.
        labels: (n,) integer classes, or with an agreement function any targets (n, …).
        agreement: function in place of "the same class", as in `nncs`.

    Returns:
        (n,) values 0 to 1, low for hard samples, with `nncs` as their mean. `hardest_samples` lists the lowest.

    Raises:
        ValueError: see `nncs`; one rank's shard of a graph.

    Source: Eq. 3.4 of the thesis, for each sample.

    >>> from rra_monitor import knn_graph
    >>> nncs_per_sample(knn_graph([0.0, 1.0, 3.0, 7.0], k=2), [0, 0, 1, 1]).tolist()
    [0.5, 0.5, 0.0, 0.5]
    """
    targets = all_targets(whole(graph), labels, agreement)
    blocks = neighbour_agreements(graph, targets, agreement)
    return np.concatenate([block.mean(axis=1, dtype=np.float64) for block in blocks])


@numba.njit(nogil=True, cache=True)
def _count_same(indices: Any, classes: Any, offset: int) -> Any:
    """Number of neighbours of the same class as their sample; the classes are those of all samples."""
    count = 0
    for i in range(len(indices)):
        own = classes[offset + i]
        for j in indices[i]:
            count += classes[j] == own
    return count


def _total(block: npt.NDArray[Any]) -> float:
    return float(np.count_nonzero(block) if block.dtype == bool else block.sum(dtype=np.float64))
