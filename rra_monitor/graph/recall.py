"""Recall: how much of an approximate graph is true, measured on exact rows of a random subset."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rra_monitor.graph.exact import MEMORY_BUDGET, exact_rows
from rra_monitor.graph.knn import TIE_TOLERANCE
from rra_monitor.graph.points import Points

if TYPE_CHECKING:
    from rra_monitor.graph.knn import KnnGraph

AUDITED = 256
"""Rows of an audit."""


@dataclass(frozen=True, eq=False)
class Audit:
    """The true neighbours of some samples, drawn at random without replacement.

    Attributes:
        rows: (r,) int64 positions of the samples, ascending.
        indices: (r, k) int32 their nearest others.
        distances: (r, k) float32, ascending along each row.
        n: number of samples they were drawn from.
    """

    rows: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int32]
    distances: npt.NDArray[np.float32]
    n: int

    def recall(self, graph: KnnGraph) -> float:
        """The share of the true neighbours that the graph found, estimated: the mean of `shares`, 0 to 1."""
        return float(self.shares(graph).mean())

    def standard_error(self, graph: KnnGraph) -> float:
        """The standard error of the recall.

        Formula: sqrt(1 - r / n) sqrt(s² / r + 1 / r²), with s the standard deviation of the r shares. The rows are the
        sampling unit, since the misses of one row come together; the first factor is the finite population's.

        Misses are rare and heavy: a few samples lose many neighbours, and an audit that draws few of those finds both
        a high recall and a small s. The term 1 / r² stands for one more row, lost entirely. Where no row shows a
        miss, three standard errors are then 3 / r, the share of lost rows that goes unseen in one audit out of twenty.
        Of 5,000 audits of each of 12 graphs (10 of feature maps, 2 made up; recall 0.954 to 0.9999) at most 0.04 % lay
        outside three standard errors, 0.68 % with the larger of s / sqrt(r) and 1 / r instead. For most graphs the
        error is overstated.

        Returns:
            0 where all rows were audited, else above 0.
        """
        r = len(self.rows)
        if r == self.n:
            return 0.0
        spread = float(self.shares(graph).std(ddof=1)) / math.sqrt(r) if r > 1 else 0.0
        return math.sqrt(1 - r / self.n) * math.hypot(spread, 1 / r)

    def shares(self, graph: KnnGraph) -> npt.NDArray[np.float64]:
        """(r,) the share of the true neighbours of each audited sample that the graph found.

        One as near as the k-th true one, but for TIE_TOLERANCE, counts as found: which of those that tie for the last
        place are taken is arbitrary.

        Raises:
            ValueError: a graph of other n or k.
        """
        if (graph.n, graph.k) != (self.n, self.indices.shape[1]):
            raise ValueError(
                f"the audit is of n={self.n}, k={self.indices.shape[1]}, the graph of n={graph.n}, k={graph.k}; "
                "draw an audit of the same features with the same k"
            )
        near = graph.distances[self.rows] <= self.distances[:, -1:] * (1 + TIE_TOLERANCE)
        for row, found, true in zip(near, graph.indices[self.rows], self.indices, strict=True):
            row |= np.isin(found, true)
        shares: npt.NDArray[np.float64] = near.mean(axis=1, dtype=np.float64)
        return shares


def draw_audit(points: Points, k: int, seed: int = 0, rows: int = AUDITED, memory_budget: int = MEMORY_BUDGET) -> Audit:
    """Exact rows of a random subset. Consumes no global random numbers.

    Args:
        points: n samples, on any device.
        k: neighbours of each sample, 1 to n-1.
        seed: of the draw.
        rows: how many; all of them where there are no more.
        memory_budget: bytes that this may take beyond the features, on the CPU.
    """
    drawn = np.sort(np.random.default_rng(seed).choice(points.n, min(rows, points.n), replace=False))
    return Audit(drawn, *exact_rows(points, drawn, k, memory_budget), points.n)
