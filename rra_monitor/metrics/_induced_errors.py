"""Induced errors: how much an approximate graph changes a metric."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rra_monitor.graph.knn import KnnGraph
from rra_monitor.metrics._estimate import or_warning
from rra_monitor.metrics._reduction import whole
from rra_monitor.metrics._targets import checked_labels
from rra_monitor.metrics._twonn import twonn_of_rows


@dataclass(frozen=True)
class InducedErrors:
    """Each metric on the approximate rows of a graph's audit minus the same on the exact rows; 0 for a perfect graph.

    Attributes:
        id: error of the intrinsic dimension; NaN where that is undefined, or k < 2.
        nncs: error of the class similarity; None without labels.
        nnls: error of the layer similarity: 1 minus the mean Jaccard index of approximate and exact neighbours, 0 to
            1. Ties for the last place, which are arbitrary, count as errors here.
    """

    id: float
    nncs: float | None
    nnls: float


def induced_errors(graph: KnnGraph, labels: Any = None) -> InducedErrors:
    """The errors of the metrics that the missed neighbours of an approximate graph cause, on its audited rows.

    Args:
        graph: a graph with an audit.
        labels: (n,) integer classes, in the order of the graph's samples, or None.

    Returns:
        The InducedErrors, in the units of the metrics; close to 0 is good.

    Raises:
        ValueError: a graph without an audit; labels that are not n integers.
    """
    audit = whole(graph).audit
    if audit is None:
        raise ValueError(
            f"this graph (backend {graph.backend!r}) has no audit: no exact rows to compare with. "
            "Build it with backend='nndescent' and min_recall=0: where a recall is asked for and not reached, the "
            "graph becomes an exact one, which has none"
        )
    approximate, exact = graph.indices[audit.rows], audit.indices
    shared = np.array([len(np.intersect1d(a, b)) for a, b in zip(approximate, exact, strict=True)])
    dimension, class_similarity = float("nan"), None
    if graph.k >= 2:
        dimension = _dimension(graph.distances[audit.rows]) - _dimension(audit.distances)
    if labels is not None:
        classes = checked_labels(labels, graph.n)
        own = classes[audit.rows, None]
        class_similarity = float((classes[approximate] == own).mean() - (classes[exact] == own).mean())
    return InducedErrors(dimension, class_similarity, float(1 - (shared / (2 * graph.k - shared)).mean()))


def _dimension(distances: npt.NDArray[np.float32]) -> float:
    return or_warning(twonn_of_rows(distances), "ID undefined", stacklevel=4)
