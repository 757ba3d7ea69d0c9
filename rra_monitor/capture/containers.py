"""Lists, dictionaries and other containers that a forward pass can reach."""

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from rra_monitor.capture import undo
from rra_monitor.capture.reach import Reached, of_object, without_atoms


def of_dict(held: dict[Any, Any], found: Reached) -> Iterable[Any]:
    """The items of a dictionary."""
    keys = list(OrderedDict.keys(held) if isinstance(held, OrderedDict) else dict.keys(held))
    values = [dict.__getitem__(held, key) for key in keys]
    found.undo.append(partial(undo.put_back_dict, held, keys, values))
    yield from without_atoms(keys)
    yield from without_atoms(values)
    if isinstance(held, defaultdict):
        yield held.default_factory
    if type(held) not in (dict, OrderedDict):
        yield from of_object(held, found)


def _of_values(kind: Any, put_back: Callable[[Any, list[Any]], None], held: Any, found: Reached) -> Iterable[Any]:
    """The items of a container of some kind, read past what a class of the user's does when it is read."""
    values = list(kind.__iter__(held))
    found.undo.append(partial(put_back, held, values))
    yield from without_atoms(values)
    if type(held) is not kind:
        yield from of_object(held, found)


of_list = partial(_of_values, list, undo.put_back_list)
of_set = partial(_of_values, set, undo.put_back_set)
of_deque = partial(_of_values, deque, undo.put_back_deque)


def of_bytes(held: Any, found: Reached) -> Iterable[Any]:
    """The items of a bytearray or of an array of numbers."""
    found.undo.append(partial(undo.put_back_bytes, held, held[:]))
    return ()


def of_items(held: Any, _found: Reached) -> Iterable[Any]:
    """What a tuple or a frozen set holds."""
    return without_atoms(held)
