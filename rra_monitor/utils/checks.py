"""Arguments of public functions that are whole numbers."""

import operator
from typing import Any

from rra_monitor.utils.text import brief


def whole_number(name: str, value: Any, least: int | None = None) -> int:
    """The argument as an int.

    Args:
        name: name of the argument, for the error.
        value: value to check; a bool is not a number.
        least: smallest allowed value.

    Raises:
        TypeError: not a whole number.
        ValueError: a smaller one.

    >>> whole_number("n", 3, 2)
    3
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        quoted = isinstance(value, str) and value.strip().isdecimal()
        raise TypeError(
            f"{name}={brief(value)}; expected a whole number"
            + ("" if least is None else f", {least} or more")
            + (", without quotes" if quoted else "")
        )
    if least is not None and number < least:
        raise ValueError(f"{name}={number}; expected {least} or more")
    return number
