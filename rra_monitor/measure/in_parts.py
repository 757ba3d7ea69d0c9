"""Graphs of layers whose features exceed the memory budget: they are captured in parts, in two sweeps over these.

The last part of a sweep is the first of the next one, which goes the other way, and is not captured again.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from rra_monitor.capture.features import Forward, call_model, collect
from rra_monitor.capture.kept import most_copied
from rra_monitor.capture.layer import Layer
from rra_monitor.capture.memory import BatchSize
from rra_monitor.capture.passes import itemsizes, named_dims, windows
from rra_monitor.graph import GraphOfParts, KnnGraph
from rra_monitor.graph.part_sizes import Sizes, parts_plan, sizes_within
from rra_monitor.measure.joined import joined
from rra_monitor.measure.layer_errors import named
from rra_monitor.metrics import LinearKernel
from rra_monitor.samples.sample import FixedSample
from rra_monitor.utils.ranks import ALONE, Ranks, most_rows

HELD_SHARE = 16
"""Of the budget, that may be held between the passes for the graphs of several layers; more would cost passes."""


@dataclass(frozen=True)
class Group:
    """Layers whose graphs are built in the same sweeps.

    Attributes:
        layers: the layers, in execution order.
        sizes: name of each view to the sizes of what its graph is computed with.
        budgets: name of each view to the bytes that its graph may take beyond the parts.
        memory_budget: bytes of parts and graphs together.
        work: bytes that are taken while a part is added, or during a pass: of one graph at a time, since parts are
            added one after the other.
        rows: number of samples whose features are held during a pass: all, and, of several ranks, those that this one
            passes.
    """

    layers: tuple[Layer, ...]
    sizes: dict[str, Sizes]
    budgets: dict[str, int]
    memory_budget: int
    work: int
    rows: int

    def room(self, sweep: int, held: int = 0) -> int:
        """Bytes of the parts of a pass, beside what graphs hold: what they do as a rule, or more."""
        usual = sum(sizes.held_in(sweep) for sizes in self.sizes.values())
        return self.memory_budget - self.work - max(usual, held)

    @property
    def most_held(self) -> int:
        """Bytes that the graphs hold at most."""
        return sum(each.held for each in self.sizes.values())


def graphs_in_parts(
    model: nn.Module,
    sample: FixedSample,
    layers: Sequence[Layer],
    k: int,
    memory_budget: int,
    *,
    forward: Forward = call_model,
    batch_size: int | BatchSize = 128,
    kernels: Collection[str] = (),
    state: int = 0,
    probe: str = "",
    ranks: Ranks = ALONE,
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
        kernels: names of the views whose kernels are wanted, too.
        state: bytes of the network's state that are copied during a pass.
        probe: name of the probe, for errors.
        ranks: processes that measure together; each passes its own samples.

    Returns:
        Name, graph, and kernel or None, of each view in execution order.

    Raises:
        ValueError: a budget below what the least part needs; features without a graph, or that differ from pass to
            pass, named by view.
    """
    for group in groups(layers, sample.n, k, memory_budget, kernels, state, ranks.size):
        builds = ranks.agreed(partial(_begun, group, sample.n, k, kernels))
        _fill(builds, group, model, sample, forward, batch_size, probe, ranks)
        for name in list(builds):
            with named(name, probe):
                graph, kernel = ranks.agreed(partial(_finished, builds.pop(name), name in kernels))
            yield name, graph, kernel
            del kernel


def groups(
    layers: Sequence[Layer],
    n: int,
    k: int,
    memory_budget: int,
    kernels: Collection[str] = (),
    state: int = 0,
    ranks: int = 1,
) -> list[Group]:
    """Consecutive layers whose graphs together hold little of the budget, at least one layer each.

    Raises:
        ValueError: a budget below what the least part needs, named by view.
    """
    found: list[Group] = []
    for layer in layers:
        alone = _group([layer], n, k, memory_budget, kernels, state, ranks)
        if found and found[-1].most_held + alone.most_held <= memory_budget // HELD_SHARE:
            found[-1] = _group([*found[-1].layers, layer], n, k, memory_budget, kernels, state, ranks)
        else:
            found.append(alone)
    return found


