"""Fewer layers where there are more than anybody looks at, and the patterns that name them all."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

from rra_monitor.capture.layer import Layer

T = TypeVar("T")

MOST = 40
"""Number of layers that "auto" watches at most."""


def thinned(layers: Sequence[Layer], blocks: set[Layer]) -> tuple[Layer, ...]:
    """At most `MOST` of the layers: blocks at equal distances, the first and the last included, and all others.

    Where the others alone are more than half of that number, all layers are thinned alike. The calls of a module that
    runs several times stay together.

    Args:
        layers: layers in execution order.
        blocks: those of them that are blocks.
    """
    if len(layers) <= MOST:
        return tuple(layers)
    spread = [layer for layer in layers if layer in blocks]
    if len(layers) - len(spread) > MOST // 2:
        spread = list(layers)
    room = MOST - (len(layers) - len(spread))
    calls = Counter(layer.module for layer in spread)
    times = max(calls.values())
    if len(set(calls.values())) == 1 and room // times >= 2:
        modules = set(evenly(list(calls), room // times))
        left = {layer for layer in spread if layer.module in modules}
    else:
        left = set(evenly(spread, room))
    dropped = set(spread) - left
    return tuple(layer for layer in layers if layer not in dropped)


def evenly(items: Sequence[T], room: int) -> list[T]:
    """As many items as there is room for, at equal distances, from the first to the last.

    >>> evenly("abcdefg", 4), evenly("abc", 4)
    (['a', 'c', 'e', 'g'], ['a', 'b', 'c'])
    """
    if len(items) <= room:
        return list(items)
    return [items[round(place * (len(items) - 1) / (room - 1))] for place in range(room)]


def patterns(layers: Sequence[Layer], traced: Sequence[Layer]) -> list[str]:
    """Few patterns that match these layers of a network and no others.

    Args:
        layers: layers to name.
        traced: all layers of the network.
    """
    wanted = {layer.name for layer in layers}
    found: list[str] = []
    for layer in layers:
        if any(matches(layer.name, pattern) for pattern in found):
            continue
        name = layer.name.partition("#")[0]
        fitting = [form for form in _forms(name) if len(covered := _covered(form, traced)) > 1 and covered <= wanted]
        found.append(fitting[0] if fitting else name)
    return found


def _forms(name: str) -> Iterator[str]:
    """The name with every number a star, and with one of them."""
    yield re.sub(r"\d+", "*", name)
    for number in re.finditer(r"\d+", name):
        yield f"{name[: number.start()]}*{name[number.end() :]}"


def _covered(form: str, traced: Sequence[Layer]) -> set[str]:
    return {layer.name for layer in traced if matches(layer.name, form)}


def matches(name: str, pattern: str) -> bool:
    """Whether a layer's name fits a pattern: `*` stays within one level of names, `**` crosses levels."""
    if "**" in pattern:
        return fnmatchcase(name, pattern)
    parts, levels = name.split("."), pattern.split(".")
    return len(parts) == len(levels) and all(map(fnmatchcase, parts, levels))
