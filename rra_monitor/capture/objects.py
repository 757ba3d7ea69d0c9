"""The Python objects that a forward pass can reach, each recorded so that it can be put back.

Nothing is called and no property is read on the way: only the dictionaries, slots and items of objects are looked at.
"""

import array
import functools
import random
import types
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.utils import parametrize

from rra_monitor.capture import undo
from rra_monitor.capture.containers import of_bytes, of_deque, of_dict, of_items, of_list, of_set
from rra_monitor.capture.functions import (
    of_cell,
    of_class,
    of_function,
    of_method,
    of_partial,
    of_property,
    of_reference,
    of_wrapped,
)
from rra_monitor.capture.left_alone import belongs_elsewhere, exchanges_parameters
from rra_monitor.capture.reach import ATOMS, Reached, Recorder, of_nothing, of_object
from rra_monitor.capture.spread import local_tensor
from rra_monitor.capture.units import is_flat

MOST_OBJECTS, OF_A_MODULE = 100_000, 50
"""Most objects that are recorded, in addition to some for each module; those nearest to the network come first."""

MOST_ITEMS = 1_000_000
"""Most items of a list, dictionary or other container; longer ones are left alone."""

_CONTAINERS = frozenset({dict, OrderedDict, defaultdict, list, set, deque, tuple, frozenset, bytearray})


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
    recorders: dict[type, Recorder] = {}
    while todo and len(found.seen) < most:
        thing = todo.popleft()
        kind = type(thing)
        if kind in ATOMS or id(thing) in found.seen or (kind in _CONTAINERS and len(thing) > MOST_ITEMS):
            continue
        found.seen[id(thing)] = thing
        if kind not in recorders:
            recorders[kind] = _recorder(kind)
        try:
            todo.extend(recorders[kind](thing, found))
        except Exception:  # an odd object is left alone
            continue
    for known in (*found.parameters, *found.buffers):
        found.others.pop(known, None)
    return found


def _recorder(kind: type) -> Recorder:
    for base, recorder in _RECORDERS:
        if issubclass(kind, base):
            return recorder
    return of_nothing if belongs_elsewhere(kind) else of_object


def _of_tensor(tensor: torch.Tensor, found: Reached) -> Iterable[Any]:
    if (local := local_tensor(tensor)) is not tensor:
        return (local,)
    if not _has_memory(tensor):
        return ()
    found.others[id(tensor)] = tensor
    if tensor.is_leaf:
        for name in ("_backward_hooks", "_post_accumulate_grad_hooks"):
            hooks = getattr(tensor, name)
            found.undo.append(partial(undo.put_back_hooks, tensor, name, hooks))
    return (vars(tensor), tensor._backward_hooks, tensor._post_accumulate_grad_hooks)


def _has_memory(tensor: torch.Tensor) -> bool:
    """Whether the memory of a tensor is there; that of the weights of sharded modules is freed between their calls."""
    if tensor.layout is not torch.strided or tensor.is_nested:
        return True
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    needed = (tensor.storage_offset() + last + 1) * tensor.element_size() if tensor.numel() else 0
    return tensor.untyped_storage().nbytes() >= needed


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
    found.buffers |= _by_id(buffers)
    if found.sharded:
        found.seen[id(parameters)] = parameters
        if is_flat(module):
            return (buffers, attributes.get("_modules"))
    else:
        found.parameters |= _by_id(parameters)
    return of_object(module, found)


def _by_id(tensors: dict[str, torch.Tensor | None]) -> dict[int, torch.Tensor]:
    """Tensors as this rank has them: to compare distributed ones would be a collective call."""
    local = [local_tensor(tensor) for tensor in tensors.values() if tensor is not None]
    return {id(tensor): tensor for tensor in local}


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


_RECORDERS: tuple[tuple[Any, Recorder], ...] = (
    (torch.Tensor, _of_tensor),
    (nn.Module, _of_module),
    (dict, of_dict),
    (list, of_list),
    (set, of_set),
    (deque, of_deque),
    ((tuple, frozenset), of_items),
    ((bytearray, array.array), of_bytes),
    (np.ndarray, _of_array),
    (torch.Generator, _of_torch_generator),
    (np.random.Generator, _of_numpy_generator),
    (np.random.BitGenerator, _of_bit_generator),
    (np.random.RandomState, _of_random_state),
    (random.Random, _of_random),
    (types.FunctionType, of_function),
    (types.CellType, of_cell),
    ((types.MethodType, types.BuiltinMethodType), of_method),
    (functools.partial, of_partial),
    (property, of_property),
    ((staticmethod, classmethod), of_wrapped),
    (weakref.ref, of_reference),
    (types.ModuleType, of_nothing),
    (type, of_class),
)
"""The kinds of objects, the first that fits counts."""
