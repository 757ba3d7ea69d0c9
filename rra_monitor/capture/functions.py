"""Functions and classes that a forward pass can reach: what they close over, and the globals that they name."""

import dis
import sys
import types
import weakref
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from rra_monitor.capture import undo
from rra_monitor.capture.left_alone import belongs_elsewhere, is_installed
from rra_monitor.capture.reach import Reached, without_atoms

_STORE_GLOBAL = dis.opmap["STORE_GLOBAL"]


def of_function(function: types.FunctionType, found: Reached) -> Iterable[Any]:
    """What a function closes over, its attributes and defaults, and the globals that it names if it is the user's."""
    yield function.__dict__
    yield from function.__closure__ or ()
    yield from without_atoms(function.__defaults__ or ())
    yield function.__kwdefaults__
    if not is_installed(function.__globals__):
        codes = list(_codes(function.__code__))
        names = {name for code in codes for name in code.co_names}
        stores = any(_STORE_GLOBAL in code.co_code[::2] for code in codes)
        yield from _globals(function.__globals__, names, stores, found, set())


def of_cell(cell: types.CellType, found: Reached) -> Iterable[Any]:
    """A variable of a function around the one that uses it."""
    value = undo.cell_value(cell)
    found.undo.append(partial(undo.put_back_cell, cell, value))
    return (value,)


def of_class(kind: type, found: Reached) -> Iterable[Any]:
    """The attributes of a class of the user's."""
    module = sys.modules.get(kind.__module__)
    if module is None or is_installed(vars(module)) or belongs_elsewhere(kind):
        return
    found.undo.append(partial(undo.put_back_class, kind, undo.class_attributes(kind)))
    yield from without_atoms(value for name, value in vars(kind).items() if name not in ("__dict__", "__weakref__"))
    yield from kind.__bases__


def of_method(method: Any, _found: Reached) -> Iterable[Any]:
    """The object that a method belongs to, and its function."""
    return (method.__self__, method.__func__ if isinstance(method, types.MethodType) else None)


def of_partial(call: "partial[Any]", _found: Reached) -> Iterable[Any]:
    """A function with some of its arguments."""
    return (call.func, *call.args, call.keywords, call.__dict__)


def of_property(made: property, _found: Reached) -> Iterable[Any]:
    """The functions of a property."""
    return (made.fget, made.fset, made.fdel)


def of_wrapped(made: Any, _found: Reached) -> Iterable[Any]:
    """The function of a static or class method."""
    return (made.__func__,)


def of_reference(reference: "weakref.ref[Any]", _found: Reached) -> Iterable[Any]:
    """What a weak reference leads to."""
    return (reference(),)


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """A function's code and that of the functions within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _globals(
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
    if id(namespace) not in found.globals:
        found.seen[id(namespace)] = namespace
        found.globals[id(namespace)] = {}
        found.undo.append(partial(undo.put_back_globals, namespace, found.globals[id(namespace)]))
    for name in names:
        value = namespace.get(name, undo.MISSING)
        if value is undo.MISSING and not stores:
            continue
        found.globals[id(namespace)].setdefault(name, value)
        if not isinstance(value, types.ModuleType):
            yield value
        elif id(vars(value)) not in visited and not is_installed(vars(value)):
            yield from _globals(vars(value), names, False, found, visited)
