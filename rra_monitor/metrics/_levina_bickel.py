"""The intrinsic dimension from all k distances at once."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from rra_monitor.metrics._estimate import Estimate, or_warning
from rra_monitor.metrics._reduction import Graph, samples_of, sums_over_samples
from rra_monitor.metrics._twonn import undefined_reason


def levina_bickel(graph: Graph, k: int | None = None) -> float:
    """The maximum-likelihood estimate of Levina and Bickel at k neighbours, averaged as MacKay and Ghahramani do.

    Formula: each sample has 1 / m_i = 1 / (k - 1) sum_{j<k} ln(r_k / r_j), with r_j the distance to its j-th
    neighbour. The inverses are averaged, not the m_i: ID = N / sum_i (1 / m_i), over the N samples that have no
    duplicate (r_1 > 0). At k = 2 this is TwoNN.

    It uses k - 1 ratios per sample where TwoNN uses one, so its standard deviation is smaller and it needs fewer
    samples; but its scale is that of k neighbours, where curvature, borders and changes of density lower it in high
    dimensions.

    Args:
        graph: a graph with at least k neighbours.
        k: number of neighbours to use, at least 2; all of the graph's by default.

    Returns:
        The dimension, above 0; higher means a more complex representation. NaN, with a warning that states the reason,
        where it is undefined: see `twonn`.

    Raises:
        ValueError: a k below 2 or above the graph's.

    Source: Levina and Bickel 2004, with the correction of MacKay and Ghahramani 2005 (inverses; k - 1, not k - 2).

    >>> from rra_monitor import knn_graph
    >>> graph = knn_graph([0.0, 1.0, 3.0, 7.0], k=3)  # distances 1 3 7, 1 2 6, 2 3 4, 4 6 7
    >>> levina_bickel(graph) == 8 / math.log(49 / 3 * 36 / 2 * 16 / 6 * 49 / 24)
    True
    """
    use = graph.k if k is None else k
    sums = sums_over_samples(lambda: _count_and_logarithms(graph, use), graph)
    count, total = int(sums[0]), float(sums[1])
    value = count * (use - 1) / total if total > 0 else math.nan
    reason = undefined_reason(count, samples_of(graph), value, f"{use} nearest neighbours")
    return or_warning(Estimate(value) if reason is None else Estimate.undefined(reason), "ID undefined")


def _count_and_logarithms(graph: Graph, k: int) -> npt.NDArray[np.float64]:
    """Number of rows without a duplicate, and their sum of ln(r_k / r_j)."""
    if not 2 <= k <= graph.k:
        raise ValueError(f"k={k} must lie in 2 to {graph.k}, the number of neighbours that the graph has")
    usable = graph.distances[:, 0] > 0
    # A column at a time: the whole in float64 would be twice the graph's size.
    farthest = graph.distances[usable, k - 1].astype(np.float64)
    total = sum(float(np.log(farthest / graph.distances[usable, j]).sum()) for j in range(k - 1))
    return np.array([usable.sum(), total])
