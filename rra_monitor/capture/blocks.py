"""Which modules of a network are its blocks, told by how they are nested, repeated and connected.

A stage is a chain of blocks, and repeats like one: a network of four stages has four modules of one class. What tells
them apart is what a person looks at. A module that holds a list of equal parts, one feeding the next, is looked into;
one that adds its input to the output of such a list of plain parts is a residual block, and is not.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, combinations, pairwise

from torch import nn

from rra_monitor.capture.calls import Call, Trace
from rra_monitor.capture.weights import layers_with_weights, number_of_parameters

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)

TRANSFORMER_LAYERS = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)

TRANSFORMERS = (nn.Transformer, nn.TransformerEncoder, nn.TransformerDecoder, *TRANSFORMER_LAYERS)
"""The classes of torch.nn that are made of parts that can be watched, beside the containers."""

MOST_OF_IT = 2 / 3
"""Fraction of a module's parameters that its parts hold, where nothing but their order tells that they are a list."""

NETWORK = 4
"""Number of parts from which on the only module of a class is a network, and no block."""


class Structure:
    """The nesting of the calls of one forward pass.

    Args:
        traced: the pass.
        modules: the network's modules by name.
    """

    def __init__(self, traced: Trace, modules: Mapping[str, nn.Module]) -> None:
        whole = traced.whole
        self._modules = modules
        self._watchable = {(layer.module, layer.call) for layer in traced.layers}
        self._counts = {call.module: layers_with_weights(modules[call.module]) for call in whole}
        self._most: dict[type[nn.Module], int] = defaultdict(int)
        for call in whole:
            self._most[call.kind] = max(self._most[call.kind], self._counts[call.module])
        self._chained: dict[Call, bool] = {}
        self._by_kind: dict[type[nn.Module], list[Call]] = defaultdict(list)
        for call in whole:
            if call is not whole and self.composite(call):
                self._by_kind[call.kind].append(call)
        self._stages: set[type[nn.Module]] = set()
        # From the innermost: a module that holds stages is looked into as they are.
        for kind in sorted(self._by_kind, key=lambda kind: max(map(_depth, self._by_kind[kind]))):
            if self._is_stage(kind):
                self._stages.add(kind)

    def container(self, call: Call) -> bool:
        """Whether the call is of a plain container of torch."""
        return call.kind in CONTAINERS

    def composite(self, call: Call) -> bool:
        """Whether the call is of a class, other than a plain container, with two layers of weights or more."""
        own = not call.kind.__module__.startswith("torch.nn.") or issubclass(call.kind, TRANSFORMERS)
        return own and bool(call.inner) and self._most[call.kind] >= 2

    def stage(self, call: Call) -> bool:
        """Whether the call is of a module that holds a list of blocks."""
        return call.kind in self._stages and self.composite(call)

    def weighted_layers(self, call: Call) -> int:
        """Number of layers of weights in the module."""
        return self._counts[call.module]

    def parameters(self, call: Call) -> int:
        """Number of parameters of the module."""
        return number_of_parameters(self._modules[call.module])

    def parts(self, call: Call) -> list[Call]:
        """The composite calls right within a call, through plain containers, that can be watched."""
        found = []
        for inner in call.inner:
            if self.container(inner):
                found.extend(self.parts(inner))
            elif self.composite(inner) and (inner.module, inner.index) in self._watchable:
                found.append(inner)
        return found

    def chained(self, call: Call) -> bool:
        """Whether a call returns what its inner calls make of its input one after the other, and does no more.

        A residual block does more: it adds.
        """
        if call not in self._chained:
            self._chained[call] = _chained(call)
        return self._chained[call]

    def connected(self, earlier: Call, later: Call, among: Sequence[Call], first: bool = False) -> bool:
        """Whether what one call returns reaches another, or its first input, by way of calls without weights alone."""
        reached = set(earlier.outputs)
        begun = False
        for call in among:
            if call is later:
                return later.first in reached if first else not reached.isdisjoint(later.inputs)
            if begun and not self.weighted_layers(call) and not reached.isdisjoint(call.inputs):
                reached |= call.outputs
            begun = begun or call is earlier
        return False

    def _is_stage(self, kind: type[nn.Module]) -> bool:
        calls = self._by_kind[kind]
        parts = [self.parts(call) for call in calls]
        if any(part.kind in self._stages for found in parts for part in found):
            return True
        if self._alone(kind) and all(map(self._many, parts, calls)):
            return True
        listed = [[part for part in found if self._listed(part)] for found in parts]
        if any(map(self._alike, listed, calls)) or _varied(listed):
            plain = all(self.chained(part) for found in listed for part in found)
            return not (plain and any(not self.chained(call) or _joins(call) for call in calls))
        if not all(map(self.chained, calls)):
            return False
        strung = any(map(self._strung, parts, calls)) and not self._of_cells(kind)
        return strung or all(map(self._single, listed, calls))

    def _of_cells(self, kind: type[nn.Module]) -> bool:
        """Whether modules of the class are the branches of cells, of which there are several."""
        around = chain.from_iterable(self._by_kind.values())
        cells = [[part for part in self.parts(call) if part.kind is kind] for call in around]
        return sum(map(_branches, cells)) > 1

    def _alone(self, kind: type[nn.Module]) -> bool:
        """Whether the network has one module of the class."""
        return len({call.module for call in self._by_kind[kind]}) == 1

    def _many(self, parts: Sequence[Call], call: Call) -> bool:
        """Whether the parts are too many for a block: the network itself, within another module."""
        several = max(Counter(part.kind for part in parts).values(), default=0) > 1
        if not several or len(parts) < NETWORK or _branches(parts):
            return False
        return not all(_parallel(call, *pair) for pair in pairwise(parts))

    def _alike(self, parts: Sequence[Call], call: Call) -> bool:
        """Whether some list holds several parts of one class that do not all run side by side on the same input.

        Where the module is one of several of its class, the list must have no other parts: else it is how each of
        these blocks is made.
        """
        lists: dict[str, list[Call]] = defaultdict(list)
        for part in parts:
            lists[re.sub(r"\d+", "*", part.module)].append(part)
        for items in lists.values():
            counts = Counter(item.kind for item in items)
            if max(counts.values()) > 1 and (self._alone(call.kind) or len(counts) == 1):
                return not all(_parallel(call, *pair) for pair in pairwise(items))
        return False

    def _strung(self, parts: Sequence[Call], call: Call) -> bool:
        """Whether the parts are several of one class, each feeds the next, and they hold most of the parameters."""
        if len(parts) < 2 or len({part.kind for part in parts}) > 1:
            return False
        flat = list(self._flat(call))
        if not all(self.connected(*pair, flat) for pair in pairwise(parts)):
            return False
        distinct = {part.module: part for part in parts}.values()
        return sum(map(self.parameters, distinct)) >= MOST_OF_IT * self.parameters(call)

    def _single(self, listed: Sequence[Call], call: Call) -> bool:
        """Whether there is one part, a residual block that holds half of the parameters."""
        if len(listed) != 1 or self.chained(listed[0]):
            return False
        return 2 * self.parameters(listed[0]) >= self.parameters(call)

    def _flat(self, call: Call) -> Iterator[Call]:
        for inner in call.inner:
            if self.container(inner):
                yield from self._flat(inner)
            else:
                yield inner

    def _listed(self, part: Call) -> bool:
        """Whether the module is an item of a list, a dictionary or a sequence."""
        parent, _, last = part.module.rpartition(".")
        return last.isdigit() or isinstance(self._modules.get(parent), CONTAINERS)


