"""Graphs of layers whose features exceed the memory budget: they are captured in parts, in two sweeps over these."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn

from rra_monitor.capture.features import Forward, call_model, collect
from rra_monitor.capture.layer import Layer
from rra_monitor.capture.memory import BatchSize
from rra_monitor.capture.passes import named_dims, windows
from rra_monitor.graph import GraphOfParts, KnnGraph
from rra_monitor.graph.part_sizes import PartsPlan, parts_plan
from rra_monitor.metrics import LinearKernel
from rra_monitor.samples.sample import FixedSample

HELD_SHARE = 16
"""Of the budget, that may be held between the passes for the graphs of several layers; more would cost passes."""


def graphs_in_parts(
    model: nn.Module,
    sample: FixedSample,
    layers: Sequence[Layer],
    k: int,
    memory_budget: int,
    *,
    forward: Forward = call_model,
    batch_size: int | BatchSize = 128,
    gram: bool = False,
) -> Iterator[tuple[str, KnnGraph, LinearKernel | None]]:
    """The exact graph of every view of some layers, whose features are never together in memory.

    A pass serves as many features as fit the budget beside what the graphs hold, of one layer or of several.

    Args:
        model: network, see `collect`.
        sample: inputs to pass through it.
        layers: layers in execution order, with their views.
        k: number of neighbours.
        memory_budget: bytes of features and graphs together; what the network takes for a batch comes on top.
        forward: function of the model and a batch.
        batch_size: number of samples in a forward pass.
        gram: whether the kernels are wanted, too.

    Returns:
        Name, graph, and kernel or None, of each view in execution order.

    Raises:
        ValueError: a budget below what the least part needs; features without a graph, or that differ from pass to
            pass, named by view.
    """
    for group in _groups(layers, sample.n, k, memory_budget, gram):
        builds = {
            name: GraphOfParts(sample.n, dim, k, _plan(sample.n, dim, k, memory_budget, gram).memory_budget, gram)
            for name, dim in named_dims(group).items()
        }
        sizes = [build.sizes for build in builds.values()]
        # Parts are added one after the other, so blocks of one graph at a time take room.
        room = memory_budget - sum(each.held for each in sizes) - max(each.work for each in sizes)
        itemsize = 4
        while wanted := {name: build.sizes.dim for name, build in builds.items() if build.wants_sweep}:
            widest = 1
            for parts in windows(wanted, sample.n, room, itemsize):
                found = collect(model, sample, group, forward, batch_size, parts)
                for name in parts:
                    with _named(name):
                        builds[name].add(found[name])
                    widest = max(widest, found.pop(name).element_size())
            for name in wanted:
                with _named(name):
                    builds[name].end_sweep()
            itemsize = widest  # 2 where half precision was kept
        for name in list(builds):
            build = builds.pop(name)
            with _named(name):
                yield name, build.graph(), _kernel(build) if gram else None


def _plan(n: int, dim: int, k: int, memory_budget: int, gram: bool) -> PartsPlan:
    return parts_plan(n, dim, k, memory_budget, gram=gram)


def _groups(layers: Sequence[Layer], n: int, k: int, memory_budget: int, gram: bool) -> list[list[Layer]]:
    """Consecutive layers whose graphs together hold little of the budget, at least one layer each."""
    groups: list[list[Layer]] = []
    held = 0
    for layer in layers:
        own = sum(_plan(n, dim, k, memory_budget, gram).held for dim in named_dims([layer]).values())
        if not groups or held + own > memory_budget // HELD_SHARE:
            groups.append([])
            held = 0
        groups[-1].append(layer)
        held += own
    return groups


def _kernel(build: GraphOfParts) -> LinearKernel:
    gram, scale = build.gram()
    return LinearKernel(gram, gram.diagonal().clone(), gram=True, scale=scale)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Errors of the block name the view."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise type(error)(f"layer {name!r}: {error}") from error
