"""Approximate neighbours by NN-descent: the neighbours of neighbours are likely neighbours.

The search is pynndescent's. Its distances are computed again, rows with too few neighbours completed, and the result
audited.
"""

import logging
import math
import threading
import warnings
from dataclasses import replace

import numba
import numpy as np
import numpy.typing as npt
import torch

from rra_monitor.graph.distances import BLOCK_BYTES, nearest, refuse_vanished, squared_distances
from rra_monitor.graph.exact import exact_graph, nearest_of_all, rows_bytes
from rra_monitor.graph.finished import in_units, ties_of
from rra_monitor.graph.knn import KnnGraph
from rra_monitor.graph.points import MEMORY_BUDGET, Points
from rra_monitor.graph.precision import full_precision
from rra_monitor.graph.recall import draw_audit

EFFORTS = ((1.0, 30), (1.0, 90), (1.5, 90))
"""By effort: width of the search as a multiple of k (or of LEAST_WIDTH), candidates of a sample compared at once.

On 8,192 features of 5,000 CIFAR-10 images, k = 30: recall 0.964, 0.992 and 0.998 in 3.9, 7.8 and 12.5 s. More
candidates raised recall most per second (60: 0.986 in 6.1 s), then width (1.5: 0.991 in 7.9 s); 32 random trees
instead of 7 gave 0.987 in 7.9 s; more iterations or a smaller `delta` gave nothing."""

LEAST_WIDTH = 20
"""Smallest width of the search: for k = 10 with 36 candidates, 12 gave a recall of 0.916 on these features, 20 of
0.961."""

_search_lock = threading.Lock()  # numba's default thread pools end the process when two threads enter
_log = logging.getLogger("rra_monitor")


def nn_descent_graph(
    points: Points, k: int, min_recall: float = 0.95, seed: int = 0, memory_budget: int = MEMORY_BUDGET
) -> KnnGraph:
    """An approximate graph with a measured recall, or the exact one if that recall cannot be reached.

    The effort of the search is raised while the recall on the audited rows is below the one asked for and the memory
    budget allows it. The same seed and number of threads give the same graph. The search runs on the CPU and takes a
    float32 copy of the features.

    Args:
        points: n samples, on any device.
        k: number of neighbours of each sample, 1 to n-1.
        min_recall: smallest recall, 0 to 1.
        seed: seed of the search and of the audited rows. No global random stream is used.
        memory_budget: bytes that may be taken beyond the features.

    Returns:
        A KnnGraph with its recall and its audit; an exact one has no audit.

    Raises:
        ValueError: min_recall outside of 0 to 1; a memory budget below what the search takes at its first effort.
    """
    if not 0 <= min_recall <= 1:
        raise ValueError(f"min_recall={min_recall} must lie in 0 to 1: the fraction of the true neighbours to be found")
    efforts = [e for e in range(len(EFFORTS)) if nn_descent_bytes(points.n, points.dim, k, e) <= memory_budget]
    if not efforts:
        raise ValueError(
            f"memory_budget={memory_budget:,} bytes is below the {nn_descent_bytes(points.n, points.dim, k):,} that a "
            f"descent takes for {points.n:,} samples of {points.dim:,} features. Raise it, or take backend='exact' or "
            "'auto', fewer samples or pooled features."
        )
    if points.device.type != "cpu":
        points = Points(points.matrix.cpu())
    audit = draw_audit(points, k, seed, memory_budget=memory_budget)
    for effort in efforts:
        # One more than k tells whether the k-th is tied.
        kept = min(k + 1, points.n - 1)
        squared, indices = nn_descent_neighbours(points, kept, seed, effort, memory_budget=memory_budget)
        refuse_vanished(points, torch.from_numpy(squared), torch.from_numpy(indices))
        distances = in_units(squared[:, :k], points.scale)
        graph = KnnGraph(
            indices=np.ascontiguousarray(indices[:, :k]),
            distances=distances,
            ties=ties_of(squared, k),
            zeros=float((distances[:, 0] == 0).mean()),
            backend="nndescent",
            audit=audit,
        )
        recall = audit.recall(graph)
        if recall >= min_recall:
            return replace(graph, recall=recall)
        error = audit.standard_error(graph)
        _log.info("nndescent: recall %.4f (± %.4f) at effort %d, min_recall=%.4f", recall, error, effort, min_recall)
    _log.warning(
        "nndescent found a recall of %.4f at its highest effort%s, below min_recall=%.4f: building the exact graph. "
        "Lower min_recall, or take backend='exact' for such features.",
        recall,
        "" if effort + 1 == len(EFFORTS) else f" within memory_budget={memory_budget:,} bytes",
        min_recall,
    )
    del graph, squared, indices, distances
    return exact_graph(points, k, memory_budget)