def _joins(call: Call) -> bool:
    """Whether what one of the inner calls returned is joined with what another, made of it, returned."""
    made = {call.first: 0}
    for inner in call.inner:
        depths = {made[tensor] for tensor in inner.inputs if tensor in made}
        if len(depths) > 1 and not call.outputs.isdisjoint(inner.outputs):
            return True
        made |= dict.fromkeys(inner.outputs - made.keys(), max(depths, default=-1) + 1)
    return False


def _branches(parts: Sequence[Call]) -> bool:
    """Whether so many of the parts work on the same input as another one that they are the branches of a cell."""
    return len(parts) >= NETWORK and len({part.first for part in parts}) <= MOST_OF_IT * len(parts)


def _varied(parts: Sequence[Sequence[Call]]) -> bool:
    """Whether modules of one class hold some class several times, and not all of them equally often."""
    counts = [Counter(part.kind for part in found) for found in parts]
    return any(
        max(count[kind] for count in counts) > 1 and len({count[kind] for count in counts}) > 1
        for kind in {kind for count in counts for kind in count}
    )


def parallel(calls: Sequence[Call], whole: Call) -> bool:
    """Whether all of several calls run side by side on the same input."""
    return all(_parallel(whole, *pair) for pair in combinations(calls, 2))


def _parallel(above: Call, one: Call, other: Call) -> bool:
    """Whether two calls within a third one, or what they part in, work on the same input and neither feeds the other.

    What else they share, such as a mask, tells nothing.
    """
    path, other_path = path_to(above, one), path_to(above, other)
    for a, b in zip(path, other_path, strict=False):
        if a is not b:
            return a.first is not None and a.first == b.first and not a.feeds(b) and not b.feeds(a)
    return False


def path_to(above: Call, call: Call) -> list[Call]:
    """The calls from right below one down to another."""
    if any(inner is call for inner in above.inner):
        return [call]
    for inner in above.inner:
        if inner.inner and (below := path_to(inner, call)):
            return [inner, *below]
    return []


def _depth(call: Call) -> int:
    """Number of levels of calls within it."""
    return 1 + max(map(_depth, call.inner), default=0)


def _chained(call: Call) -> bool:
    wanted = set(call.outputs)
    for inner in reversed(call.inner):
        if not wanted.isdisjoint(inner.outputs):
            wanted = set(inner.inputs)
    return bool(call.inner) and wanted != call.outputs and not wanted.isdisjoint(call.inputs)
