"""Nearest-neighbour layer similarity (NNLS): the mean Jaccard index of the neighbour sets of two representations."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from rra_monitor.graph.knn import KnnGraph
from rra_monitor.metrics._checks import check_alike, checked_neighbours, unshared
from rra_monitor.metrics._reduction import Graph, samples_of, sums_over_samples

WORD = 64
"""Layers compared at once: one bit each in a machine word."""


def nnls(graph_a: Graph, graph_b: Graph) -> float:
    """The mean Jaccard index of the neighbour sets of two graphs (NNLS in the thesis, neighbourhood overlap elsewhere).

    Formula: NNLS = 1 / n sum_i |Ka_i ∩ Kb_i| / |Ka_i ∪ Kb_i|, with K_i the k nearest neighbours of sample i.

    Args:
        graph_a: graph of n samples with k neighbours each.
        graph_b: graph of the same samples in the same order, with the same k.

    Returns:
        0 to 1, higher is more similar; 1 means the same neighbour sets. Unrelated features give
        `nnls_chance(n, k)`, not 0; `adjusted(value, nnls_chance(n, k))` is 0 there.

    Raises:
        ValueError: graphs of different n or k; indices outside 0 to n - 1.

    Source: Eq. 3.2 and 3.3 of the thesis.

    >>> from rra_monitor import knn_graph
    >>> line = knn_graph([0.0, 1.0, 3.0, 7.0], k=2)
    >>> swapped = knn_graph([0.0, 7.0, 3.0, 1.0], k=2)
    >>> round(nnls(line, swapped), 4)  # Jaccard indices 1/3, 1/3, 1/3, 1/3
    0.3333
    """
    return float(nnls_matrix([graph_a], [graph_b])[0, 0])


def nnls_matrix(graphs_a: Sequence[Graph], graphs_b: Sequence[Graph] | None = None) -> npt.NDArray[np.float64]:
    """The NNLS of every graph in one list with every graph in another, in one pass over the samples.

    Args:
        graphs_a: la graphs of the same n samples with the same k, for example the layers of one network.
        graphs_b: lb more of them; the first list itself if None.

    Returns:
        (la, lb) array of values in 0 to 1, higher is more similar; symmetric with a diagonal of ones for one list.

    Raises:
        ValueError: an empty list, graphs of different n or k; indices outside 0 to n - 1.

    Source: Eq. 3.2 and 3.3 of the thesis.
    """
    others = graphs_a if graphs_b is None else graphs_b
    sums = sums_over_samples(lambda: _overlaps(graphs_a, others), *graphs_a, *others)
    return sums / samples_of(graphs_a[0])


def nnls_per_sample(graph_a: KnnGraph, graph_b: KnnGraph) -> npt.NDArray[np.float64]:
    """The Jaccard index of the two neighbour sets of each sample.

    Formula: |Ka_i ∩ Kb_i| / |Ka_i ∪ Kb_i|, for each sample i.

    Args:
        graph_a: whole graph of n samples with k neighbours each.
        graph_b: graph of the same samples in the same order, with the same k.

    Returns:
        (n,) values 0 to 1, with `nnls` as their mean; low where a sample's neighbourhood differs most.

    Raises:
        ValueError: graphs of different n or k; indices outside 0 to n - 1; one rank's shard of a graph.

    Source: Eq. 3.3 of the thesis.

    >>> from rra_monitor import knn_graph
    >>> line = knn_graph([0.0, 1.0, 3.0, 7.0], k=1)
    >>> nnls_per_sample(line, knn_graph([0.0, 1.0, 5.0, 7.0], k=1)).tolist()
    [1.0, 1.0, 0.0, 1.0]
    """
    shared = graph_a.k - unshared(graph_a, graph_b).sum(axis=1)
    overlap: npt.NDArray[np.float64] = shared / (2 * graph_a.k - shared)
    return overlap


def nnls_of_neighbours(
    neighbours_a: Sequence[npt.NDArray[np.int32]], neighbours_b: Sequence[npt.NDArray[np.int32]]
) -> npt.NDArray[np.float64]:
    """`nnls_matrix` of whole graphs of which only the neighbours are held.

    Args:
        neighbours_a: la arrays (n, k), the `indices` of graphs.
        neighbours_b: lb more of them.

    Returns:
        (la, lb) array of values in 0 to 1, higher is more similar.

    Raises:
        ValueError: an empty list, or arrays of different shapes.
    """
    _check_given(neighbours_a, neighbours_b)
    if len(shapes := {each.shape for each in (*neighbours_a, *neighbours_b)}) > 1:
        raise ValueError(f"NNLS compares graphs of the same samples with the same k, found (n, k) of {sorted(shapes)}")
    n = len(neighbours_a[0])
    return _sums(neighbours_a, neighbours_b, n) / n


def _overlaps(graphs_a: Sequence[Graph], others: Sequence[Graph]) -> npt.NDArray[np.float64]:
    """(la, lb) sums over the rows of the Jaccard indices."""
    _check_given(graphs_a, others)
    check_alike([*graphs_a, *others])
    for graph in {id(graph): graph for graph in (*graphs_a, *others)}.values():
        checked_neighbours(graph)
    neighbours = [graph.indices for graph in graphs_a]
    theirs = neighbours if others is graphs_a else [graph.indices for graph in others]
    return _sums(neighbours, theirs, samples_of(graphs_a[0]))


def _check_given(graphs_a: Sequence[Any], graphs_b: Sequence[Any]) -> None:
    if not graphs_a or not graphs_b:
        raise ValueError("an NNLS matrix needs at least one graph on each side, got an empty list")


def _sums(
    neighbours: Sequence[npt.NDArray[np.int32]], others: Sequence[npt.NDArray[np.int32]], samples: int
) -> npt.NDArray[np.float64]:
    """(la, lb) sums over the rows of the Jaccard indices of arrays (n, k); of one list with itself half is computed."""
    rows = np.stack(neighbours)
    _, n, k = rows.shape
    matrix = np.empty((len(rows), len(others)))
    symmetric = others is neighbours
    threads = max(1, min(_available_threads(), n // 256))
    cuts = np.linspace(0, n, threads + 1).astype(int)
    shared = np.arange(k + 1)
    overlap = shared / (2 * k - shared)
    # Python's own threads: numba's pools do not survive a fork into data loader workers.
    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, len(others), WORD):
            some = others[first : first + WORD]
            columns = rows[first : first + WORD] if symmetric else np.stack(some)
            # Of one list with itself, the pairs above the diagonal are enough.
            least = np.maximum(np.arange(len(rows)) - first, 0) if symmetric else np.zeros(len(rows), np.int64)
            counts = pool.map(partial(_count_shared, rows, columns, least, samples), cuts[:-1], cuts[1:])
            # Counts of samples by number of shared neighbours are integers, so the sum does not depend on the order.
            matrix[:, first : first + WORD] = sum(counts) @ overlap
    if symmetric:
        lower = np.tril_indices(len(matrix), -1)
        matrix[lower] = matrix.T[lower]
    return matrix


def _available_threads() -> int:
    # Torch's number of threads if torch is loaded; it is not loaded for this.
    return sys.modules["torch"].get_num_threads() if "torch" in sys.modules else os.cpu_count() or 1


@numba.njit(nogil=True, cache=True)
def _count_shared(rows: Any, columns: Any, least: Any, samples: int, start: int, stop: int) -> Any:
    """Number of samples from start to stop that share s neighbours, for each pair of layers: (la, lb, k + 1) counts.

    Row a is compared with the columns from least[a] on.
    """
    layers, _, k = rows.shape
    others = columns.shape[0]
    counts = np.zeros((layers, others, k + 1), np.int64)
    # Bit b of holders[j] says that j is a neighbour of sample i in layer b of the columns.
    holders = np.zeros(samples, np.uint64)
    shared = np.empty(others, np.int64)
    one = np.uint64(1)
    for i in range(start, stop):
        for b in range(others):
            bit = one << np.uint64(b)
            for j in columns[b, i]:
                holders[j] |= bit
        for a in range(layers):
            if least[a] >= others:
                continue
            shared[:] = 0
            skipped = np.uint64(least[a])
            for j in rows[a, i]:
                held = holders[j] >> skipped
                b = least[a]
                while held:
                    if held & one:
                        shared[b] += 1
                    held >>= one
                    b += 1
            for b in range(others):
                counts[a, b, shared[b]] += 1
        for b in range(others):
            for j in columns[b, i]:
                holders[j] = 0
    return counts
