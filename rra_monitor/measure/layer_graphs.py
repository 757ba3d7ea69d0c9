"""The graphs of all layers of a network, one after the other, within a memory budget."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from rra_monitor.capture.features import Forward, call_model, collect
from rra_monitor.capture.kept import most_copied
from rra_monitor.capture.layer import Layer
from rra_monitor.capture.memory import BatchSize
from rra_monitor.graph import KnnGraph, knn_graph
from rra_monitor.measure.in_parts import graphs_in_parts
from rra_monitor.measure.joined import joined
from rra_monitor.measure.layer_errors import named
from rra_monitor.measure.memory_plan import Case, Stage, kept_bytes, stages, wanted_kernels
from rra_monitor.metrics import LinearKernel, linear_kernel
from rra_monitor.samples.sample import FixedSample
from rra_monitor.utils.ranks import ALONE, Ranks


@dataclass
class LayerGraph:
    """What quantities of a layer, or of a view of it, are computed from.

    Attributes:
        name: name of the layer or view.
        graph: its graph.
        features: (n, …) features, where a quantity wants them and they are together in memory. Gone at the next layer.
        kernel: linear kernel of the features, where a quantity wants it. Gone here at the next layer.
    """

    name: str
    graph: KnnGraph
    features: torch.Tensor | None = None
    kernel: LinearKernel | None = None


def iter_graphs(
    model: nn.Module,
    sample: FixedSample,
    layers: Sequence[Layer],
    case: Case,
    memory_budget: int,
    *,
    forward: Forward = call_model,
    batch_size: int | BatchSize = 128,
    probe: str = "",
    ranks: Ranks = ALONE,
) -> Iterator[LayerGraph]:
    """The graph of every view of some layers, in execution order.

    Layers whose features fit the budget are captured whole, as many as fit together; those that do not are captured in
    parts, and their graphs are exact. Of several ranks each passes its own samples and holds their features; every rank
    gets the whole graphs.

    Args:
        model: network, see `collect`.
        sample: inputs to pass through it.
        layers: layers in execution order, with their views.
        case: number of neighbours, backend, and what is wanted beside the graphs.
        memory_budget: bytes of all that is held at once, see `memory_plan`.
        forward: function of the model and a batch.
        batch_size: number of samples in a forward pass.
        probe: name of the probe, for errors.
        ranks: processes that measure together; all go through all layers, with the same budget.

    Raises:
        ValueError: a budget below what a layer takes at least; features without a graph, named by view; on all ranks.
    """
    for stage in ranks.agreed(lambda: stages(layers, case, memory_budget)):
        whole = _whole if stage.whole else _in_parts
        for found in whole(model, sample, stage, case, forward, batch_size, probe, ranks):
            yield found
            # Whoever took it may hold it still while the next layer is captured.
            found.features = found.kernel = None


def _whole(
    model: nn.Module,
    sample: FixedSample,
    stage: Stage,
    case: Case,
    forward: Forward,
    batch_size: int | BatchSize,
    probe: str,
    ranks: Ranks,
) -> Iterator[LayerGraph]:
    own, copied = sample.rows(ranks.rows(sample.n)), most_copied(stage.budget)
    features = ranks.agreed(
        lambda: collect(model, own, stage.layers, forward, batch_size, rows=case.rows, most_copied=copied)
    )
    left = stage.budget
    for layer in stage.layers:
        for view, name in layer.view_names.items():
            with named(name, probe):
                held = sum(each.nbytes for each in features.values())
                graph = _graph(features[name], case, left - held, ranks)
                rows = features.pop(name)
                if case.wanted.features or case.wanted.kernel(view):
                    rows = joined(rows, sample.n, ranks)
                kernel = ranks.first(partial(linear_kernel, rows)) if case.wanted.kernel(view) else None
            found = LayerGraph(name, graph, rows if case.wanted.features else None, kernel)
            del rows, kernel
            yield found
        left -= kept_bytes(layer, case)


def _graph(features: torch.Tensor, case: Case, memory_budget: int, ranks: Ranks) -> KnnGraph:
    if ranks.group is None:
        return knn_graph(features, case.k, case.backend, memory_budget=memory_budget)
    budget = min(ranks.values(lambda: memory_budget))  # ranks hold a sample more or less
    return knn_graph(features, case.k, "exact", memory_budget=budget, group=ranks.group).gather()


def _in_parts(
    model: nn.Module,
    sample: FixedSample,
    stage: Stage,
    case: Case,
    forward: Forward,
    batch_size: int | BatchSize,
    probe: str,
    ranks: Ranks,
) -> Iterator[LayerGraph]:
    for name, graph, kernel in graphs_in_parts(
        model,
        sample,
        stage.layers,
        case.k,
        stage.budget,
        forward=forward,
        batch_size=batch_size,
        kernels=wanted_kernels(stage.layers, case.wanted),
        state=case.state,
        probe=probe,
        ranks=ranks,
    ):
        yield LayerGraph(name, graph, None, kernel)
        del kernel
