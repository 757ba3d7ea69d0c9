"""Arguments of public functions that are whole numbers."""

import operator
from typing import Any


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
        raise TypeError(
            f"{name}={value!r:.80}; expected a whole number" + ("" if least is None else f", {least} or more")
        )
    if least is not None and number < least:
        raise ValueError(f"{name}={number}; expected {least} or more")
    return number
