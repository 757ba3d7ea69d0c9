"""The Python objects that a forward pass can reach, each recorded so that it can be put back.

Nothing is called and no property is read on the way: only the dictionaries, slots and items of objects are looked at.
"""

import array
import dis
import functools
import random
import sys
import types
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.utils import parametrize

from rra_monitor.capture import undo
from rra_monitor.capture.left_alone import belongs_elsewhere, exchanges_parameters, is_installed

MOST_OBJECTS, OF_A_MODULE = 100_000, 50
"""Most objects that are recorded, in addition to some for each module; those nearest to the network come first."""

MOST_ITEMS = 1_000_000
"""Most items of a list, dictionary or other container; longer ones are left alone."""

_ATOMS = frozenset(
    {bool, int, float, complex, str, bytes, type(None), type(...), range, slice, types.CodeType}
    | {torch.dtype, torch.device, torch.Size, torch.layout, torch.memory_format}
)
_CONTAINERS = frozenset({dict, OrderedDict, defaultdict, list, set, deque, tuple, frozenset, bytearray})
_PLAIN_TENSORS = (torch.Tensor, nn.Parameter, nn.Buffer)
_STORE_GLOBAL = dis.opmap["STORE_GLOBAL"]


@dataclass
class Reached:
    """What can be reached from a network.

    Attributes:
        undo: functions that put back one object each, if it changed.
        parameters: parameters of modules, each once, as the other tensors.
        buffers: buffers of modules.
        others: tensors and arrays that are held in other ways.
        sharded: whether modules exchange their parameters during a forward pass; these are left alone.
    """

    undo: list[Callable[[], object]] = field(default_factory=list)
    parameters: dict[int, torch.Tensor] = field(default_factory=dict)
    buffers: dict[int, torch.Tensor] = field(default_factory=dict)
    others: dict[int, torch.Tensor | npt.NDArray[Any]] = field(default_factory=dict)
    sharded: bool = False
    _globals: dict[int, dict[str, Any]] = field(default_factory=dict)
    _seen: dict[int, object] = field(default_factory=dict)


def reached(model: nn.Module) -> Reached:
    """What a forward pass of the network can reach.

    From its modules and their hooks: attributes, items of containers, what functions close over, and the globals that
    functions of the user's own files name; not the trainer, its data, optimisers, loggers, files and threads.
    """
    modules = list(model.modules())
    found = Reached(sharded=any(map(exchanges_parameters, set(map(type, modules)))))
    hooks = nn.modules.module
    # The last holds the weights of parametrised modules within `torch.nn.utils.parametrize.cached()`.
    of_all = (hooks._global_forward_hooks, hooks._global_forward_pre_hooks, getattr(parametrize, "_cache", None))
    todo: deque[Any] = deque((*modules, *of_all))
    most = MOST_OBJECTS + OF_A_MODULE * len(modules)
    recorders: dict[type, _Recorder] = {}
    while todo and len(found._seen) < most:
        thing = todo.popleft()
        kind = type(thing)
        if kind in _ATOMS or id(thing) in found._seen or (kind in _CONTAINERS and len(thing) > MOST_ITEMS):
            continue
        found._seen[id(thing)] = thing
        if kind not in recorders:
            recorders[kind] = _recorder(kind)
        try:
            todo.extend(recorders[kind](thing, found))
        except Exception:  # an odd object is left alone
            continue
    for known in (*found.parameters, *found.buffers):
        found.others.pop(known, None)
    return found


def _recorder(kind: type) -> "_Recorder":
    for base, recorder in _RECORDERS:
        if issubclass(kind, base):
            return recorder
    return _of_nothing if belongs_elsewhere(kind) else _of_object


def _of_nothing(_thing: Any, _found: Reached) -> Iterable[Any]:
    return ()


def _of_tensor(tensor: torch.Tensor, found: Reached) -> Iterable[Any]:
    if type(tensor) not in _PLAIN_TENSORS:
        local = vars(tensor).get("_local_tensor")  # what a distributed tensor has on this rank
        if local is not None:
            return (local,)
    found.others[id(tensor)] = tensor
    return ()


