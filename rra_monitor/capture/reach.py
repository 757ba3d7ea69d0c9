"""What is reached from a network, and how any object is recorded."""

import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy.typing as npt
import torch

from rra_monitor.capture import undo

ATOMS = frozenset(
    {bool, int, float, complex, str, bytes, type(None), type(...), range, slice, types.CodeType}
    | {torch.dtype, torch.device, torch.Size, torch.layout, torch.memory_format}
)
"""Classes of objects that do not change and hold no others."""


@dataclass
class Reached:
    """What is reached from a network.

    Attributes:
        undo: functions that put back one object each, if it changed.
        parameters: parameters of modules, each once, as the other tensors.
        buffers: buffers of modules.
        others: tensors and arrays that are held in other ways.
        sharded: whether modules exchange their parameters during a forward pass; these are left alone.
        globals: globals that are recorded, by the dictionary that holds them.
        seen: objects that were looked at.
    """

    undo: list[Callable[[], object]] = field(default_factory=list)
    parameters: dict[int, torch.Tensor] = field(default_factory=dict)
    buffers: dict[int, torch.Tensor] = field(default_factory=dict)
    others: dict[int, torch.Tensor | npt.NDArray[Any]] = field(default_factory=dict)
    sharded: bool = False
    globals: dict[int, dict[str, Any]] = field(default_factory=dict)
    seen: dict[int, object] = field(default_factory=dict)


Recorder = Callable[[Any, Reached], Iterable[Any]]
"""Function that records an object and gives those that it holds."""


def of_object(thing: Any, found: Reached) -> Iterable[Any]:
    """The attributes of an object, its slots and its class."""
    try:
        attributes = object.__getattribute__(thing, "__dict__")
    except AttributeError:
        attributes = None
    if isinstance(attributes, dict):
        yield attributes
    for base in type(thing).__mro__:
        for slot in vars(base).values() if "__slots__" in vars(base) else ():
            if isinstance(slot, types.MemberDescriptorType):
                value = undo.slot_value(slot, thing)
                found.undo.append(partial(undo.put_back_slot, slot, thing, value))
                yield value
    yield type(thing)


def of_nothing(_thing: Any, _found: Reached) -> Iterable[Any]:
    """Of an object that is left alone."""
    return ()


def without_atoms(values: Iterable[Any]) -> Iterator[Any]:
    """Without numbers and texts, of which there may be millions."""
    return (value for value in values if type(value) not in ATOMS)
