"""Intrinsic dimension (ID): how complex a representation is."""

import math
import warnings

import numpy as np

from rra_monitor.graph.knn import KnnGraph


def twonn(graph: KnnGraph) -> float:
    """The TwoNN estimate of the intrinsic dimension, by maximum likelihood.

    Formula: ID = N / sum_i ln(r2_i / r1_i), with r1_i and r2_i the distances from sample i to its two nearest
    neighbours, over the N samples that have no duplicate (r1_i > 0). The number of samples matters: compare IDs of
    equal n only.

    Args:
        graph: with k >= 2.

    Returns:
        The dimension, above 0; higher means a more complex representation. NaN, with a warning that states the reason,
        where it is undefined: fewer than 3 samples or less than a tenth of them have no duplicate, or all ratios are 1.

    Raises:
        ValueError: k < 2.

    Source: Facco et al. 2017; Eq. 3.1 of the thesis.

    >>> from rra_monitor import knn_graph
    >>> graph = knn_graph([0.0, 1.0, 3.0, 7.0], k=2)  # ratios 3, 2, 1.5, 1.5
    >>> round(twonn(graph), 4) == round(4 / math.log(3 * 2 * 1.5 * 1.5), 4)
    True
    """
    if graph.k < 2:
        raise ValueError(f"the ID needs two neighbours per sample, the graph has k={graph.k}; build it with k >= 2")
    r1, r2 = graph.distances[:, 0].astype(np.float64), graph.distances[:, 1].astype(np.float64)
    usable = r1 > 0
    count = int(usable.sum())
    if count < max(3, graph.n / 10):
        warnings.warn(
            f"ID undefined: {graph.n - count} of {graph.n} samples have a duplicate, {count} remain", stacklevel=2
        )
        return math.nan
    total = float(np.log(r2[usable] / r1[usable]).sum())
    if total == 0:
        warnings.warn(
            f"ID undefined: all {count} samples are equally far from their two nearest neighbours", stacklevel=2
        )
        return math.nan
    return count / total
