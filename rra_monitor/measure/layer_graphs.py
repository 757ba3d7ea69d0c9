"""The graphs of all layers of a network, one after the other, within a memory budget."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from rra_monitor.capture.features import Forward, call_model, collect
from rra_monitor.capture.kept import most_copied
from rra_monitor.capture.layer import Layer
from rra_monitor.capture.memory import BatchSize
from rra_monitor.graph import KnnGraph, knn_graph
from rra_monitor.measure.in_parts import graphs_in_parts
from rra_monitor.measure.layer_errors import named
from rra_monitor.measure.memory_plan import Case, Stage, kept_bytes, stages, wanted_kernels
from rra_monitor.metrics import LinearKernel, linear_kernel
from rra_monitor.samples.sample import FixedSample


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
) -> Iterator[LayerGraph]:
    """The graph of every view of some layers, in execution order.

    Layers whose features fit the budget are captured whole, as many as fit together; those that do not are captured in
    parts, and their graphs are exact.

    Args:
        model: network, see `collect`.
        sample: inputs to pass through it.
        layers: layers in execution order, with their views.
        case: number of neighbours, backend, and what is wanted beside the graphs.
        memory_budget: bytes of all that is held at once, see `memory_plan`.
        forward: function of the model and a batch.
        batch_size: number of samples in a forward pass.
        probe: name of the probe, for errors.

    Raises:
        ValueError: a budget below what a layer takes at least; features without a graph, named by view.
    """
    for stage in stages(layers, case, memory_budget):
        whole = _whole if stage.whole else _in_parts
        for found in whole(model, sample, stage, case, forward, batch_size, probe):
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
) -> Iterator[LayerGraph]:
    features = collect(model, sample, stage.layers, forward, batch_size, None, most_copied(stage.budget))
    left = stage.budget
    for layer in stage.layers:
        for view, name in layer.view_names.items():
            with named(name, probe):
                held = sum(each.nbytes for each in features.values())
                graph = knn_graph(features[name], case.k, case.backend, memory_budget=left - held)
                kernel = linear_kernel(features[name]) if case.wanted.kernel(view) else None
            own = features.pop(name)
            found = LayerGraph(name, graph, own if case.wanted.features else None, kernel)
            del own, kernel
            yield found
        left -= kept_bytes(layer, case)


def _in_parts(
    model: nn.Module,
    sample: FixedSample,
    stage: Stage,
    case: Case,
    forward: Forward,
    batch_size: int | BatchSize,
    probe: str,
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
    ):
        yield LayerGraph(name, graph, None, kernel)
        del kernel