def _of_array(values: npt.NDArray[Any], found: Reached) -> Iterable[Any]:
    if not isinstance(values, np.memmap) and values.flags.writeable:
        found.others[id(values)] = values
    return values.flat if values.dtype.hasobject else ()


def _of_module(module: nn.Module, found: Reached) -> Iterable[Any]:
    if isinstance(module, torch.jit.ScriptModule):
        found.parameters |= {id(tensor): tensor for tensor in module.parameters(recurse=False)}
        found.buffers |= {id(tensor): tensor for tensor in module.buffers(recurse=False)}
        return ()
    found.undo.append(partial(undo.put_back_kind, module, type(module)))
    attributes = object.__getattribute__(module, "__dict__")
    buffers, parameters = attributes.get("_buffers", {}), attributes.get("_parameters", {})
    found.buffers |= {id(tensor): tensor for tensor in buffers.values() if tensor is not None}
    if found.sharded:
        found._seen[id(parameters)] = parameters
        if exchanges_parameters(type(module)) and type(module).__module__.startswith("torch.distributed"):
            return (buffers, attributes.get("_modules"))
    else:
        found.parameters |= {id(tensor): tensor for tensor in parameters.values() if tensor is not None}
    return _of_object(module, found)


def _of_object(thing: Any, found: Reached) -> Iterable[Any]:
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


def _of_dict(held: dict[Any, Any], found: Reached) -> Iterable[Any]:
    keys = list(OrderedDict.keys(held) if isinstance(held, OrderedDict) else dict.keys(held))
    values = [dict.__getitem__(held, key) for key in keys]
    found.undo.append(partial(undo.put_back_dict, held, keys, values))
    yield from _compound(keys)
    yield from _compound(values)
    if isinstance(held, defaultdict):
        yield held.default_factory
    if type(held) not in (dict, OrderedDict):
        yield from _of_object(held, found)


def _of_list(held: list[Any], found: Reached) -> Iterable[Any]:
    values = list(list.__iter__(held))
    found.undo.append(partial(undo.put_back_list, held, values))
    yield from _compound(values)
    if type(held) is not list:
        yield from _of_object(held, found)


def _of_set(held: set[Any], found: Reached) -> Iterable[Any]:
    values = list(set.__iter__(held))
    found.undo.append(partial(undo.put_back_set, held, values))
    yield from _compound(values)
    if type(held) is not set:
        yield from _of_object(held, found)


def _of_deque(held: deque[Any], found: Reached) -> Iterable[Any]:
    values = list(deque.__iter__(held))
    found.undo.append(partial(undo.put_back_deque, held, values))
    yield from _compound(values)
    if type(held) is not deque:
        yield from _of_object(held, found)


def _of_bytes(held: Any, found: Reached) -> Iterable[Any]:
    found.undo.append(partial(undo.put_back_bytes, held, held[:]))
    return ()


def _of_items(held: Any, _found: Reached) -> Iterable[Any]:
    return _compound(held)


def _compound(values: Iterable[Any]) -> Iterator[Any]:
    """Without numbers and texts, of which there may be millions."""
    return (value for value in values if type(value) not in _ATOMS)


