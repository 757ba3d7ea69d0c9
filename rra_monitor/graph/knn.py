"""The directed k-nearest-neighbour graph, the one thing that every metric is computed from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rra_monitor.graph.validity import check_distances, check_neighbours

if TYPE_CHECKING:
    from rra_monitor.graph.recall import Audit

TIE_TOLERANCE = 1e-5
"""Two distances that differ by less than this share of the larger one count as tied."""


@dataclass(frozen=True, eq=False)
class KnnGraph:
    """For each of n samples its k nearest other samples, nearest first.

    A sample is no neighbour of itself; duplicates of it are. Of those that tie for the last place, the lower indices
    win.

    Attributes:
        indices: (n, k) int32 positions of the neighbours.
        distances: (n, k) float32 Euclidean distances, ascending along each row.
        ties: share of samples whose k-th and (k+1)-th distances are tied (within 1e-5 relative), 0 to 1. Their
            neighbourhoods end arbitrarily; near 1 the layer has collapsed, and high NNCS or NNLS mean little.
        zeros: share of samples with a duplicate (nearest distance 0), 0 to 1. Without a ratio r2/r1 they leave the ID.
        recall: share of the true neighbours that were found, 1.0 for an exact graph.
        metric: of the distances.
        backend: that found the neighbours.
        checked: how many random rows were compared with float64 after an exact graph was found by way of products in
            lower precision; 0 where none took part.
        failed: how many of these were wrong. Above 0 the graph was built again in double precision, and a bound of the
            faster way does not hold here: please report it.
        audit: of an approximate graph, the exact rows that its recall was measured on; None for an exact one.
        offset: position of the first row among all samples; above 0 for the share of a later rank only.
        total: number of all samples, where the graph was built over the ranks of a process group and holds this rank's
            rows alone: its indices are positions among all samples; ties, zeros and recall are those of the whole
            graph. None for a graph that was built whole.

    Raises:
        ValueError: indices and distances of different shapes; neighbours outside 0 to samples - 1, a sample that is its
            own neighbour, a neighbour twice in one row; distances that are NaN, infinite, negative or not ascending;
            rows that do not lie within the total.
    """

    indices: npt.NDArray[np.int32]
    distances: npt.NDArray[np.float32]
    ties: float = 0.0
    zeros: float = 0.0
    recall: float = 1.0
    metric: str = "euclidean"
    backend: str = "exact"
    checked: int = 0
    failed: int = 0
    audit: Audit | None = None
    offset: int = 0
    total: int | None = None

    def __post_init__(self) -> None:
        if self.indices.ndim != 2 or self.indices.shape != self.distances.shape:
            raise ValueError(
                f"indices {self.indices.shape} and distances {self.distances.shape} must have one shape (n, k)"
            )
        if self.offset < 0 or self.offset + self.n > self.samples:
            raise ValueError(
                f"rows {self.offset} to {self.offset + self.n - 1} do not lie within {self.samples} samples; "
                "give the total of all ranks"
            )
        check_neighbours(self.indices, self.samples, self.offset)
        check_distances(self.distances, self.offset)

    @property
    def n(self) -> int:
        """Number of rows: of samples whose neighbours it holds."""
        return int(self.indices.shape[0])

    @property
    def samples(self) -> int:
        """Number of samples that can be neighbours: n, or the total where this is one rank's share."""
        return self.n if self.total is None else self.total

    @property
    def k(self) -> int:
        """Number of neighbours of each sample."""
        return int(self.indices.shape[1])

    def __repr__(self) -> str:
        share = "" if self.total is None else f"offset={self.offset}, total={self.total}, "
        return (
            f"KnnGraph(n={self.n}, {share}k={self.k}, ties={self.ties:.3g}, zeros={self.zeros:.3g}, "
            f"recall={self.recall:.3g}, metric={self.metric!r}, backend={self.backend!r})"
        )


def default_k(n: int, classes: int | None = None) -> int:
    """The thesis's number of neighbours, n / (10 · classes), at least 2 (section 5.4).

    Args:
        n: number of samples.
        classes: number of classes; for unlabelled data 10 are assumed, that is a neighbour density k/n of 1 %.

    >>> default_k(15_000, 10), default_k(30_000, 50), default_k(100, 10)
    (150, 60, 2)
    """
    return max(2, n // (10 * (classes or 10)))
