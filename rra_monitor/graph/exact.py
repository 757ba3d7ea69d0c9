"""The exact graph: a sieve of low-precision products on the CPU, full rows of products elsewhere and for the rest."""

import numpy as np
import numpy.typing as npt
import torch

from rra_monitor.graph.dense import dense_neighbours, tied
from rra_monitor.graph.direct import nearest, squared_distances
from rra_monitor.graph.knn import TIE_TOLERANCE, KnnGraph
from rra_monitor.graph.points import Points
from rra_monitor.graph.precision import full_precision
from rra_monitor.graph.sift import sift
from rra_monitor.graph.workers import Workers

MEMORY_BUDGET = 1 << 30
"""Bytes that a graph may take beyond its features."""

DENSE = 8
"""From k = n / DENSE on a shortlist is no longer short, and full rows are ranked instead."""


def exact_graph(points: Points, k: int, memory_budget: int = MEMORY_BUDGET) -> KnnGraph:
    """The k nearest neighbours of each sample, found on the device where the samples lie."""
    with full_precision(points.device):
        if points.device.type == "cpu" and k + 1 <= points.n // DENSE and not points.constant:
            squared, indices = _sifted_neighbours(points, k + 1, memory_budget)
        else:
            squared, indices = _rows(points, np.arange(points.n), k)
    refuse_vanished(points, squared, indices)
    distances = in_units(points, squared)
    return KnnGraph(
        indices=np.ascontiguousarray(indices[:, :k]),
        distances=np.ascontiguousarray(distances[:, :k]),
        ties=ties_of(squared, k),
        zeros=float((distances[:, 0] == 0).mean()),
    )


def exact_rows(
    points: Points, rows: npt.NDArray[np.int64], k: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """(r, k) neighbours and distances of some samples among all."""
    with full_precision(points.device):
        squared, indices = _rows(points, rows, k)
    return indices[:, :k], in_units(points, squared[:, :k])


def in_units(points: Points, squared: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Distances in the features' own units, from squared ones in units of the points' scale."""
    with np.errstate(over="ignore"):
        distances = (np.sqrt(squared.astype(np.float64)) * points.scale).astype(np.float32)
    if not np.isfinite(distances).all():
        raise ValueError("distances between these features exceed float32; scale the features down")
    return distances


def ties_of(squared: npt.NDArray[np.float32], k: int) -> float:
    """Share of samples whose k-th and next distances are tied; 0 where there is no next."""
    return float(tied(torch.from_numpy(squared), k, TIE_TOLERANCE).float().mean()) if squared.shape[1] > k else 0.0


def refuse_vanished(points: Points, squared: npt.NDArray[np.float32], ids: npt.NDArray[np.int32]) -> None:
    """Beside outliers of 1e15 times the other distances, float32 squares of these vanish, and so would the ranking."""
    small = (squared[:, 0] < 1e-30).nonzero()[0]
    for start in range(0, 0 if points.constant else len(small), 256):
        own = torch.from_numpy(small[start : start + 256]).to(points.device)
        other = torch.from_numpy(ids[small[start : start + 256], 0].astype(np.int64)).to(points.device)
        if bool((points.rows(own) != points.rows(other)).any()):
            raise ValueError(
                f"the features span {points.scale:.0e}, beside which distances of other samples vanish in float32. "
                "Has the training diverged? Clip or leave out the outliers"
            )


def _sifted_neighbours(
    points: Points, found: int, memory_budget: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """Squared distances and ids (n, found), by the sieve and, for the samples that it leaves open, by full rows."""
    with Workers() as workers:
        candidates, counts, missing = sift(points, found, memory_budget, workers)
    squared = squared_distances(points, np.arange(points.n), candidates, counts)
    near, ids = nearest(squared, candidates, counts, found)
    open_rows = missing.nonzero()[0]
    if len(open_rows):
        left, others = _rows(points, open_rows, found)
        near[open_rows], ids[open_rows] = left[:, :found], others[:, :found]
    return near, ids


def _rows(points: Points, rows: npt.NDArray[np.int64], k: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    squared, ids = dense_neighbours(points, torch.from_numpy(rows).to(points.device), k)
    return squared.cpu().numpy(), ids.int().cpu().numpy()
