"""The one place that knows of graphs whose rows are spread over the ranks of a process group."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from rra_monitor.graph.knn import KnnGraph
from rra_monitor.graph.sharded import ShardedGraph
from rra_monitor.utils.collectives import gathered

Graph = KnnGraph | ShardedGraph

T = TypeVar("T")


def samples_of(graph: Graph) -> int:
    """Number of samples of the whole graph."""
    return graph.total if isinstance(graph, ShardedGraph) else graph.n


def first_row(graph: Graph) -> int:
    """Position of the graph's first row among all samples."""
    return graph.offset if isinstance(graph, ShardedGraph) else 0


def whole(graph: Graph) -> KnnGraph:
    """The graph, if it is a whole one.

    Raises:
        ValueError: one rank's shard of a graph.
    """
    if isinstance(graph, ShardedGraph):
        raise ValueError(
            f"the graph holds {graph.n} of {graph.total} samples, this rank's shard; call this with the whole graph, "
            "which ShardedGraph.gather() returns on every rank"
        )
    return graph


def by_rank(find: Callable[[], T], *graphs: Graph) -> list[T]:
    """What `find` returns for the given rows: one value of whole graphs; of shards one of each rank, on every rank.

    A collective call for shards.

    Raises:
        ValueError: shards beside whole graphs, shards of different groups, or any error of `find`; on all ranks.
    """
    shards = [graph for graph in graphs if isinstance(graph, ShardedGraph)]
    if not shards:
        return [find()]

    def checked() -> T:
        if len(shards) < len(graphs) or any(shard.group is not shards[0].group for shard in shards):
            raise ValueError(
                "whole graphs and shards, or shards of different groups, do not compare; "
                "pass the whole ones, which ShardedGraph.gather() returns on every rank"
            )
        return find()

    return gathered(checked, shards[0].group)


def sums_over_samples(find: Callable[[], npt.NDArray[Any]], *graphs: Graph) -> npt.NDArray[np.float64]:
    """The sums that `find` returns for the given rows, summed over all samples in float64.

    In the order of the ranks, so that every rank gets the same bits. A collective call for shards.

    Raises:
        ValueError: arrays of different shapes; see also `by_rank`.
    """
    parts = by_rank(lambda: np.asarray(find(), dtype=np.float64), *graphs)
    for rank, part in enumerate(parts):
        if part.shape != parts[0].shape:
            raise ValueError(
                f"rank {rank} has values of shape {part.shape}, rank 0 of {parts[0].shape}; "
                "call with the same number of graphs on every rank"
            )
    return np.asarray(np.sum(parts, axis=0), dtype=np.float64)
