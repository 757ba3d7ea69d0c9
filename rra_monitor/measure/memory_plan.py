"""Which layers are captured whole and together, and which in parts, so that all that is held fits a memory budget.

Held are features, what the graph or the kernel of one layer at a time takes beyond them, and, for quantities of pairs
of layers, the kernels of all layers so far. What the network takes for a batch comes on top, and the graphs of the
snapshot, which stay.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from rra_monitor.capture.channels import view_dims, view_itemsizes
from rra_monitor.capture.layer import Layer
from rra_monitor.capture.names import FULL
from rra_monitor.graph.exact import comfortable_bytes
from rra_monitor.graph.nn_descent import nn_descent_bytes
from rra_monitor.graph.part_sizes import least_bytes
from rra_monitor.graph.ring_sizes import ring_bytes
from rra_monitor.measure.in_parts import groups, planned_passes, rows_held
from rra_monitor.measure.quantity import Quantity
from rra_monitor.metrics._cka import kernel_bytes
from rra_monitor.utils.ranks import most_rows

GRAPH_SHARE = 4
"""Of the budget, that is left free for the graph of a whole layer, at most, where less would take longer."""

WIDEST = 4
"""Bytes of a feature, at most."""

VALUES = 64
"""Bytes that quantities take for each neighbour in a graph."""


@dataclass(frozen=True)
class Wanted:
    """What quantities are computed from, beside the graphs.

    Attributes:
        features: whether any is computed from the features of a layer.
        kernels: whether any is computed from the kernel of a layer or view.
        pairs: whether any is computed from the kernels of all layers together, without their pooled views.
    """

    features: bool = False
    kernels: bool = False
    pairs: bool = False

    @classmethod
    def by(cls, quantities: Sequence[Quantity]) -> "Wanted":
        """What these quantities are computed from."""
        sources = {one.of for one in quantities}
        return cls("features" in sources, "gram" in sources, "gram pairs" in sources)

    def kernel(self, view: str) -> bool:
        """Whether the kernel of a view is wanted."""
        return self.kernels or (self.pairs and view == FULL)

    def kept(self, view: str) -> bool:
        """Whether the kernel of a view is kept until those of all layers are there."""
        return self.pairs and view == FULL


CPU, NOTHING = torch.device("cpu"), Wanted()


@dataclass(frozen=True)
class Case:
    """What decides how much memory the graphs of a sample take.

    Attributes:
        n: number of samples.
        k: number of neighbours.
        backend: backend that is asked for.
        device: device of the features.
        wanted: what quantities are computed from.
        state: bytes of the network's state that are copied while samples pass through it.
        ranks: number of processes that measure together.
    """

    n: int
    k: int
    backend: str = "exact"
    device: torch.device = CPU
    wanted: Wanted = NOTHING
    state: int = 0
    ranks: int = 1

    @property
    def rows(self) -> int:
        """Number of samples whose features a process holds, at most."""
        return most_rows(self.n, self.ranks)


@dataclass(frozen=True)
class Stage:
    """Consecutive layers that are captured alike.

    Attributes:
        layers: the layers, in execution order.
        whole: whether their features are captured as a whole, in one pass; else in parts, in several.
        budget: bytes for features, graphs and kernels of this stage: what kernels of earlier layers leave.
    """

    layers: tuple[Layer, ...]
    whole: bool
    budget: int


@dataclass(frozen=True)
class Pass:
    """A pass of the sample through the network.

    Attributes:
        layers: layers that it may serve, in execution order.
        parts: name of a view to some of its features, see `collect`; None where it serves these layers as a whole.
    """

    layers: tuple[Layer, ...]
    parts: Mapping[str, slice] | None = None

    @property
    def last(self) -> Layer:
        """The last layer that it serves, where each batch leaves the network."""
        served = (layer for layer in self.layers if self.parts is None or self._has_part(layer))
        return list(served)[-1]

    @property
    def through_network(self) -> bool:
        """Whether anything passes through the network; the raw data alone do not."""
        return bool(self.last.module)

    def _has_part(self, layer: Layer) -> bool:
        return self.parts is not None and not self.parts.keys().isdisjoint(layer.view_names.values())


def passes_of(ahead: Sequence[Stage], case: Case) -> list[Pass]:
    """The passes that the stages of a snapshot take, one after the other."""
    found = []
    for stage in ahead:
        if stage.whole:
            found.append(Pass(stage.layers))
            continue
        kernels = wanted_kernels(stage.layers, case.wanted)
        for group in groups(stage.layers, case.n, case.k, stage.budget, kernels, case.state, case.ranks):
            found += [Pass(group.layers, parts) for parts in planned_passes(group)]
    return found


def wanted_kernels(layers: Sequence[Layer], wanted: Wanted) -> set[str]:
    """Names of the views whose kernels are wanted."""
    return {name for layer in layers for view, name in layer.view_names.items() if wanted.kernel(view)}


def stages(layers: Sequence[Layer], case: Case, budget: int) -> list[Stage]:
    """The stages in which layers are captured within a memory budget.

    Args:
        layers: layers in execution order, with their views.
        case: what decides how much memory their graphs take.
        budget: bytes of all that is held at once.

    Raises:
        ValueError: a budget below what the graph of a layer takes at least, named.
    """
    found: list[Stage] = []
    group: list[Layer] = []
    kept = kept_here = 0

    def close() -> None:
        nonlocal kept, kept_here
        if group:
            found.append(Stage(tuple(group), True, budget - kept))
        group.clear()
        kept, kept_here = kept + kept_here, 0

    for layer in layers:
        if group and peak([*group, layer], case, budget) > budget - kept:
            close()
        own = kept_bytes(layer, case)
        left = budget - kept - own
        if group or peak([layer], case, budget) <= budget - kept or not _fits_in_parts(layer, case, left):
            _check(layer, case, budget, kept)
            group.append(layer)
            kept_here += own
            continue
        if found and not found[-1].whole:
            last = found.pop()
            found.append(Stage((*last.layers, layer), False, left))
        else:
            found.append(Stage((layer,), False, left))
        kept += own
    close()
    return found


def peak(layers: Sequence[Layer], case: Case, budget: int) -> int:
    """Bytes that are held at most while whole layers are captured together and then worked on, one after the other."""
    views = [(layer, view, dim) for layer in layers for view, dim in view_dims(layer).items()]
    sizes = [case.rows * dim * view_itemsizes(layer)[view] for layer, view, dim in views]
    held, kept = sum(sizes), 0
    most = held + case.state
    for (_, view, dim), size in zip(views, sizes, strict=True):
        most = max(most, held + kept + _work(case, view, dim, budget))
        held -= size
        kept += _kept(case, view, dim)
    return most


def kept_bytes(layer: Layer, case: Case) -> int:
    """Bytes of the kernels of a layer that stay until those of all layers are there."""
    return sum(_kept(case, view, dim) for view, dim in view_dims(layer).items())


def _kept(case: Case, view: str, dim: int) -> int:
    return kernel_bytes(case.n, dim)[0] if case.wanted.kept(view) else 0


def _work(case: Case, view: str, dim: int, budget: int) -> int:
    """Bytes beyond its features that the graph of a view and its quantities take."""
    n, k = case.n, case.k
    if case.ranks > 1:
        least, comfortable = ring_bytes(n, case.ranks, dim, k, case.device.type)
    else:
        least, comfortable = least_bytes(n, dim, k), comfortable_bytes(n, dim, k, case.device)
    graph = max(least, min(comfortable, budget // GRAPH_SHARE))
    if case.backend == "nndescent" and case.ranks == 1:
        graph = nn_descent_bytes(n, dim, k)
    kernel = sum(kernel_bytes(n, dim)) if case.wanted.kernel(view) else 0
    if case.ranks > 1 and (case.wanted.features or case.wanted.kernel(view)):
        kernel += WIDEST * n * dim  # the features of all ranks
    return max(graph, kernel, VALUES * n * k)


def _part_bytes(layer: Layer, case: Case) -> int:
    """Bytes that a layer takes at least where it is captured in parts."""
    dims, sizes = view_dims(layer), view_itemsizes(layer)
    graphs = ((view, least_bytes(case.n, dim, case.k, case.wanted.kernel(view))) for view, dim in dims.items())
    return max(max(graph, case.state) + rows_held(case.n, case.ranks) * sizes[view] for view, graph in graphs)


def _fits_in_parts(layer: Layer, case: Case, left: int) -> bool:
    return _part_bytes(layer, case) <= left


def _check(layer: Layer, case: Case, budget: int, kept: int) -> None:
    """Refuse a budget below what a layer takes at least, whole or in parts."""
    whole, parts = kept + peak([layer], case, 0), kept + kept_bytes(layer, case) + _part_bytes(layer, case)
    if (needed := min(whole, parts)) > budget:
        raise ValueError(
            f"layer {layer.name!r}: memory_budget={budget:,} bytes is below one block: {case.n:,} samples of "
            f"{max(view_dims(layer).values()):,} features need at least {needed:,}. Raise it, or take fewer samples"
        )
