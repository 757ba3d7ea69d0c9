"""Recall of an approximate graph, measured on exact rows of a random subset."""

from __future__ import annotations

import numpy as np

from rra_monitor.graph.exact import exact_rows
from rra_monitor.graph.knn import Audit
from rra_monitor.graph.points import MEMORY_BUDGET, Points

AUDITED = 256
"""Number of rows in an audit."""


def draw_audit(points: Points, k: int, seed: int = 0, rows: int = AUDITED, memory_budget: int = MEMORY_BUDGET) -> Audit:
    """Exact rows of a random subset. Consumes no global random numbers.

    Args:
        points: n samples, on any device.
        k: number of neighbours of each sample, 1 to n-1.
        seed: seed of the draw.
        rows: number of rows; all rows if there are fewer.
        memory_budget: bytes that may be taken beyond the features, on the CPU.
    """
    drawn = np.sort(np.random.default_rng(seed).choice(points.n, min(rows, points.n), replace=False))
    return Audit(drawn, *exact_rows(points, drawn, k, memory_budget), points.n)
