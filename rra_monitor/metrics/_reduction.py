"""Metrics of graphs whose rows are distributed over the ranks of a process group."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rra_monitor.graph.knn import KnnGraph
from rra_monitor.utils.collectives import summed

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


def refuse_shard(graph: KnnGraph, group: ProcessGroup | None) -> None:
    """Refuse a metric of one rank's shard alone, and one that would count a whole graph once per rank.

    Raises:
        ValueError: a shard without a group, a whole graph with one.
    """
    if group is None and graph.n != graph.samples:
        raise ValueError(
            f"the graph holds {graph.n} of {graph.samples} samples, this rank's shard; call the metric on every rank "
            "with group=…, or rra_monitor.graph.gather_graph first"
        )
    if group is not None and graph.total is None:
        raise ValueError(
            f"the graph holds all its {graph.n} samples and is no shard of one built over ranks; leave out the group, "
            "or build it with knn_graph(features, k, group=…)"
        )


def sums_over_samples(
    find: Callable[[], npt.NDArray[Any]], graphs: Iterable[KnnGraph], group: ProcessGroup | None
) -> npt.NDArray[np.float64]:
    """The sums that `find` returns for the given rows, summed over all samples; with a group a collective call.

    Raises:
        ValueError: a shard without a group, a whole graph with one, any error of `find`; on all ranks.
    """

    def checked() -> npt.NDArray[Any]:
        for graph in graphs:
            refuse_shard(graph, group)
        return find()

    return summed(checked, group)
