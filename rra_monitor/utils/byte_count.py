"""Numbers of bytes, as people write them."""

import re
from typing import Any

import numpy as np

from rra_monitor.utils.text import brief

UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}

_WRITTEN = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b", re.IGNORECASE)


def byte_count(name: str, value: Any) -> int | float:
    """A number of bytes, given as a number or as a text with a unit.

    Args:
        name: name of the argument, for the error.
        value: number above 0, or a text such as "4GB" (10^9 bytes each) or "4GiB" (2^30), in any case.

    Raises:
        TypeError: neither.
        ValueError: another text, or no more than 0.

    >>> byte_count("memory_budget", "4GB"), byte_count("memory_budget", "0.5 GiB")
    (4000000000, 536870912)
    """
    forms = "expected bytes above 0, as a number or a text: 4_000_000_000, '4GB', '500MiB'"
    if isinstance(value, str):
        written = _WRITTEN.fullmatch(value.strip())
        if written is None:
            raise ValueError(f"{name}={brief(value)}; {forms}")
        number, unit, binary = written.groups()
        found: int | float = int(float(number) * (1024 if binary else 1000) ** UNITS[unit.lower()])
    elif isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise TypeError(f"{name}={brief(value)}; {forms}")
    else:
        found = value  # type: ignore[assignment]
    if not found > 0:
        raise ValueError(f"{name}={brief(value)}; {forms}")
    return found
