"""Random streams that reading an item draws from: the global ones, and generators that a data set holds."""

import contextlib
import functools
import random
from collections import deque
from collections.abc import Callable, Iterator
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch

MOST_OBJECTS = 20_000
"""Number of objects that the search for generators looks at."""

MOST_ENTRIES = 64
"""Number of entries of a list or dictionary that it follows."""

ENDS = (
    str, bytes, int, float, complex, type(None), type, ModuleType, np.ndarray, np.generic, torch.Tensor,
    np.random.Generator, np.random.RandomState, random.Random, torch.Generator,
)  # fmt: skip
"""What the search does not look into."""

State = tuple[Any, ...]


class Streams:
    """The global random streams of python, numpy and torch, and the generators that are reachable from an object.

    Args:
        holder: object whose attributes are searched for generators.
    """

    def __init__(self, holder: Any) -> None:
        self._holder = holder
        self._own = list(generators(holder))

    def states(self) -> dict[str, State]:
        """Name of each stream to its state."""
        found: dict[str, State] = {
            "python's random generator": random.getstate(),
            "numpy's global generator": _legacy(np.random.get_state()),
            "torch's global generator": (torch.get_rng_state().numpy().tobytes(),),
        }
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            found["CUDA's generators"] = tuple(state.numpy().tobytes() for state in torch.cuda.get_rng_state_all())
        for number, generator in enumerate(self._own):
            found[f"its own {type(generator).__name__} ({number + 1})"] = (_state(generator),)
        return found

    def search_again(self) -> None:
        """Find the generators that exist since the first item was read."""
        self._own = list(generators(self._holder))

    def saved(self) -> list[Callable[[], None]]:
        """Functions that restore the data set's own generators to what they are now."""
        return [_restorer(generator) for generator in self._own]


def drawn_from(before: dict[str, State], between: dict[str, State], after: dict[str, State]) -> str | None:
    """The stream that two reads of one item draw from, or None.

    A stream that each read sets to a seed of its item is in the same state after both.

    Args:
        before: states before the first read.
        between: states after the first read.
        after: states after the second one.
    """
    moved = (name for name in between if name in before and before[name] != between[name])
    return next((name for name in moved if between[name] != after.get(name)), None)


def generators(holder: Any) -> Iterator[Any]:
    """The random generators that are reachable through attributes, lists, dictionaries and closures."""
    kinds = (np.random.Generator, np.random.RandomState, random.Random, torch.Generator)
    return (one for one in _reachable(holder) if isinstance(one, kinds))


def holds_device_tensors(holder: Any) -> bool:
    """Whether a data set holds tensors on an accelerator, which a forked process cannot use."""
    return any(isinstance(one, torch.Tensor) and one.device.type != "cpu" for one in _reachable(holder))


def _reachable(holder: Any) -> Iterator[Any]:
    waiting, seen = deque([holder]), {id(holder)}
    for _ in range(MOST_OBJECTS):
        if not waiting:
            return
        one = waiting.popleft()
        yield one
        for inner in _parts(one):
            if id(inner) not in seen:
                seen.add(id(inner))
                waiting.append(inner)


def _parts(one: Any) -> Iterator[Any]:
    if isinstance(one, ENDS):
        return
    if isinstance(one, dict):
        found: Any = one.values()
    elif isinstance(one, (list, tuple, set, frozenset, deque)):
        found = one
    elif isinstance(one, MethodType):
        found = (one.__self__, one.__func__)
    elif isinstance(one, FunctionType):
        found = (*(one.__defaults__ or ()), *(_contents(cell) for cell in one.__closure__ or ()))
    elif isinstance(one, functools.partial):
        found = (one.func, one.args, one.keywords)
    else:
        found = _attributes(one)
    for _, inner in zip(range(MOST_ENTRIES), found, strict=False):
        yield inner


def _attributes(one: Any) -> Iterator[Any]:
    with contextlib.suppress(TypeError):
        yield from list(vars(one).values())
    for kind in type(one).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            with contextlib.suppress(AttributeError):
                yield getattr(one, name)


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _state(generator: Any) -> Any:
    if isinstance(generator, np.random.Generator):
        return repr(generator.bit_generator.state)
    if isinstance(generator, np.random.RandomState):
        return _legacy(generator.get_state())
    if isinstance(generator, random.Random):
        return generator.getstate()
    return generator.get_state().cpu().numpy().tobytes()


def _legacy(state: Any) -> State:
    name, keys, *rest = state
    return (name, keys.tobytes(), *rest)


def _restorer(generator: Any) -> Callable[[], None]:
    if isinstance(generator, np.random.Generator):
        state = generator.bit_generator.state
        return lambda: setattr(generator.bit_generator, "state", state)
    if isinstance(generator, np.random.RandomState):
        return functools.partial(generator.set_state, generator.get_state())
    if isinstance(generator, random.Random):
        return functools.partial(generator.setstate, generator.getstate())
    return functools.partial(generator.set_state, generator.get_state())
