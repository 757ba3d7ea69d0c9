"""The layers that "auto" watches: the input, the stem, every block, and what follows the last one."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations

from torch import nn

from rra_monitor.capture.blocks import TRANSFORMER_LAYERS, Structure, parallel, path_to
from rra_monitor.capture.calls import Call, Trace
from rra_monitor.capture.layer import Layer, named_modules
from rra_monitor.capture.names import INPUT
from rra_monitor.capture.thinning import patterns, thinned

PASSIVE = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.Flatten, nn.Unflatten, nn.Identity)
"""Modules that do not change the neighbourhoods in evaluation mode, so that "auto" skips them."""

HALF = 0.5
"""Fraction of the parameters from the first block to the last that the blocks must hold; else every layer is taken."""


@dataclass(frozen=True, eq=False)
class Unit:
    """A call that may be watched.

    Attributes:
        call: the call.
        layer: the layer that it is.
        block: whether it is a block.
        weighty: whether it has weights, or follows a call that has as its norm or activation.
        parameters: number of parameters of both.
    """

    call: Call
    layer: Layer
    block: bool
    weighty: bool
    parameters: int


def auto_layers(model: nn.Module, traced: Trace, say: Callable[[str], None]) -> tuple[Layer, ...]:
    """The layers that "auto" watches, out of those that ran, in their order.

    Args:
        model: the traced model.
        traced: the trace.
        say: function for a remark to the user.

    Raises:
        ValueError: none ran, or none of them is one that "auto" watches.
    """
    raw = [layer for layer in traced.layers if layer.name == INPUT and not layer.module]
    units = _Choice(model, traced).units()
    every = raw + [unit.layer for unit in units]
    chosen = thinned(every, {unit.layer for unit in units if unit.block})
    if len(chosen) < len(every):
        say(
            f"layers='auto' watches {len(chosen)} of the {len(every)} layers that it finds, blocks at equal distances; "
            f"layers={patterns(every, traced.layers)} watches all of them"
        )
    if not chosen:
        if not traced.layers:
            raise ValueError(
                "no layer of this network returns one row per sample; put the axis of samples first in the output of "
                "the layers to watch"
            )
        raise ValueError(
            "layers='auto' finds no layer that changes the neighbourhoods; name the layers to watch: layers=[…] out of "
            f"{', '.join(layer.name for layer in traced.layers[:10])}"
        )
    return chosen


class _Choice:
    """The choice among the calls of one pass."""

    def __init__(self, model: nn.Module, traced: Trace) -> None:
        self._whole = traced.whole
        self._layers = {(layer.module, layer.call): layer for layer in traced.layers if layer.module}
        self._structure = Structure(traced, named_modules(model))
        self._networks: set[type[nn.Module]] = set()
        """Classes of which there are several networks, one beside the other."""

    def units(self) -> list[Unit]:
        """What is watched, in the order in which it returned."""
        trunk = self._trunk()
        reached = list(self._reached(trunk))
        while networks := self._several_networks(reached):
            self._networks |= networks
            reached = list(self._reached(trunk))
        blocks = self._blocks(trunk, reached)
        units = self._folded(self._unit(call, call in blocks) for call in reached)
        if not self._blocks_matter(units):
            return self._plain(trunk, blocks)
        return self._around(trunk, units)

    def _trunk(self) -> Call:
        """The innermost call that still holds every layer with weights that ran."""
        call = self._whole
        while True:
            weighty = [inner for inner in call.inner if self._structure.weighted_layers(inner)]
            if len(weighty) != 1 or not self._opens(weighty[0]):
                return call
            call = weighty[0]

    def _opens(self, call: Call) -> bool:
        """Whether a module is made of others that can be watched, rather than one of torch's own."""
        return bool(call.inner) and (self._structure.container(call) or self._structure.composite(call))

    def _reached(self, call: Call) -> Iterator[Call]:
        """The outermost calls that are neither containers, nor stages, nor networks."""
        for inner in call.inner:
            through = self._structure.container(inner) or self._structure.stage(inner) or inner.kind in self._networks
            if through and inner.inner:
                yield from self._reached(inner)
            else:
                yield inner

    def _several_networks(self, reached: Sequence[Call]) -> set[type[nn.Module]]:
        """The classes of which the calls are networks side by side, or the two halves of one, and no blocks."""
        return {
            kind
            for kind, calls in self._repeated(reached).items()
            if all(self._side_by_side(together, reached) for together in self._by_holder(calls))
        }

    def _by_holder(self, calls: Sequence[Call]) -> list[list[Call]]:
        """The calls of each module that is looked into, containers aside."""
        found: dict[Call, list[Call]] = defaultdict(list)
        for call in calls:
            around = [above for above in path_to(self._whole, call)[:-1] if not self._structure.container(above)]
            found[around[-1] if around else self._whole].append(call)
        return list(found.values())

    def _side_by_side(self, calls: Sequence[Call], reached: Sequence[Call]) -> bool:
        if len(calls) == 1:
            return False
        pair = len(calls) == 2 and not calls[0].module.rpartition(".")[2].isdigit()
        return parallel(calls, self._whole) or (pair and self._halves(calls, reached))

    def _halves(self, calls: Sequence[Call], reached: Sequence[Call]) -> bool:
        """Whether two calls are all that has weights, or one does not work on what the other returns."""
        alone = all(call in calls for call in reached if self._structure.weighted_layers(call))
        return alone or not self._structure.connected(calls[0], calls[1], reached)

    def _repeated(self, reached: Sequence[Call]) -> dict[type[nn.Module], list[Call]]:
        found: dict[type[nn.Module], list[Call]] = defaultdict(list)
        for call in reached:
            if self._structure.composite(call):
                found[call.kind].append(call)
        return {kind: calls for kind, calls in found.items() if len(calls) > 1}

    def _blocks(self, trunk: Call, reached: Sequence[Call]) -> set[Call]:
        """The calls of repeated classes; and of others among them: within the same stage, or between them."""
        blocks = {call for calls in self._repeated(reached).values() for call in calls}
        blocks |= {call for call in reached if issubclass(call.kind, TRANSFORMER_LAYERS)}
        if not blocks:
            return blocks
        at = [position for position, call in enumerate(reached) if call in blocks]
        beside = {call for above in self._above(trunk) if blocks & set(above) for call in above}
        composite = [(position, call) for position, call in enumerate(reached) if self._structure.composite(call)]
        return blocks | {call for position, call in composite if at[0] < position < at[-1] or call in beside}

    def _above(self, trunk: Call) -> Iterator[list[Call]]:
        """What is reached within each call that is looked into, below the trunk."""
        for inner in trunk.inner:
            reached = list(self._reached(inner))
            if reached:
                yield reached
                yield from self._above(inner)

    def _unit(self, call: Call, block: bool) -> Unit | None:
        layer = self._layers.get((call.module, call.index))
        weightless = not self._structure.weighted_layers(call)
        if layer is None or (weightless and call.same) or issubclass(call.kind, PASSIVE):
            return None
        return Unit(call, layer, block, not weightless, self._structure.parameters(call))

    def _folded(self, units: Iterator[Unit | None]) -> list[Unit]:
        """The units, a layer with its norm and activation as one: what the last of them returns."""
        found: list[Unit] = []
        for unit in units:
            if unit is None:
                continue
            last = found[-1] if found else None
            if last is not None and not unit.block and not last.block and self._refines(unit, last):
                found[-1] = replace(unit, weighty=True, parameters=last.parameters + unit.parameters)
            else:
                found.append(unit)
        return found

    def _refines(self, unit: Unit, last: Unit) -> bool:
        """Whether a unit is a norm or an activation after another one."""
        plain = not self._structure.weighted_layers(unit.call) and not _pools(unit.call)
        return last.weighty and plain and unit.layer.shape == last.layer.shape

    def _blocks_matter(self, units: Sequence[Unit]) -> bool:
        """Whether there are blocks, and they hold half of the parameters from the first to the last of them."""
        at = [position for position, unit in enumerate(units) if unit.block]
        if not at:
            return False
        between = {unit.call.module: unit for unit in units[at[0] : at[-1] + 1]}.values()
        of_blocks = sum(unit.parameters for unit in between if unit.block)
        return of_blocks >= HALF * sum(unit.parameters for unit in between)

    def _around(self, trunk: Call, units: Sequence[Unit]) -> list[Unit]:
        """The blocks, and for each network with blocks its stem and what follows the last one."""
        kept = {unit.call for unit in units if unit.block}
        stems: dict[Call, Unit] = {}
        for network in [trunk, *self._networks_in(trunk, set(kept))]:
            inside = set(network)
            own = [unit for unit in units if unit.call in inside]
            at = [position for position, unit in enumerate(own) if unit.block]
            kept |= {unit.call for unit in own[at[-1] + 1 :]}
            if at[0]:
                last = self._stem(own[: at[0]], own[at[0]], network)
                stems[last.call] = self._whole_stem(last, trunk, kept)
        chosen = [stems.get(unit.call, unit) for unit in units if unit.call in kept or unit.call in stems]
        return _in_every_pass(chosen, units)

    def _networks_in(self, call: Call, blocks: set[Call]) -> Iterator[Call]:
        """The calls with blocks within a call that do not work on what another one with blocks returned."""
        holders = [inner for inner in call.inner if inner not in blocks and not blocks.isdisjoint(inner)]
        pairs = combinations(holders, 2)
        joined = set(chain(*(pair for pair in pairs if self._structure.connected(*pair, call.inner, first=True))))
        for holder in holders:
            if holder not in joined:
                if not self._structure.container(holder):
                    yield holder
                yield from self._networks_in(holder, blocks)

    def _stem(self, before: Sequence[Unit], block: Unit, network: Call) -> Unit:
        """The last unit before the first block that is not in the same stage; where all are, the last of them."""
        around = path_to(network, block.call)[:-1]
        stages = [call for call in around if not self._structure.container(call)] or around
        inside = set(stages[-1]) if stages else set()
        outside = [unit for unit in before if unit.call not in inside] or before
        # What is given no tensor, as positions that are computed, tells nothing of the samples.
        return ([unit for unit in outside if unit.call.inputs] or outside)[-1]

    def _whole_stem(self, last: Unit, trunk: Call, blocks: set[Call]) -> Unit:
        """The outermost call that ends with the unit `last` and holds no block: `stem` rather than `stem.2`."""
        for call in path_to(trunk, last.call):
            ends = call.inner and not call.outputs.isdisjoint(last.call.outputs)
            if ends and blocks.isdisjoint(call) and (unit := self._unit(call, False)):
                return unit
        return last

    def _plain(self, trunk: Call, blocks: set[Call]) -> list[Unit]:
        """One unit for each layer with weights, its norm and activation included; blocks stay whole."""
        units = self._folded(self._unit(call, call in blocks) for call in self._leaves(trunk, blocks))
        return [unit for unit in units if unit.weighty] or units

    def _leaves(self, call: Call, blocks: set[Call]) -> Iterator[Call]:
        for inner in call.inner:
            if inner not in blocks and self._opens(inner):
                yield from self._leaves(inner, blocks)
            else:
                yield inner


def _in_every_pass(chosen: list[Unit], units: Sequence[Unit]) -> list[Unit]:
    """The chosen units in every pass of a network that is passed several times, as by two views of an image."""
    times = Counter(unit.call.module for unit in units)
    passes = {times[unit.call.module] for unit in chosen if unit.block}
    if passes == {1} or len(passes) > 1:
        return chosen
    found = {unit.call: unit for unit in chosen}
    modules = {unit.call.module for unit in chosen if times[unit.call.module] in passes}
    return [found.get(unit.call, unit) for unit in units if unit.call in found or unit.call.module in modules]


def _pools(call: Call) -> bool:
    return call.kind.__module__ == "torch.nn.modules.pooling"
