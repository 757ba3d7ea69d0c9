"""The directed k-nearest-neighbour graph, the one thing that every metric is computed from."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

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
    """

    indices: npt.NDArray[np.int32]
    distances: npt.NDArray[np.float32]
    ties: float = 0.0
    zeros: float = 0.0
    recall: float = 1.0
    metric: str = "euclidean"
    backend: str = "exact"

    def __post_init__(self) -> None:
        if self.indices.ndim != 2 or self.indices.shape != self.distances.shape:
            raise ValueError(
                f"indices {self.indices.shape} and distances {self.distances.shape} must have one shape (n, k)"
            )

    @property
    def n(self) -> int:
        """Number of samples."""
        return int(self.indices.shape[0])

    @property
    def k(self) -> int:
        """Number of neighbours of each sample."""
        return int(self.indices.shape[1])

    def __repr__(self) -> str:
        return (
            f"KnnGraph(n={self.n}, k={self.k}, ties={self.ties:.3g}, zeros={self.zeros:.3g}, recall={self.recall:.3g}, "
            f"metric={self.metric!r}, backend={self.backend!r})"
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
