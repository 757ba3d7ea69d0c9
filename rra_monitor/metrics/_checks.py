"""Checks of the neighbours before compiled code reads them, and the neighbours that two graphs do not share."""

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from rra_monitor.graph.knn import KnnGraph
from rra_monitor.metrics._reduction import Graph, first_row, samples_of, whole


def check_alike(graphs: Sequence[Graph]) -> None:
    """Refuse a comparison of graphs of different samples or k.

    Raises:
        ValueError: graphs of different n, k or shard of the samples.
    """
    shapes = {(samples_of(graph), graph.k, first_row(graph), graph.n) for graph in graphs}
    if len(shapes) > 1:
        given = " and ".join(
            f"n={samples}, k={k}" + (f" (rows from {offset} on, {n} of them)" if n != samples else "")
            for samples, k, offset, n in sorted(shapes)
        )
        raise ValueError(f"NNLS compares graphs of the same samples with the same k, found {given}; build them alike")


def checked_neighbours(graph: Graph) -> npt.NDArray[np.int32]:
    """The (n, k) indices of a graph, safe to read with in compiled code, which checks no bounds.

    Raises:
        ValueError: indices outside 0 to samples - 1.
    """
    indices, samples = graph.indices, samples_of(graph)
    # As unsigned numbers, negative ones are the largest: one pass finds both.
    if indices.size and int(indices.view(f"u{indices.itemsize}").max()) >= samples:
        row, place = np.argwhere((indices < 0) | (indices >= samples))[0]
        raise ValueError(
            f"neighbour {place} of sample {first_row(graph) + row} is {indices[row, place]}, expected positions among "
            f"the {samples} samples, 0 to {samples - 1}; give positions in the graph, not ids in the data set"
        )
    return indices


def unshared(graph: KnnGraph, other: KnnGraph) -> npt.NDArray[np.bool_]:
    """The neighbours that the other graph does not have.

    Args:
        graph: graph of n samples with k neighbours each.
        other: graph of the same samples, with the same k.

    Returns:
        (n, k) True where a neighbour in `graph` is not a neighbour of the same sample in `other`.

    Raises:
        ValueError: graphs of different n or k; indices outside 0 to n - 1; one rank's shard of a graph.
    """
    check_alike([whole(graph), whole(other)])
    missing: npt.NDArray[np.bool_] = _missing(checked_neighbours(graph), checked_neighbours(other))
    return missing


@numba.njit(nogil=True, cache=True)
def _missing(rows: Any, others: Any) -> Any:
    n, k = rows.shape
    missing = np.empty((n, k), np.bool_)
    # holder[j] is the last sample met that has j as its neighbour.
    holder = np.full(n, -1, np.int64)
    for i in range(n):
        for j in others[i]:
            holder[j] = i
        for place in range(k):
            missing[i, place] = holder[rows[i, place]] != i
    return missing
