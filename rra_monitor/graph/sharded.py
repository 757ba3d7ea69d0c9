"""One rank's rows of a graph whose samples lie on the ranks of a process group."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, overload
from weakref import ref

import numpy as np
import numpy.typing as npt

from rra_monitor.graph.knn import KnnGraph
from rra_monitor.graph.validity import check_rows
from rra_monitor.utils.collectives import gathered

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


class _Group:
    """A graph's process group, which torch holds until it is destroyed.

    The graph does not hold it: threads of gloo would then outlive the interpreter and abort the process.
    """

    def __set__(self, graph: ShardedGraph, group: ProcessGroup) -> None:
        if isinstance(group, _Group):  # what a dataclass takes for the default
            raise TypeError("the process group is missing whose ranks hold the rows")
        vars(graph)["group"] = ref(group)

    @overload
    def __get__(self, graph: None, owner: type[ShardedGraph]) -> _Group: ...

    @overload
    def __get__(self, graph: ShardedGraph, owner: type[ShardedGraph]) -> ProcessGroup: ...

    def __get__(self, graph: ShardedGraph | None, owner: type[ShardedGraph]) -> ProcessGroup | _Group:
        if graph is None:
            return self
        group: ProcessGroup | None = vars(graph)["group"]()
        if group is None:
            raise ValueError(
                "the process group of this graph has ended; call ShardedGraph.gather() or the metrics before it "
                "is destroyed"
            )
        return group


@dataclass(frozen=True, eq=False, repr=False)
class ShardedGraph:
    """This rank's rows of the graph of the samples of all ranks, which know the group that holds the others.

    Metrics take it as they take a whole graph: a call on every rank gives the value over all samples.

    Attributes:
        indices: (n, k) int32 positions of the neighbours among all samples.
        distances: (n, k) float32 Euclidean distances, ascending along each row.
        offset: position of the first row among all samples.
        total: number of all samples.
        group: torch.distributed process group whose ranks hold the rows, in their order.
        ties: fraction of tied k-th distances, of the whole graph as the following, see `KnnGraph`.
        zeros: fraction of samples with a duplicate.
        recall: fraction of the true neighbours that were found.
        metric: distance metric.
        backend: backend that built the graph.
        checked: number of rows that were compared with float64.
        failed: number of these that were wrong.

    Raises:
        ValueError: rows that no graph can have, see `KnnGraph`; rows that do not lie within the total; on use, a group
            that has ended.
    """

    indices: npt.NDArray[np.int32]
    distances: npt.NDArray[np.float32]
    offset: int
    total: int
    group: _Group = _Group()
    ties: float = 0.0
    zeros: float = 0.0
    recall: float = 1.0
    metric: str = "euclidean"
    backend: str = "exact"
    checked: int = 0
    failed: int = 0

    def __post_init__(self) -> None:
        check_rows(self.indices, self.distances, self.total, self.offset)

    @property
    def n(self) -> int:
        """Number of rows of this rank."""
        return int(self.indices.shape[0])

    @property
    def samples(self) -> int:
        """Number of samples that can be neighbours: the total."""
        return self.total

    @property
    def k(self) -> int:
        """Number of neighbours of each sample."""
        return int(self.indices.shape[1])

    def gather(self) -> KnnGraph:
        """The whole graph on every rank; a collective call, after which each rank holds 8 n k bytes for n samples.

        Raises:
            ValueError: rows of the ranks that do not follow each other up to the total.
            RankError: a rank failed, for example for lack of memory.
        """
        shards = gathered(lambda: (self.offset, self.indices, self.distances), self.group)
        offsets, indices, distances = zip(*shards, strict=True)
        starts = np.cumsum([0, *map(len, indices)]).tolist()
        if [*offsets, self.total] != starts:
            raise ValueError(
                f"the ranks' rows begin at {list(offsets)} of {self.total}, expected {starts[:-1]} of {starts[-1]}; "
                "gather shards of one graph"
            )
        facts = {each.name: getattr(self, each.name) for each in fields(KnnGraph) if hasattr(self, each.name)}
        facts |= {"indices": np.concatenate(indices), "distances": np.concatenate(distances)}
        return KnnGraph.of_checked(**facts)

    def __repr__(self) -> str:
        return (
            f"ShardedGraph(n={self.n}, offset={self.offset}, total={self.total}, k={self.k}, ties={self.ties:.3g}, "
            f"zeros={self.zeros:.3g}, recall={self.recall:.3g}, metric={self.metric!r}, backend={self.backend!r})"
        )
