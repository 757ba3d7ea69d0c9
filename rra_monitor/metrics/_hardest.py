"""The hardest samples and classes: those whose neighbours are of other classes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rra_monitor.graph.knn import KnnGraph
from rra_monitor.metrics._checks import checked_neighbours
from rra_monitor.metrics._nncs_by_class import nncs_by_class
from rra_monitor.metrics._reduction import whole
from rra_monitor.metrics._targets import all_targets, row_blocks


@dataclass(frozen=True)
class HardSample:
    """A sample among neighbours of other classes.

    Attributes:
        position: position of the sample in the graph.
        label: its class.
        value: fraction of its neighbours that are of its class, 0 to 1, low for a hard sample.
        rival: most frequent other class among its neighbours, the lower of two equally frequent ones; None if all
            neighbours are of its own class.
        rival_share: fraction of that class among its neighbours, 0 to 1. Near 1 the label may be wrong.
    """

    position: int
    label: int
    value: float
    rival: int | None
    rival_share: float


@dataclass(frozen=True)
class HardClass:
    """A class whose samples lie among those of others.

    Attributes:
        label: the class.
        size: number of its samples.
        value: its NNCS, 0 to 1, low for a hard class.
        adjusted: the same on the scale from chance, 0, to its ceiling, 1.
        rival: most frequent other class among the neighbours of its samples; None if there is none.
        rival_share: fraction of that class among the neighbours, 0 to 1.
    """

    label: int
    size: int
    value: float
    adjusted: float
    rival: int | None
    rival_share: float


def hardest_samples(graph: KnnGraph, labels: Any, count: int = 10) -> list[HardSample]:
    """The samples with the fewest neighbours of their own class, the hardest first.

    Ordered by the fraction of neighbours of their class, relative to the highest that a class of that size can have;
    among equal ones, the larger fraction of a single other class comes first, then the lower position. A sample that is
    alone in its class cannot have a neighbour of it and is left out.

    Args:
        graph: whole graph of n samples.
        labels: (n,) integer classes. For targets that are not classes, sort `nncs_per_sample` instead.
        count: number of samples to list, at least 1.

    Returns:
        At most `count` samples, the hardest first.

    Raises:
        ValueError: labels that are not n integers, count < 1, one rank's shard of a graph.

    Source: Eq. 3.4 of the thesis, for each sample; the order is ours.

    >>> from rra_monitor import knn_graph
    >>> hardest_samples(knn_graph([0.0, 1.0, 3.0, 7.0], k=2), [0, 0, 1, 1], count=1)
    [HardSample(position=2, label=1, value=0.0, rival=0, rival_share=1.0)]
    """
    _check_count(count)
    classes, codes = np.unique(all_targets(whole(graph), labels, None), return_inverse=True)
    own, rival, rival_count = _own_and_rival(graph, codes, len(classes))
    possible = np.minimum(graph.k, np.bincount(codes)[codes] - 1)
    fraction = np.divide(own, possible, out=np.full(graph.n, np.inf), where=possible > 0)
    order = np.lexsort((-rival_count, fraction))[:count]
    return [
        HardSample(
            position=int(i),
            label=int(classes[codes[i]]),
            value=float(own[i] / graph.k),
            rival=int(classes[rival[i]]) if rival_count[i] else None,
            rival_share=float(rival_count[i] / graph.k),
        )
        for i in order
        if possible[i] > 0
    ]


def hardest_classes(graph: KnnGraph, labels: Any, count: int = 10) -> list[HardClass]:
    """The classes that are least separable, the hardest first.

    Ordered by the adjusted value, so that classes of different size are comparable. A class for which it is undefined
    (one sample, or k = n - 1) is left out.

    Args:
        graph: whole graph of n samples.
        labels: (n,) integer classes.
        count: number of classes to list, at least 1.

    Returns:
        At most `count` classes, the hardest first.

    Raises:
        ValueError: labels that are not n integers, count < 1, one rank's shard of a graph.

    Source: Eq. 3.4 of the thesis, by class; the order is ours.

    >>> from rra_monitor import knn_graph
    >>> [hardest] = hardest_classes(knn_graph([0.0, 1.0, 3.0, 7.0], k=1), [0, 0, 1, 1], count=1)
    >>> hardest.label, hardest.value, hardest.rival, hardest.rival_share
    (1, 0.5, 0, 0.5)
    """
    _check_count(count)
    table = nncs_by_class(whole(graph), labels)
    level, others = table.per_class, table.matrix.copy()
    np.fill_diagonal(others, 0)
    hardness = level.adjusted
    return [
        HardClass(
            label=int(table.classes[a]),
            size=int(table.sizes[a]),
            value=float(level.value[a]),
            adjusted=float(hardness[a]),
            rival=int(table.classes[others[a].argmax()]) if others[a].any() else None,
            rival_share=float(others[a].max()),
        )
        for a in np.argsort(hardness, kind="stable")[:count]  # NaN comes last
        if not np.isnan(hardness[a])
    ]


def _own_and_rival(
    graph: KnnGraph, codes: npt.NDArray[np.intp], classes: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(n,) number of neighbours of the own class, the most frequent other class, and the number of its neighbours."""
    indices = checked_neighbours(graph)
    own, rival, rival_count = np.empty((3, graph.n), np.int64)
    for rows in row_blocks(graph.n, max(graph.k, classes)):
        m = rows.stop - rows.start
        each = np.arange(m)
        counts = np.bincount((each[:, None] * classes + codes[indices[rows]]).ravel(), minlength=m * classes)
        counts = counts.reshape(m, classes)
        own[rows] = counts[each, codes[rows]]
        counts[each, codes[rows]] = 0
        rival[rows] = counts.argmax(axis=1)
        rival_count[rows] = counts[each, rival[rows]]
    return own, rival, rival_count


def _check_count(count: int) -> None:
    if count < 1:
        raise ValueError(f"count={count} must be at least 1: how many to list")
