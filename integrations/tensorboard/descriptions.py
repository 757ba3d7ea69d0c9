"""What a tag's description may say, checked before it is used: event files may come from anywhere.

Light, since every run's descriptions are read whenever the page asks for the list of runs.
"""

import math
import unicodedata
from collections import Counter
from reprlib import repr as short
from typing import Any

LONGEST = 1_000
"""Letters of a name."""

LARGEST = 10**9
"""Of numbers of samples, of neighbours and of epochs."""


def check_curves(about: dict[str, Any]) -> None:
    """Raise ValueError if this is no description of curves, see `tags`."""
    check_names("metrics", about.get("metrics"))
    for probe in _probes(about):
        for part in ("layers", "views", "curves"):
            check_names(part, probe.get(part))
        check_whole("n", probe.get("n"), 2, LARGEST)
        check_whole("k", probe.get("k"), 1, probe["n"] - 1)
        if probe.get("classes") is not None:
            check_whole("classes", probe["classes"], 1, probe["n"])
        if probe.get("nncs_chance") is not None:
            number("nncs_chance", probe["nncs_chance"], 0, 1)
        number("nnls_chance", probe.get("nnls_chance"), 0, 1)


def check_matrix(about: dict[str, Any]) -> None:
    """Raise ValueError if this is no description of a matrix, see `tags`."""
    check_names("matrix", [about.get("matrix")])
    for probe in _probes(about):
        for part in ("rows", "columns", "views"):
            check_names(part, probe.get(part))


def check_names(what: str, found: Any) -> None:
    """Raise ValueError if this is no list of names, each once."""
    if not isinstance(found, list) or not all(map(is_name, found)):
        raise ValueError(f"{what} is {short(found)}, expected names of 1 to {LONGEST} letters, no control characters")
    if len(set(found)) < len(found):
        raise ValueError(f"{what} has {short(Counter(found).most_common(1)[0][0])} twice, expected each name once")


def is_name(found: Any) -> bool:
    """Whether it can be the name of a layer, a probe, a view, …"""
    if not isinstance(found, str) or not 0 < len(found) <= LONGEST:
        return False
    return found.isprintable() or not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in found)


def check_whole(what: str, found: Any, low: int, high: int) -> None:
    """Raise ValueError if this is no whole number from `low` to `high`."""
    if type(found) is not int or not low <= found <= high:
        raise ValueError(f"{what} is {short(found)}, expected a whole number from {low} to {high}")


def number(what: str, found: Any, low: float = -math.inf, high: float = math.inf) -> float:
    """The number itself; NaN where no bounds are given.

    Raises:
        ValueError: it is none, or out of bounds.
    """
    known = type(found) is float or (type(found) is int and abs(found) < 10**300)
    value = float(found) if known else math.nan
    if not known or not (low <= value <= high or (math.isnan(value) and math.isinf(low))):
        raise ValueError(f"{what} is {short(found)}, expected a number from {low:g} to {high:g}")
    return value


def _probes(about: dict[str, Any]) -> list[dict[str, Any]]:
    probes = about.get("probes")
    if not isinstance(probes, list) or not all(isinstance(probe, dict) for probe in probes):
        raise ValueError(f"probes is {short(probes)}, expected a list of objects")
    check_names("names of probes", [probe.get("name") for probe in probes])
    return probes
