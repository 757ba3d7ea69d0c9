"""The exact graph: on the CPU a sieve of low-precision products, and full rows for the rest; a GPU has its own way."""

import numpy as np
import numpy.typing as npt
import torch

from rra_monitor.graph.all_pairs import WIDE, all_pairs_bytes, all_pairs_graph, suits
from rra_monitor.graph.dense import SETTLED, dense_neighbours
from rra_monitor.graph.distances import BLOCK_BYTES, copied_features, nearest, refuse_vanished, squared_distances
from rra_monitor.graph.finished import constant_rows, finished_graph, in_units, ties_of
from rra_monitor.graph.knn import KnnGraph
from rra_monitor.graph.on_device import DENSE, bytes_on_device, graph_on_device
from rra_monitor.graph.part_sizes import in_two_sweeps, two_sweep_bytes
from rra_monitor.graph.parts import GraphOfParts
from rra_monitor.graph.points import MEMORY_BUDGET, Points
from rra_monitor.graph.precision import full_precision
from rra_monitor.graph.shortlist import Shortlist
from rra_monitor.graph.sieve import AT_ONCE, CHECKS, PILOT, PILOT_BYTES, PREPARED, TILES, TooWide, sampled, sifted
from rra_monitor.graph.spot_check import warn, wrong_rows
from rra_monitor.graph.workers import Workers

BLOCKS = 16
"""Number of blocks that full rows may take: products, samples and what is computed from them, in double precision."""

RANKED = 32
"""Bytes of a block for each ranked candidate: two blocks hold distances, ids and the arrays that sort them."""


OPEN = 32
"""Of so many samples one may be left open, to be measured with all others, which takes no product."""

MEASURED = 24
"""Bytes of each such distance."""


def exact_graph(points: Points, k: int, memory_budget: int = MEMORY_BUDGET) -> KnnGraph:
    """The graph of the k nearest neighbours of each sample, computed on the samples' device.

    If products below double precision were used, a few rows are checked in float64. If one is wrong, all are built
    again in double precision, with a warning.

    Features so wide that a few samples exceed the memory budget are read in chunks of features.

    Raises:
        ValueError: on the CPU, a memory budget below one block; distances that exceed float32, or vanish in it.
    """
    on_cpu = points.device.type == "cpu"
    small = on_cpu and not points.constant and suits(points.n, points.dim)
    if small and all_pairs_bytes(points.n, points.dim, k) <= memory_budget:
        return all_pairs_graph(points, k)
    checked = failed = 0
    if not on_cpu and not points.constant:
        # The default is no limit there: it would forbid what a GPU has room for.
        limit = None if memory_budget == MEMORY_BUDGET else memory_budget
        if limit is not None and limit < bytes_on_device(points.n, points.dim, k):
            return _graph_of_chunks(points, k, limit)
        with full_precision(points.device):
            return graph_on_device(points, k, limit)
    wide = on_cpu and points.dim >= WIDE and not points.constant
    if wide and in_two_sweeps(points.n, points.dim, k, memory_budget):
        return _graph_of_chunks(points, k, memory_budget)
    with full_precision(points.device):
        everyone = np.arange(points.n)
        sieved = on_cpu and k + 1 <= points.n // DENSE and not points.constant
        if sieved:
            try:
                squared, indices = _sifted_neighbours(points, k + 1, memory_budget)
            except TooWide:
                return _graph_of_chunks(points, k, memory_budget)
        else:
            if on_cpu and memory_budget < rows_bytes(points.n, points.dim, points.n, k):
                return _graph_of_chunks(points, k, memory_budget)
            squared, indices = nearest_of_all(points, everyone, k, memory_budget)
        if sieved:
            checked, failed = wrong_rows(points, indices[:, :k])
            if failed:
                warn(failed, checked, points.n, points.dim)
                squared, indices = nearest_of_all(points, everyone, k, memory_budget)
    refuse_vanished(points, torch.from_numpy(squared), torch.from_numpy(indices))
    ties, distances = ties_of(squared, k), in_units(squared[:, :k], points.scale)
    del squared
    return finished_graph(indices, distances, ties, checked, failed)