def planned_passes(group: Group) -> list[dict[str, slice]]:
    """The parts of each pass that the graphs of a group take: as a rule, since few pairs of samples may be near."""
    n, dims, features = next(iter(group.sizes.values())).n, named_dims(group.layers), itemsizes(group.layers)
    passes: list[dict[str, slice]] = []
    last: dict[str, slice] = {}
    for sweep in range(max(sizes.sweeps for sizes in group.sizes.values())):
        wanted = {name: dim for name, dim in dims.items() if group.sizes[name].sweeps > sweep}
        passes += windows(wanted, group.rows, group.room(sweep), features, last, backwards=sweep % 2 == 1)
        last = passes[-1] if _stays(group, passes[-1], n, features) else {}
    return passes


def _group(
    layers: Sequence[Layer], n: int, k: int, memory_budget: int, kernels: Collection[str], state: int, ranks: int
) -> Group:
    features, rows = itemsizes(layers), rows_held(n, ranks)
    budgets, sizes = dict[str, int](), dict[str, Sizes]()
    for name, dim in named_dims(layers).items():
        gram = name in kernels
        with named(name):
            left = memory_budget - (rows - n) * features[name]
            budgets[name] = parts_plan(n, dim, k, left, features[name], gram).memory_budget
            sizes[name] = sizes_within(n, dim, k, budgets[name], gram)
    work = max(state, *(each.work for each in sizes.values()))
    return Group(tuple(layers), sizes, budgets, memory_budget, work, rows)


def rows_held(n: int, ranks: int) -> int:
    """Number of samples whose features a rank holds during a pass for a part: its own, and then all."""
    return n if ranks == 1 else n + most_rows(n, ranks)


def _begun(group: Group, n: int, k: int, kernels: Collection[str]) -> dict[str, GraphOfParts]:
    """Name of each view to its graph, of which no part has come."""
    return {
        name: GraphOfParts(n, sizes.dim, k, group.budgets[name], gram=name in kernels)
        for name, sizes in group.sizes.items()
    }


def _finished(build: GraphOfParts, with_kernel: bool) -> tuple[KnnGraph, LinearKernel | None]:
    """The graph of all parts, and the kernel where it is wanted."""
    return build.graph(), _kernel(build) if with_kernel else None


def _open(builds: Mapping[str, GraphOfParts]) -> tuple[list[str], int]:
    """The names of the views whose graphs want their parts once more, and the bytes that all graphs hold."""
    return [name for name, build in builds.items() if build.wants_sweep], sum(build.held for build in builds.values())


def _stays(group: Group, parts: Mapping[str, slice], n: int, features: Mapping[str, int]) -> bool:
    """Whether the parts of a pass can stay for the next sweep, also if all pairs of samples may be near."""
    size = sum(n * features[name] * (part.stop - part.start) for name, part in parts.items())
    return bool(size <= group.room(0, group.most_held))


def _fill(
    builds: dict[str, GraphOfParts],
    group: Group,
    model: nn.Module,
    sample: FixedSample,
    forward: Forward,
    batch_size: int | BatchSize,
    probe: str,
    ranks: Ranks,
) -> None:
    """Capture the parts of some layers until their graphs want no more."""
    n, features, copied = sample.n, itemsizes(group.layers), most_copied(group.memory_budget)
    own, most = sample.rows(ranks.rows(n)), ranks.most_rows(n)
    sweep = 0
    where: dict[str, slice] = {}
    parts: dict[str, torch.Tensor] = {}
    while True:
        # Rounding differs between processors, and all ranks have to make the same passes.
        everyone = ranks.values(partial(_open, builds))
        open_on_some = {name for names, _ in everyone for name in names}
        wanted = {name: build.sizes.dim for name, build in builds.items() if name in open_on_some}
        if not wanted:
            return
        for name in [name for name in wanted if name in parts]:
            with named(name, probe):
                ranks.agreed(partial(builds[name].add, parts[name]))
        room = group.room(sweep, max(held for _, held in everyone))
        for ahead in windows(wanted, group.rows, room, features, where, backwards=sweep % 2 == 1):
            parts.clear()
            where = ahead
            found = ranks.agreed(partial(collect, model, own, group.layers, forward, batch_size, where, most, copied))
            for name in where:
                parts[name] = joined(found.pop(name), n, ranks)
                with named(name, probe):
                    ranks.agreed(partial(builds[name].add, parts[name]))
        if not _stays(group, where, n, features):
            parts.clear()
            where = {}
        for name in wanted:
            with named(name, probe):
                ranks.agreed(builds[name].end_sweep)
        sweep += 1


def _kernel(build: GraphOfParts) -> LinearKernel:
    gram, scale = build.gram()
    return LinearKernel(gram, gram.diagonal().clone(), gram=True, scale=scale)
