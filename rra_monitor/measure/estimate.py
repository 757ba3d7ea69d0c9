"""Time and disk space of a snapshot, estimated before the training."""

from collections.abc import Sequence
from dataclasses import dataclass

from rra_monitor.capture.layer import Layer
from rra_monitor.graph.knn import graph_bytes
from rra_monitor.measure.quantity import Quantity

NUMBER, FACTS = 8 + 20, 140
"""Bytes of a value in the two places where it is stored, a file and a line of JSON; those of a quantity's own facts."""


@dataclass(frozen=True)
class CostEstimate:
    """Estimated cost of a snapshot of one probe.

    Attributes:
        layers: watched layers with their views, in execution order.
        graphs: number of graphs: one for each distinct view of each layer.
        n: number of samples.
        k: number of neighbours.
        classes: number of classes, None for unlabelled data.
        passes: number of times that the sample passes through the network, in part or as a whole: one for each group of
            layers whose features fit the memory budget together, and several for layers that do not fit.
        seconds: time, estimated from passes of a few samples and from graphs of made-up features; accurate to a factor
            of two. The first snapshot of a process may take some seconds longer, since it compiles.
        graph_bytes: size of the stored graphs.
        curve_bytes: size of what is stored beside the graphs, and stays where `keep_graphs` removes them.
        memory_budget: bytes that the snapshot may take beyond what the network takes for a batch.
    """

    layers: tuple[Layer, ...]
    graphs: int
    n: int
    k: int
    classes: int | None
    passes: int
    seconds: float
    graph_bytes: int
    curve_bytes: int
    memory_budget: int = 4 << 30

    @property
    def bytes(self) -> int:
        """Size of all that is stored of a snapshot."""
        return self.graph_bytes + self.curve_bytes


def stored_graphs(n: int, k: int, names: Sequence[str]) -> int:
    """Bytes of the graphs with their names."""
    return graph_bytes(n, k, len(names)) + sum(2 * 90 + 2 * len(name) for name in names) + FACTS


def stored_curves(names: Sequence[str], quantities: Sequence[Quantity]) -> int:
    """Bytes of everything else, in two files: values, similarities of all pairs of layers, and one comparison.

    Args:
        names: names of the layers and of their views.
        quantities: quantities that are measured.
    """
    pairs = sum(one.of_pairs for one in quantities) + 1
    values = len(names) * (NUMBER * (len(quantities) - pairs + 1) + NUMBER)
    return 8 * pairs * len(names) ** 2 + values + FACTS * (len(quantities) + 1) + 4 * sum(map(len, names))
