"""Nearest-neighbour class similarity (NNCS): how separable the classes are."""

from typing import Any

from rra_monitor.graph.knn import KnnGraph
from rra_monitor.metrics.chance import checked_labels


def nncs(graph: KnnGraph, labels: Any) -> float:
    """The share of all (sample, neighbour) pairs that are of one class.

    Formula: NNCS = 1 / (n k) sum_i sum_j [label of i = label of its j-th neighbour].

    Args:
        graph: of n samples.
        labels: (n,) integer classes, in the order of the graph's samples.

    Returns:
        0 to 1, higher is more separable. Features without class information give `nncs_chance(labels)`, not 0; where
        k exceeds n_c - 1 for a class of n_c samples, 1 is out of reach.

    Raises:
        ValueError: labels that are not n integers.

    Source: Eq. 3.4 of the thesis.

    >>> from rra_monitor import knn_graph
    >>> nncs(knn_graph([0.0, 1.0, 3.0, 7.0], k=2), [0, 0, 1, 1])
    0.375
    """
    classes = checked_labels(labels, graph.n)
    return float((classes[graph.indices] == classes[:, None]).mean())