def _of_function(function: types.FunctionType, found: Reached) -> Iterable[Any]:
    yield function.__dict__
    yield from function.__closure__ or ()
    yield from _compound(function.__defaults__ or ())
    yield function.__kwdefaults__
    if not is_installed(function.__globals__):
        codes = list(_codes(function.__code__))
        names = {name for code in codes for name in code.co_names}
        stores = any(_STORE_GLOBAL in code.co_code[::2] for code in codes)
        yield from _of_globals(function.__globals__, names, stores, found, set())


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """A function's code and that of the functions within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _of_globals(
    namespace: dict[str, Any], names: set[str], stores: bool, found: Reached, visited: set[int]
) -> Iterator[Any]:
    """The globals of the given names, also those of the user's modules among them.

    Args:
        namespace: globals of a module.
        names: names that a function's code has, of globals and of attributes.
        stores: whether the code sets globals, also such as there are not yet.
        found: where to record.
        visited: modules that were looked at for this function.
    """
    visited.add(id(namespace))
    if id(namespace) not in found._globals:
        found._seen[id(namespace)] = namespace
        found._globals[id(namespace)] = {}
        found.undo.append(partial(undo.put_back_globals, namespace, found._globals[id(namespace)]))
    for name in names:
        value = namespace.get(name, undo.MISSING)
        if value is undo.MISSING and not stores:
            continue
        found._globals[id(namespace)].setdefault(name, value)
        if not isinstance(value, types.ModuleType):
            yield value
        elif id(vars(value)) not in visited and not is_installed(vars(value)):
            yield from _of_globals(vars(value), names, False, found, visited)


def _of_cell(cell: types.CellType, found: Reached) -> Iterable[Any]:
    value = undo.cell_value(cell)
    found.undo.append(partial(undo.put_back_cell, cell, value))
    return (value,)


def _of_class(kind: type, found: Reached) -> Iterable[Any]:
    module = sys.modules.get(kind.__module__)
    if module is None or is_installed(vars(module)) or belongs_elsewhere(kind):
        return
    found.undo.append(partial(undo.put_back_class, kind, undo.class_attributes(kind)))
    yield from _compound(value for name, value in vars(kind).items() if name not in ("__dict__", "__weakref__"))
    yield from kind.__bases__


def _of_method(method: Any, _found: Reached) -> Iterable[Any]:
    return (method.__self__, method.__func__ if isinstance(method, types.MethodType) else None)


def _of_partial(call: "partial[Any]", _found: Reached) -> Iterable[Any]:
    return (call.func, *call.args, call.keywords, call.__dict__)


def _of_property(made: property, _found: Reached) -> Iterable[Any]:
    return (made.fget, made.fset, made.fdel)


def _of_wrapped(made: Any, _found: Reached) -> Iterable[Any]:
    return (made.__func__,)


def _of_reference(reference: "weakref.ref[Any]", _found: Reached) -> Iterable[Any]:
    return (reference(),)


def _of_torch_generator(generator: torch.Generator, found: Reached) -> Iterable[Any]:
    found.undo.append(partial(generator.set_state, generator.get_state()))
    return ()


def _of_numpy_generator(generator: np.random.Generator, found: Reached) -> Iterable[Any]:
    return _of_bit_generator(generator.bit_generator, found)


def _of_bit_generator(generator: np.random.BitGenerator, found: Reached) -> Iterable[Any]:
    found.undo.append(partial(setattr, generator, "state", generator.state))
    return ()


def _of_random_state(generator: np.random.RandomState, found: Reached) -> Iterable[Any]:
    found.undo.append(partial(generator.set_state, generator.get_state(legacy=False)))
    return ()


def _of_random(generator: random.Random, found: Reached) -> Iterable[Any]:
    found.undo.append(partial(generator.setstate, generator.getstate()))
    return ()


_Recorder = Callable[[Any, Reached], Iterable[Any]]
"""Function that records an object and gives those that it holds."""

_RECORDERS: tuple[tuple[Any, _Recorder], ...] = (
    (torch.Tensor, _of_tensor),
    (nn.Module, _of_module),
    (dict, _of_dict),
    (list, _of_list),
    (set, _of_set),
    (deque, _of_deque),
    ((tuple, frozenset), _of_items),
    ((bytearray, array.array), _of_bytes),
    (np.ndarray, _of_array),
    (torch.Generator, _of_torch_generator),
    (np.random.Generator, _of_numpy_generator),
    (np.random.BitGenerator, _of_bit_generator),
    (np.random.RandomState, _of_random_state),
    (random.Random, _of_random),
    (types.FunctionType, _of_function),
    (types.CellType, _of_cell),
    ((types.MethodType, types.BuiltinMethodType), _of_method),
    (functools.partial, _of_partial),
    (property, _of_property),
    ((staticmethod, classmethod), _of_wrapped),
    (weakref.ref, _of_reference),
    (types.ModuleType, _of_nothing),
    (type, _of_class),
)
"""The kinds of objects, the first that fits counts."""
