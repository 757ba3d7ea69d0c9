"""Births and deaths of neighbour pairs, from one layer to the next or from one epoch to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from rra_monitor.graph.knn import KnnGraph
from rra_monitor.metrics._checks import unshared


@dataclass(frozen=True, eq=False)
class Turnover:
    """The directed pairs (sample, neighbour) that appear, disappear and stay between two graphs of n samples.

    Births and deaths are equal per sample, since each has k neighbours in both graphs; per neighbour they differ, see
    `gained` and `lost`.

    Attributes:
        before: the earlier graph.
        after: the later one.
        born: (n, k) True where a neighbour in `after` was not one in `before`.
        died: (n, k) True where a neighbour in `before` is not one in `after`.
    """

    before: KnnGraph
    after: KnnGraph
    born: npt.NDArray[np.bool_]
    died: npt.NDArray[np.bool_]

    @property
    def changed(self) -> npt.NDArray[np.int64]:
        """(n,) number of new neighbours of each sample, which is the number of lost ones, too; 0 to k."""
        counts: npt.NDArray[np.int64] = self.born.sum(axis=1, dtype=np.int64)
        return counts

    @property
    def stayed(self) -> npt.NDArray[np.int64]:
        """(n,) number of neighbours that each sample kept, 0 to k."""
        return self.after.k - self.changed

    @property
    def gained(self) -> npt.NDArray[np.int64]:
        """(n,) number of samples that newly have each sample as their neighbour; large for a new hub."""
        return np.bincount(self.after.indices[self.born], minlength=self.after.n)

    @property
    def lost(self) -> npt.NDArray[np.int64]:
        """(n,) number of samples that no longer have each sample as their neighbour."""
        return np.bincount(self.before.indices[self.died], minlength=self.before.n)

    @property
    def changed_share(self) -> float:
        """The fraction of the n k pairs that are born; as many die. 0 to 1, low for similar layers."""
        return float(self.born.mean())

    @property
    def stayed_share(self) -> float:
        """The fraction of the n k pairs that stay, 0 to 1. Between unrelated features it is k / (n - 1)."""
        return 1 - self.changed_share

    @property
    def born_pairs(self) -> npt.NDArray[np.int64]:
        """(b, 2) the pairs (sample, neighbour) that appear, by sample and nearest first in `after`."""
        return _pairs(self.after, self.born)

    @property
    def died_pairs(self) -> npt.NDArray[np.int64]:
        """(b, 2) the pairs that disappear, by sample and nearest first in `before`."""
        return _pairs(self.before, self.died)

    @property
    def stayed_pairs(self) -> npt.NDArray[np.int64]:
        """(s, 2) the pairs in both graphs, by sample and nearest first in `after`."""
        return _pairs(self.after, ~self.born)


def turnover(before: KnnGraph, after: KnnGraph) -> Turnover:
    """The births and deaths of neighbour pairs from one graph to another.

    Args:
        before: whole graph of n samples with k neighbours each: a layer, or an epoch.
        after: graph of the same samples in the same order, with the same k: the next layer, or the next epoch.

    Returns:
        A Turnover: counts per sample, fractions of all pairs, and the pairs themselves. With labels,
        `labels[born_pairs]` tells whether a layer brings samples of one class together.

    Raises:
        ValueError: graphs of different n or k; indices outside 0 to n - 1; one rank's shard of a graph.

    Source: section 8.3.3 of the thesis, which proposes it.

    >>> from rra_monitor import knn_graph
    >>> change = turnover(knn_graph([0.0, 1.0, 3.0, 7.0], k=1), knn_graph([0.0, 1.0, 5.0, 7.0], k=1))
    >>> change.died_pairs.tolist(), change.born_pairs.tolist(), change.stayed_share
    ([[2, 1]], [[2, 3]], 0.75)
    """
    return Turnover(before, after, born=unshared(after, before), died=unshared(before, after))


def turnovers(graphs: Sequence[KnnGraph]) -> list[Turnover]:
    """The births and deaths between each graph of a sequence and the next.

    Args:
        graphs: two or more graphs of the same samples: the layers of a network in order, or one layer by epoch.

    Returns:
        A Turnover for each graph but the first.

    Raises:
        ValueError: fewer than two graphs; see also `turnover`.

    Source: see `turnover`.
    """
    if len(graphs) < 2:
        raise ValueError(f"births and deaths need at least two graphs to compare, got {len(graphs)}")
    return [turnover(before, after) for before, after in pairwise(graphs)]


def _pairs(graph: KnnGraph, which: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    samples, places = np.nonzero(which)
    return np.stack([samples, graph.indices[samples, places]], axis=1)
