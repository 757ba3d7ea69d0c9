"""knn_graph: check the features, choose a backend, build the graph."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from rra_monitor.graph.choose import choose
from rra_monitor.graph.exact import exact_graph
from rra_monitor.graph.knn import KnnGraph, checked_k
from rra_monitor.graph.nn_descent import nn_descent_graph
from rra_monitor.graph.points import MEMORY_BUDGET, Points

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

    from rra_monitor.graph.sharded import ShardedGraph

BACKENDS = ("auto", "exact", "nndescent")
DEFAULTS = {"memory_budget": MEMORY_BUDGET, "seed": 0}

_log = logging.getLogger("rra_monitor")


@overload
def knn_graph(
    features: Any,
    k: int = 20,
    backend: str = "auto",
    *,
    min_recall: float = 0.95,
    memory_budget: int | None = None,
    seed: int = 0,
    group: None = None,
) -> KnnGraph: ...


@overload
def knn_graph(
    features: Any,
    k: int = 20,
    backend: str = "auto",
    *,
    min_recall: float = 0.95,
    memory_budget: int | None = None,
    seed: int = 0,
    group: ProcessGroup,
) -> ShardedGraph: ...


def knn_graph(
    features: Any,
    k: int = 20,
    backend: str = "auto",
    *,
    min_recall: float = 0.95,
    memory_budget: int | None = None,
    seed: int = 0,
    group: ProcessGroup | None = None,
) -> KnnGraph | ShardedGraph:
    """The directed graph of the k nearest neighbours under the Euclidean distance.

    Distances are those of the vectorised samples in float32, whatever the input's type. All are measured by direct
    difference; on a GPU for k from n / 8 on, and in rows that need it, only those of the nearest eight, among them r1
    and r2. The sample itself is excluded by its index. The work is done on the features' device; a memory map is read
    in parts.

    Args:
        features: (n, …) array or tensor; trailing axes are flattened. Integers and half precision are cast.
        k: number of neighbours of each sample, 1 to n-1.
        backend: "exact"; "nndescent", an approximation with a measured recall; or "auto", whichever is predicted to be
            faster, from shape, device and options alone (logged at level INFO with the reason).
        min_recall: fraction of the true neighbours, 0 to 1, that an approximation must find. A search that
            misses it is repeated with more effort, then replaced by the exact graph.
        memory_budget: bytes that may be taken beyond the features, on the CPU; 1 GiB if None. "auto" takes no
            NN-descent that would need more; a graph that cannot be built within it is refused. With a group those
            of each rank, the least of all ranks; there it holds on a GPU, too, with blocks of 1 GiB if None.
        seed: seed of the approximate search and its audit, 0 to 2³² - 1.
        group: torch.distributed process group whose ranks hold the samples: `features` are this rank's, and so are the
            rows of the graph. The graph is exact, also with "auto"; all ranks must call it.

    Returns:
        A KnnGraph of numpy arrays; with a group a ShardedGraph, this rank's rows of it.

    Raises:
        TypeError: features that are not real numbers in a dense array or tensor; options of another type.
        ValueError: fewer than 2 samples, no features, rows of unequal length, NaN or infinite values, values beyond
            float32, k, min_recall or seed out of range, an unknown backend, a memory budget below one block or below
            what backend="nndescent" takes. With a group each is raised on all ranks.
        RankError: with a group, any other exception of a rank, such as lack of memory; on all ranks.

    Source: section 3.2.1 of the thesis; for nndescent, Dong et al. 2011, as implemented by pynndescent.

    >>> graph = knn_graph(np.array([[0.0], [1.0], [3.0], [7.0]]), k=2)
    >>> graph.indices.tolist()
    [[1, 2], [0, 2], [1, 0], [2, 1]]
    >>> graph.distances.tolist()
    [[1.0, 3.0], [1.0, 2.0], [2.0, 3.0], [4.0, 6.0]]
    """
    check = partial(_check_options, backend, min_recall, memory_budget, seed, over_ranks=group is not None)
    if group is not None:
        return _graph_over_ranks(features, k, backend, memory_budget, group, check)
    check()
    memory_budget = MEMORY_BUDGET if memory_budget is None else memory_budget
    points = Points(features)
    n = points.n
    k = checked_k(k, n)
    if backend == "auto":
        backend, reason = choose(n, points.dim, k, points.device, min_recall, memory_budget)
        _log.info("knn_graph: %s for n=%d, d=%d, k=%d: %s", backend, n, points.dim, k, reason)
    if backend == "nndescent":
        return nn_descent_graph(points, k, min_recall, seed, memory_budget)
    return exact_graph(points, k, memory_budget)


def _graph_over_ranks(
    features: Any, k: int, backend: str, memory_budget: int | None, group: ProcessGroup, check: Callable[[], None]
) -> ShardedGraph:
    from torch.distributed import get_rank

    from rra_monitor.graph.distributed import distributed_graph
    from rra_monitor.utils.collectives import gathered

    ranks = len(gathered(check, group))  # an option that one rank got wrong fails on all
    graph = distributed_graph(features, k, group, memory_budget)
    if backend == "auto" and get_rank(group) == 0:
        _log.info(
            "knn_graph: exact over %d ranks for n=%d, k=%d: descent works in one process", ranks, graph.samples, k
        )
    return graph


def _check_options(backend: str, min_recall: float, memory_budget: int | None, seed: int, *, over_ranks: bool) -> None:
    """Refuse options with which no graph can be built."""
    if backend not in BACKENDS:
        raise ValueError(f"unknown backend {backend!r}; choose one of {', '.join(BACKENDS)}")
    if isinstance(min_recall, bool) or not isinstance(min_recall, (int, float, np.integer, np.floating)):
        raise TypeError(f"min_recall must be a number, 0 to 1, got {min_recall!r}; its default is 0.95")
    if not 0 <= min_recall <= 1:
        raise ValueError(f"min_recall={min_recall} must lie in 0 to 1: the fraction of the true neighbours to be found")
    budget = MEMORY_BUDGET if memory_budget is None else memory_budget
    for name, value in (("memory_budget", budget), ("seed", seed)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise TypeError(f"{name} must be an integer, got {value!r}; its default is {DEFAULTS[name]:,}")
    if budget < 1:
        raise ValueError(f"memory_budget={budget} bytes must be above 0; its default is {MEMORY_BUDGET:,}")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed={seed} must lie in 0 to 2**32 - 1; its default is 0")
    if over_ranks and backend == "nndescent":
        raise ValueError("backend='nndescent' works in one process; over a group take 'exact' or 'auto'")
