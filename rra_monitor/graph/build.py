"""knn_graph: check the features, choose a backend, build the graph."""

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from rra_monitor.graph.choose import choose
from rra_monitor.graph.descent import descent_graph
from rra_monitor.graph.exact import MEMORY_BUDGET, exact_graph
from rra_monitor.graph.knn import KnnGraph
from rra_monitor.graph.points import Points

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

BACKENDS = ("auto", "exact", "nndescent")

_log = logging.getLogger("rra_monitor")


def knn_graph(
    features: Any,
    k: int = 20,
    backend: str = "auto",
    *,
    min_recall: float = 0.95,
    memory_budget: int = MEMORY_BUDGET,
    seed: int = 0,
    group: "ProcessGroup | None" = None,
) -> KnnGraph:
    """The directed graph of the k nearest neighbours under the Euclidean distance.

    Distances are those of the vectorised samples in float32, whatever the input's type, measured by direct difference
    on the CPU; on a GPU those of the nearest eight are, which r1 and r2 belong to. The sample itself is excluded by its
    index. The work is done where the features lie; a memory map is read in parts.

    Args:
        features: (n, …) array or tensor; trailing axes are flattened. Integers and half precision are cast.
        k: neighbours of each sample, 1 to n-1.
        backend: "exact"; "nndescent", an approximation with a measured recall; or "auto", whichever is predicted to be
            faster (logged at level INFO with the reason).
        min_recall: share of the true neighbours, 0 to 1, that an approximation must find. One that misses it is
            searched again with more effort, then replaced by the exact graph.
        memory_budget: bytes that the exact graph may take beyond the features, on the CPU.
        seed: of the approximate search and its audit.
        group: a process group of torch.distributed, over whose ranks the samples are spread: `features` are this
            rank's, and so are the rows of the graph. Exact; all ranks must call it.

    Returns:
        A KnnGraph of numpy arrays.

    Raises:
        TypeError: features that are no real numbers.
        ValueError: fewer than 2 samples, no features, NaN or infinite values, values beyond float32, k or min_recall
            out of range, an unknown backend, a memory budget below one block.

    Source: section 3.2.1 of the thesis; for nndescent, Dong et al. 2011 by way of pynndescent.

    >>> graph = knn_graph(np.array([[0.0], [1.0], [3.0], [7.0]]), k=2)
    >>> graph.indices.tolist()
    [[1, 2], [0, 2], [1, 0], [2, 1]]
    >>> graph.distances.tolist()
    [[1.0, 3.0], [1.0, 2.0], [2.0, 3.0], [4.0, 6.0]]
    """
    if backend not in BACKENDS:
        raise ValueError(f"unknown backend {backend!r}; choose one of {', '.join(BACKENDS)}")
    if not 0 <= min_recall <= 1:
        raise ValueError(f"min_recall={min_recall} must lie in 0 to 1: the share of the true neighbours to be found")
    if group is not None:
        from rra_monitor.graph.distributed import distributed_graph

        if backend == "nndescent":
            raise ValueError("backend='nndescent' works in one process; over a group take 'exact' or 'auto'")
        return distributed_graph(features, k, group)
    points = Points(features)
    n = points.n
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)):
        raise TypeError(f"k must be an integer, got {k!r}")
    if not 1 <= k < n:
        raise ValueError(
            f"k={k} for n={n} samples: each has {n - 1} others, so k must lie in 1 to {n - 1}. "
            f"Lower k, or take more samples (default_k gives n / (10 · classes))."
        )
    if backend == "auto":
        backend, reason = choose(n, points.dim, int(k), points.device, min_recall)
        _log.info("knn_graph: %s for n=%d, d=%d, k=%d: %s", backend, n, points.dim, k, reason)
    if backend == "nndescent":
        return descent_graph(points, int(k), min_recall, seed)
    return exact_graph(points, int(k), memory_budget)