def _graph_of_chunks(points: Points, k: int, memory_budget: int) -> KnnGraph:
    """The exact graph from chunks of features, whose blocks do not grow with their number."""
    build = GraphOfParts(points.n, points.dim, k, memory_budget)
    while build.wants_sweep:
        build.add(points.matrix)
        build.end_sweep()
    return build.graph()


def exact_rows(
    points: Points, rows: npt.NDArray[np.int64], k: int, memory_budget: int = MEMORY_BUDGET
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """(r, k) neighbours and distances of some samples among all."""
    with full_precision(points.device):
        squared, indices = nearest_of_all(points, rows, k, memory_budget)
    return indices[:, :k], in_units(squared[:, :k], points.scale)


def nearest_of_all(
    points: Points, rows: npt.NDArray[np.int64], k: int, memory_budget: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """Squared distances and ids (r, min(k + 1, n - 1)) of the nearest of some samples, each compared with all.

    On the CPU a strip of samples at a time, as many as the memory budget allows, at least one.
    """
    shown, ranked = min(k + 1, points.n - 1), min(k + SETTLED, points.n - 1)
    if points.constant:  # a dead layer, which is common and needs no arithmetic
        return constant_rows(rows, shown)
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


def comfortable_bytes(n: int, dim: int, k: int, device: torch.device) -> int:
    """Bytes beyond the features with which a graph takes hardly longer than with more."""
    if device.type == "cuda":
        return bytes_on_device(n, dim, k)
    ways = [two_sweep_bytes(n, dim, k)]
    if dim < WIDE:
        ways.append(_sieve_bytes(n, dim, k))
    if suits(n, dim):
        ways.append(all_pairs_bytes(n, dim, k))
    return min(ways)


def _sieve_bytes(n: int, dim: int, k: int) -> int:
    """Bytes with which the sieve has blocks of some size, at most."""
    room = Shortlist.room(min(n - 1, 4 * k + 132))
    tile = min(512, max(TILES[-1], n // 16))
    pilot = dim * (8 * PILOT + 12 * min(256, max(1, PILOT_BYTES // (8 * dim))) + CHECKS)
    samples = 4 * dim * (sampled(n) + tile + min(n, TILES[0])) + CHECKS * dim
    each = PREPARED * max(dim, min(64 * dim, AT_ONCE)) + 6 * tile**2
    return max(pilot, 12 * n * room + min(BLOCK_BYTES, 8 * n * room) + samples + each * torch.get_num_threads())


def rows_bytes(n: int, dim: int, rows: int, k: int) -> int:
    """Least number of bytes for the nearest of some samples among all, on the CPU, with the graph made of them."""
    return 12 * rows * (k + 1) + 4 * n * copied_features(n, dim) + BLOCKS * _least_block(n, dim, k)


def _least_block(n: int, dim: int, k: int) -> int:
    """Bytes of one row of products in double precision, of one sample, or of what one row ranks: the largest."""
    return max(8 * n, 8 * dim, RANKED * (k + SETTLED))


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
        left = memory_budget - near.nbytes - ids.nbytes
        if len(open_rows) <= points.n // OPEN and MEASURED * len(open_rows) * points.n <= left:
            near[open_rows], ids[open_rows] = _measured_with_all(points, open_rows, kept)
        else:
            few, others = nearest_of_all(points, open_rows, kept, left)
            near[open_rows], ids[open_rows] = few[:, :kept], others[:, :kept]
    return near, ids


def _measured_with_all(
    points: Points, rows: npt.NDArray[np.int64], kept: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """Squared distances and ids (r, kept) of the nearest of a few samples, from their differences to all others."""
    others = np.arange(points.n - 1, dtype=np.int32) + (np.arange(points.n - 1) >= rows[:, None]).astype(np.int32)
    squared = squared_distances(points, rows, others)
    return nearest(squared, others, np.full(len(rows), points.n - 1, np.int32), kept)