def nn_descent_bytes(n: int, dim: int, k: int, effort: int = 0) -> int:
    """Bytes that nn_descent_graph takes beyond the features, by prediction: their float32 copy and the search's tables.

    Tables of all samples hold the neighbours found and the candidates; those of the updates, 16,384 samples at a time,
    are fitted, for several threads. Peaks measured for n = 20,000 to 100,000, d = 64 to 3,072, k = 10 to 150, the
    first and the highest effort, 1 and 2 threads lay 2 to 56 % below.
    """
    width, candidates = searched(k, effort), EFFORTS[effort][1]
    if 2 * width >= n:  # no search: every sample is compared with all
        return rows_bytes(n, dim, n, k + 1)
    updates = min(n, 16_384) * (48 * width + 84 * candidates)
    return 4 * n * dim + n * (17 * width + 16 * candidates) + updates


def searched(k: int, effort: int = 0) -> int:
    """Number of neighbours of each sample that a search for k of them, and for the next to detect ties, keeps."""
    return math.ceil(EFFORTS[effort][0] * max(k + 2, LEAST_WIDTH))


def nn_descent_neighbours(
    points: Points,
    k: int,
    seed: int = 0,
    effort: int = 0,
    threads: int | None = None,
    memory_budget: int = MEMORY_BUDGET,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """The nearest others of each sample among those that NN-descent finds.

    A sample is not its own neighbour, even if it has duplicates. Distances are measured by direct difference. Rows for
    which the search found fewer than k are exact, and so are all rows where it would keep half of the samples.

    Args:
        points: n samples on the CPU.
        k: number of neighbours, 1 to n-1.
        seed: seed of the search. The same seed gives the same neighbours on the same number of threads; with 1 and 2
            threads 1 to 300 of 10,000 neighbours differed, most where the recall is low.
        effort: position in EFFORTS.
        threads: number of threads; torch's if None.
        memory_budget: bytes that rows compared with all others may take; the search takes what it needs.

    Returns:
        (n, k) squared distances in units of the points' scale, ascending, and indices; equal distances by index.
    """
    neighbours, candidates = searched(k - 1, effort), EFFORTS[effort][1]
    squared, indices = np.empty((points.n, k), np.float32), np.empty((points.n, k), np.int32)
    with full_precision(points.device):
        counts = np.zeros(points.n, np.int32)
        if 2 * neighbours < points.n:
            centred = _centred(points)
            others = _search(centred, neighbours, candidates, seed, threads or torch.get_num_threads())
            del centred
            others, counts = _others(others)
        complete, incomplete = (counts >= k).nonzero()[0], (counts < k).nonzero()[0]
        if len(complete):
            others, counts = others[complete], counts[complete]
            measured = squared_distances(points, complete, others, counts)
            squared[complete], indices[complete] = nearest(measured, others, counts, k)
        if len(incomplete):
            exact, ids = nearest_of_all(points, incomplete, k, memory_budget)
            squared[incomplete], indices[incomplete] = exact[:, :k], ids[:, :k]
    return squared, indices


def _centred(points: Points) -> npt.NDArray[np.float32]:
    """(n, d) all samples, converted in strips so that there is one copy and no more."""
    whole = np.empty((points.n, points.dim), np.float32)
    step = max(1, BLOCK_BYTES // (8 * points.dim))
    for start in range(0, points.n, step):
        here = slice(start, start + step)
        whole[here] = points.centred(here).numpy()
    return whole


def _search(
    points: npt.NDArray[np.float32], neighbours: int, candidates: int, seed: int, threads: int
) -> npt.NDArray[np.int32]:
    """(n, neighbours) result of pynndescent: it contains the sample itself, and -1 where it found too few."""
    from pynndescent import NNDescent  # takes seconds and is not always needed

    with _search_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about too few neighbours: such rows are completed
        # Asking for numba's number of threads starts its pool. If that shares torch's OpenMP, it sets torch's number.
        of_torch, of_numba = torch.get_num_threads(), numba.get_num_threads()
        threads = min(threads, numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
        try:
            search = NNDescent(
                points, n_neighbors=neighbours, max_candidates=candidates, random_state=seed, n_jobs=threads
            )
            indices: npt.NDArray[np.int32] = search.neighbor_graph[0]
        finally:
            numba.set_num_threads(of_numba)
            torch.set_num_threads(of_torch)
    return indices


def _others(candidates: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """The candidates without the samples themselves, gaps and repetitions: the first counts[i] of row i."""
    n = len(candidates)
    candidates = np.sort(candidates, axis=1)
    unwanted = (candidates < 0) | (candidates == np.arange(n)[:, None])
    unwanted[:, 1:] |= candidates[:, 1:] == candidates[:, :-1]
    candidates[unwanted] = n  # sorts to the end
    candidates.sort(axis=1)
    return candidates, (candidates < n).sum(axis=1).astype(np.int32)
