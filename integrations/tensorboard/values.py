"""Checks of the tensors of event files before they are used: they may come from anywhere."""

import json
from collections.abc import Sequence
from reprlib import repr as short
from typing import Any

import numpy as np
import numpy.typing as npt

from rra_monitor.conclusions.evidence import Finding
from rra_monitor.integrations.tensorboard.arrays import Unreadable
from rra_monitor.integrations.tensorboard.descriptions import LARGEST, is_name, names, number
from rra_monitor.measure.quantity import Quantity
from rra_monitor.page.arrays import Floats

LONGEST = 10_000
"""Longest sentence in characters."""

ROUNDING = 1e-5
"""Tolerance of a value outside the range of its quantity."""


def moment(values: Any) -> tuple[int, float, float]:
    """Epoch, seconds and overhead.

    Raises:
        ValueError: the values are not these.
    """
    found = _numbers(values)
    if found.shape != (3,):
        raise ValueError(f"shape {found.shape}, expected (3,)")
    epoch, seconds, overhead = map(float, found)
    if not 0 <= epoch <= LARGEST or not epoch.is_integer():
        raise ValueError(f"epoch {epoch:g}, expected a whole number from 0 to {LARGEST}")
    return int(epoch), seconds, overhead


def parts_of(values: Any, shapes: Sequence[tuple[int, ...]]) -> list[Floats]:
    """Each probe's own part of a tensor that is padded to the largest one, in 32 bits.

    Args:
        values: values of the tensor, probes first.
        shapes: shape of each probe's part.

    Raises:
        ValueError: the tensor is not of such parts.
    """
    found = _numbers(values)
    expected = (len(shapes), *(max(sizes) for sizes in zip(*shapes, strict=True)))
    if found.shape != expected:
        raise ValueError(f"shape {found.shape}, expected {expected}")
    with np.errstate(over="ignore"):
        numbers: Floats = found.astype(np.float32, copy=False)
    return [part[tuple(map(slice, shape))] for part, shape in zip(numbers, shapes, strict=True)]


def check_values(what: str, values: Floats, quantity: Quantity) -> None:
    """Raise ValueError if there are values that the quantity cannot have."""
    outside = values[quantity.outside(values, ROUNDING)]
    if outside.size:
        raise ValueError(
            f"{what} has {outside.flat[0]:g}, expected finite values, {quantity.bounds}, or NaN where undefined"
        )


def checked_findings(values: Any) -> tuple[Finding, ...]:
    """The findings of a step, from their JSON.

    Raises:
        ValueError: they are not findings.
    """
    if isinstance(values, Unreadable):
        raise ValueError(values.reason)
    try:
        return tuple(_finding(each) for each in json.loads(np.asarray(values, dtype=object).item()))
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not written by rra-monitor: {short(error)}") from None


def _finding(plain: dict[str, Any]) -> Finding:
    kind, probe, layers, sentence = (plain[name] for name in ("kind", "probe", "layers", "sentence"))
    names("kind", [kind])
    names("probe", [probe])
    if not isinstance(layers, list) or not all(map(is_name, layers)):
        raise ValueError(f"layers is {short(layers)}, expected names")
    if not isinstance(sentence, str) or len(sentence) > LONGEST:
        raise ValueError(f"sentence is {short(sentence)}, expected text of at most {LONGEST} letters")
    names("names of values", list(plain["values"]))
    values = {name: number(f"value {name!r:.60}", value) for name, value in plain["values"].items()}
    return Finding(kind, probe, tuple(layers), sentence, number("confidence", plain["confidence"], 0, 1), values)


def _numbers(values: Any) -> npt.NDArray[np.floating[Any]]:
    if isinstance(values, Unreadable):
        raise ValueError(values.reason)
    found = np.asarray(values)
    if found.dtype.kind != "f":
        raise ValueError(f"type {found.dtype}, expected floating-point numbers")
    return found
