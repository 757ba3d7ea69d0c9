"""Class similarity by class: which classes have which neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rra_monitor.metrics._chance import Level
from rra_monitor.metrics._checks import checked_neighbours
from rra_monitor.metrics._reduction import Graph, first_row, sums_over_samples
from rra_monitor.metrics._targets import all_targets, row_blocks


@dataclass(frozen=True, eq=False)
class ClassSimilarity:
    """The classes of the neighbours of each class.

    Attributes:
        classes: (c,) the classes that occur, ascending.
        sizes: (c,) number of samples of each class.
        matrix: (c, c) row a, column b: the fraction of class b among the neighbours of the samples of class a.
            Rows sum to 1; the diagonal, high for separable classes, is the NNCS of each class.
        k: number of neighbours of each sample.
    """

    classes: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    matrix: npt.NDArray[np.float64]
    k: int

    @property
    def matrix_chance(self) -> npt.NDArray[np.float64]:
        """(c, c) the matrix expected of neighbours drawn at random: (n_b - [a = b]) / (n - 1)."""
        chance: npt.NDArray[np.float64] = (self.sizes - np.eye(len(self.sizes))) / (self.sizes.sum() - 1)
        return chance

    @property
    def per_class(self) -> Level[npt.NDArray[np.float64]]:
        """Arrays (c,): NNCS of each class, its chance (n_c - 1) / (n - 1) and ceiling min(1, (n_c - 1) / k)."""
        return Level(
            np.diag(self.matrix).copy(), np.diag(self.matrix_chance).copy(), np.minimum(1, (self.sizes - 1) / self.k)
        )

    @property
    def micro(self) -> Level[float]:
        """Means over samples: `nncs`, `nncs_chance`, `nncs_ceiling`."""
        return self._averaged(self.sizes / self.sizes.sum())

    @property
    def macro(self) -> Level[float]:
        """Means over classes: every class has equal weight. A class of one sample has the NNCS 0."""
        return self._averaged(np.full(len(self.sizes), 1 / len(self.sizes)))

    def _averaged(self, weights: npt.NDArray[np.float64]) -> Level[float]:
        each = self.per_class
        return Level(float(weights @ each.value), float(weights @ each.chance), float(weights @ each.ceiling))


def nncs_by_class(graph: Graph, labels: Any) -> ClassSimilarity:
    """The class-by-class matrix of a graph, with the NNCS micro, macro and per class.

    Formula: M_ab = 1 / (n_a k) sum over i of class a of sum_j [the j-th neighbour of i is of class b].

    Args:
        graph: graph of n samples.
        labels: (n,) integer classes, in the order of the graph's samples; of a shard those of this rank's samples.

    Returns:
        A ClassSimilarity; its `micro`, `macro` and `per_class` have value, chance, ceiling and adjusted value.

    Raises:
        ValueError: labels that are not n integers.

    Source: Eq. 3.4 of the thesis, by class; macro, matrix and chance levels are ours.

    >>> from rra_monitor import knn_graph
    >>> similarity = nncs_by_class(knn_graph([0.0, 1.0, 3.0, 7.0], k=2), [0, 0, 1, 1])
    >>> similarity.matrix.tolist()
    [[0.5, 0.5], [0.75, 0.25]]
    >>> similarity.micro.value, similarity.macro.value, similarity.per_class.value.tolist()
    (0.375, 0.375, [0.5, 0.25])
    """
    classes, codes = np.unique(all_targets(graph, labels, None), return_inverse=True)
    sizes = np.bincount(codes)
    counts = sums_over_samples(lambda: _pairs_by_class(graph, codes, len(classes)), graph)
    return ClassSimilarity(classes, sizes, counts / (sizes * graph.k)[:, None], graph.k)


def _pairs_by_class(graph: Graph, codes: npt.NDArray[np.intp], classes: int) -> npt.NDArray[np.int64]:
    """(c, c) number of pairs of a sample of class a and a neighbour of class b, among the given rows."""
    indices, first = checked_neighbours(graph), first_row(graph)
    counts = np.zeros(classes * classes, np.int64)
    for rows in row_blocks(graph.n, graph.k):
        here = codes[first + rows.start : first + rows.stop, None]
        counts += np.bincount((here * classes + codes[indices[rows]]).ravel(), minlength=classes * classes)
    return counts.reshape(classes, classes)
