"""Nearest-neighbour class similarity (NNCS): how separable the classes are."""

from typing import Any

import numpy as np
import numpy.typing as npt

from rra_monitor.graph.knn import KnnGraph


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
    >>> nncs(knn_graph(np.array([0.0, 1.0, 3.0, 7.0]), k=2), [0, 0, 1, 1])
    0.375
    """
    classes = _checked(labels, graph.n)
    return float((classes[graph.indices] == classes[:, None]).mean())


def nncs_chance(labels: Any) -> float:
    """The NNCS expected of neighbours drawn at random: sum over classes of (n_c / n) (n_c - 1) / (n - 1).

    Args:
        labels: (n,) integer classes, n >= 2.

    Returns:
        0 to 1, just below 1 / classes for balanced classes.

    >>> round(nncs_chance([0, 0, 1, 1]), 4)
    0.3333
    """
    classes = _checked(labels, len(labels))
    _, counts = np.unique(classes, return_counts=True)
    n = len(classes)
    return float((counts / n * (counts - 1) / (n - 1)).sum())


def _checked(labels: Any, n: int) -> npt.NDArray[np.int64]:
    array = np.asarray(labels)
    if array.shape != (n,) or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"labels are {array.dtype} of shape {array.shape}, expected integers of shape ({n},): one class per sample"
        )
    return array.astype(np.int64)
