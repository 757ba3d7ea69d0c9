"""Putting one Python object back as it was, without a call of its own methods and only where it changed."""

import types
from collections import OrderedDict, deque
from collections.abc import Sequence
from operator import is_
from typing import Any

MISSING = object()
"""In place of a value where there is none."""


def put_back_dict(held: dict[Any, Any], keys: list[Any], values: list[Any]) -> None:
    """The items of a dictionary, in their order."""
    base: Any = OrderedDict if isinstance(held, OrderedDict) else dict
    if len(held) == len(keys) and all(map(is_, base.keys(held), keys)):
        # Only what changed: a compiled network is tied to the contents of some dictionaries.
        for key, value in zip(keys, values, strict=True):
            if dict.__getitem__(held, key) is not value:
                base.__setitem__(held, key, value)
        return
    base.clear(held)
    for key, value in zip(keys, values, strict=True):
        base.__setitem__(held, key, value)


def put_back_list(held: list[Any], values: list[Any]) -> None:
    """The items of a list."""
    if not _same_items(list.__iter__(held), values, list.__len__(held)):
        list.__setitem__(held, slice(None), values)


def put_back_deque(held: deque[Any], values: list[Any]) -> None:
    """The items of a deque."""
    if not _same_items(deque.__iter__(held), values, deque.__len__(held)):
        deque.clear(held)
        deque.extend(held, values)


def put_back_set(held: set[Any], values: list[Any]) -> None:
    """The items of a set."""
    if set(map(id, set.__iter__(held))) != set(map(id, values)):
        set.clear(held)
        set.update(held, values)


def put_back_bytes(held: Any, before: Any) -> None:
    """The items of a bytearray or of an array of numbers."""
    if held != before:
        held[:] = before


def put_back_slot(slot: Any, thing: Any, value: Any) -> None:
    """The value of a slot of an object."""
    if slot_value(slot, thing) is not value:
        if value is MISSING:
            slot.__delete__(thing)
        else:
            slot.__set__(thing, value)


def slot_value(slot: Any, thing: Any) -> Any:
    """The value of a slot of an object; `MISSING` where it has none."""
    try:
        return slot.__get__(thing)
    except AttributeError:
        return MISSING


def put_back_hooks(tensor: Any, name: str, hooks: Any) -> None:
    """The dictionary of a tensor's hooks on its gradient."""
    if getattr(tensor, name) is not hooks:
        setattr(tensor, name, hooks)


def put_back_kind(thing: Any, kind: type) -> None:
    """The class of an object, which some modules change in their first forward pass."""
    if type(thing) is not kind:
        object.__setattr__(thing, "__class__", kind)


def put_back_cell(cell: types.CellType, value: Any) -> None:
    """The variable of a function around the one that uses it."""
    if cell_value(cell) is not value:
        if value is MISSING:
            del cell.cell_contents
        else:
            cell.cell_contents = value


def cell_value(cell: types.CellType) -> Any:
    """The variable of a function around the one that uses it; `MISSING` where it is not set yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return MISSING


def put_back_globals(namespace: dict[str, Any], before: dict[str, Any]) -> None:
    """Some of the globals of a module."""
    for name, value in before.items():
        if value is MISSING:
            namespace.pop(name, None)
        elif namespace.get(name, MISSING) is not value:
            namespace[name] = value


def put_back_class(kind: type, before: dict[str, Any]) -> None:
    """The attributes of a class, but for those that Python makes."""
    for name, value in before.items():
        if vars(kind).get(name, MISSING) is not value:
            type.__setattr__(kind, name, value)
    for name in class_attributes(kind).keys() - before.keys():
        type.__delattr__(kind, name)


def class_attributes(kind: type) -> dict[str, Any]:
    """The attributes of a class, but for those that Python makes."""
    return {name: value for name, value in vars(kind).items() if not name.startswith("__")}


def _same_items(now: Any, before: Sequence[Any], length: int) -> bool:
    return length == len(before) and all(map(is_, now, before))
