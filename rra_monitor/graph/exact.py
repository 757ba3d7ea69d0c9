"""The exact graph: on the CPU a sieve of low-precision products, and full rows for the rest; a GPU has its own way."""

import numpy as np
import numpy.typing as npt
import torch

from rra_monitor.graph.dense import SETTLED, dense_neighbours, tied
from rra_monitor.graph.distances import BLOCK_BYTES, CHUNK, nearest, refuse_vanished, squared_distances
from rra_monitor.graph.knn import TIE_TOLERANCE, KnnGraph
from rra_monitor.graph.on_device import DENSE, graph_on_device
from rra_monitor.graph.points import Points, below_one_block
from rra_monitor.graph.precision import full_precision
from rra_monitor.graph.sieve import sifted
from rra_monitor.graph.spot_check import warn, wrong_rows
from rra_monitor.graph.workers import Workers

MEMORY_BUDGET = 1 << 30
"""Default limit of the bytes that a graph may take beyond its features."""

BLOCKS = 16
"""Number of blocks that full rows may take: products, samples and what is computed from them, in double precision."""

RANKED = 32
"""Bytes of a block for each ranked candidate: two blocks hold distances, ids and the arrays that sort them."""


def exact_graph(points: Points, k: int, memory_budget: int = MEMORY_BUDGET) -> KnnGraph:
    """The graph of the k nearest neighbours of each sample, computed on the samples' device.

    If products below double precision were used, a few rows are checked in float64. If one is wrong, all are built
    again in double precision, with a warning.

    Raises:
        ValueError: on the CPU, a memory budget below one block; distances that exceed float32, or vanish in it.
    """
    checked = failed = 0
    if points.device.type != "cpu" and not points.constant:
        with full_precision(points.device):
            return graph_on_device(points, k)
    with full_precision(points.device):
        everyone = np.arange(points.n)
        sieved = points.device.type == "cpu" and k + 1 <= points.n // DENSE and not points.constant
        if sieved:
            squared, indices = _sifted_neighbours(points, k + 1, memory_budget)
        else:
            needed = rows_bytes(points.n, points.dim, points.n, k)
            if points.device.type == "cpu" and memory_budget < needed:
                raise ValueError(below_one_block(points, memory_budget, needed))
            squared, indices = nearest_of_all(points, everyone, k, memory_budget)
        if sieved:
            checked, failed = wrong_rows(points, indices[:, :k])
            if failed:
                warn(failed, checked, points.n, points.dim)
                squared, indices = nearest_of_all(points, everyone, k, memory_budget)
    refuse_vanished(points, torch.from_numpy(squared), torch.from_numpy(indices))
    ties, distances = ties_of(squared, k), in_units(points, squared[:, :k])
    del squared
    return KnnGraph(
        indices=np.ascontiguousarray(indices[:, :k]),
        distances=distances,
        ties=ties,
        zeros=float((distances[:, 0] == 0).mean()),
        checked=checked,
        failed=failed,
    )


def exact_rows(
    points: Points, rows: npt.NDArray[np.int64], k: int, memory_budget: int = MEMORY_BUDGET
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """(r, k) neighbours and distances of some samples among all."""
    with full_precision(points.device):
        squared, indices = nearest_of_all(points, rows, k, memory_budget)
    return indices[:, :k], in_units(points, squared[:, :k])


def nearest_of_all(
    points: Points, rows: npt.NDArray[np.int64], k: int, memory_budget: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """Squared distances and ids (r, min(k + 1, n - 1)) of the nearest of some samples, each compared with all.

    On the CPU a strip of samples at a time, as many as the memory budget allows, at least one.
    """
    shown, ranked = min(k + 1, points.n - 1), min(k + SETTLED, points.n - 1)
    if points.constant:  # a dead layer, which is common and needs no arithmetic
        first = np.arange(shown, dtype=np.int32)
        return np.zeros((len(rows), shown), np.float32), first + (first >= rows[:, None]).astype(np.int32)
    block, strip = BLOCK_BYTES, max(1, len(rows))
    if points.device.type == "cpu":
        spare = memory_budget - rows_bytes(points.n, points.dim, len(rows), k)
        block = min(BLOCK_BYTES, _least_block(points.n, points.dim, k) + max(0, spare) // BLOCKS)
        strip = max(1, block // (RANKED * ranked))
    squared, ids = np.empty((len(rows), shown), np.float32), np.empty((len(rows), shown), np.int32)
    for top in range(0, len(rows), strip):
        here = slice(top, top + strip)
        near, others = dense_neighbours(points, torch.from_numpy(rows[here]).to(points.device), k, block)
        squared[here], ids[here] = near[:, :shown].cpu().numpy(), others[:, :shown].int().cpu().numpy()
    return squared, ids


def rows_bytes(n: int, dim: int, rows: int, k: int) -> int:
    """Least number of bytes for the nearest of some samples among all, on the CPU, with the graph made of them."""
    return 12 * rows * (k + 1) + 4 * n * min(CHUNK, dim) + BLOCKS * _least_block(n, dim, k)


def _least_block(n: int, dim: int, k: int) -> int:
    """Bytes of one row of products in double precision, of one sample, or of what one row ranks: the largest."""
    return max(8 * n, 8 * dim, RANKED * (k + SETTLED))


def in_units(points: Points, squared: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Distances in the features' own units, from squared ones in units of the points' scale.

    Raises:
        ValueError: distances beyond float32.
    """
    distances = np.empty(squared.shape, np.float32)
    step = max(1, (1 << 19) // squared.shape[1])
    for start in range(0, len(squared), step):
        here = slice(start, start + step)
        with np.errstate(over="ignore"):
            distances[here] = np.sqrt(squared[here].astype(np.float64)) * points.scale
        if not np.isfinite(distances[here]).all():
            raise ValueError("distances between these features exceed float32; scale the features down")
    return distances


def ties_of(squared: npt.NDArray[np.float32], k: int) -> float:
    """Fraction of samples whose k-th and next distances are tied; 0 where there is no next."""
    return float(tied(torch.from_numpy(squared), k, TIE_TOLERANCE).float().mean()) if squared.shape[1] > k else 0.0


def _sifted_neighbours(
    points: Points, kept: int, memory_budget: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """Squared distances and ids (n, kept), by the sieve and, for the samples that it leaves open, by full rows."""
    with Workers() as workers:
        candidates, counts, missing = sifted(points, kept, memory_budget, workers)
    squared = squared_distances(points, np.arange(points.n), candidates, counts)
    near, ids = nearest(squared, candidates, counts, kept)
    del squared, candidates
    open_rows = missing.nonzero()[0]
    if len(open_rows):
        left, others = nearest_of_all(points, open_rows, kept, memory_budget - near.nbytes - ids.nbytes)
        near[open_rows], ids[open_rows] = left[:, :kept], others[:, :kept]
    return near, ids
