"""TensorBoard's tensors as arrays no larger than what an event file holds.

A tensor that repeats one value may claim any shape: 40 bytes of a file become gigabytes when TensorBoard makes an array
of them, which its data providers do before a plugin sees anything; and a tensor that cannot be converted makes all
others of its tag fail. So the conversion is bounded while our own data are read, and unchanged at any other time.
"""

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

_reading: ContextVar[bool] = ContextVar("reading", default=False)


@dataclass(frozen=True)
class Unreadable:
    """A placeholder for an array that could not be read.

    Attributes:
        reason: reason why it could not be read.
    """

    reason: str


@contextmanager
def bounded_arrays() -> Iterator[None]:
    """A context in which this thread reads arrays of their file's size, or `Unreadable`, from a data provider."""
    from tensorboard.util import tensor_util

    if not hasattr(tensor_util.make_ndarray, "of_rra"):
        tensor_util.make_ndarray = _bounded(tensor_util.make_ndarray)
    token = _reading.set(True)
    try:
        yield
    finally:
        _reading.reset(token)


def _bounded(make_ndarray: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.wraps(make_ndarray)
    def made(tensor: Any) -> Any:
        if not _reading.get():
            return make_ndarray(tensor)
        shape = [dimension.size for dimension in tensor.tensor_shape.dim]
        held = tensor.ByteSize()  # a number takes at least one
        if min(shape, default=0) < 0 or math.prod(shape) > held:
            return Unreadable(f"shape {shape}, expected one that {held} bytes hold")
        try:
            return make_ndarray(tensor)
        except Exception as error:  # whatever is in the file
            return Unreadable(f"{type(error).__name__}: {error}")

    made.of_rra = True  # type: ignore[attr-defined]
    return made
