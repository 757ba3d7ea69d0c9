"""Checks of a tag's description before it is used: event files may come from anywhere.

Fast, since every run's descriptions are read whenever the page asks for the list of runs.
"""

import math
import unicodedata
from collections import Counter
from reprlib import repr as short
from typing import Any

from rra_monitor.measure.description import described_only, present_quantities
from rra_monitor.measure.quantities import STANDARD
from rra_monitor.measure.quantities.layer_similarity import NNLS
from rra_monitor.measure.settings import ESTIMATORS, check_estimator

LONGEST = 1_000
"""Longest name in characters."""

LARGEST = 10**9
"""Largest number of samples, neighbours or epochs."""


def described_curves(about: dict[str, Any]) -> dict[str, Any]:
    """A description of curves, see `tags`, with tuples of names, and the set of each probe's curves.

    Raises:
        ValueError: it is not one.
    """
    probes = []
    for probe in _probes(about):
        check_whole("n", probe.get("n"), 2, LARGEST)
        check_whole("k", probe.get("k"), 1, probe["n"] - 1)
        if probe.get("classes") is not None:
            check_whole("classes", probe["classes"], 1, probe["n"])
        chances = _chances(probe)
        axes = {part: names(part, probe.get(part), 1) for part in ("layers", "views")}
        estimator = check_estimator(probe.get("estimator", ESTIMATORS[0]))
        known = {name: probe.get(name) for name in ("name", "n", "k", "classes")} | {"chances": chances}
        known["estimator"] = estimator
        probes.append(known | axes | {"curves": frozenset(names("curves", probe.get("curves")))})
    metrics = names("metrics", about.get("metrics"))
    # The probes of a run are measured by one monitor.
    estimator = check_estimator(probes[0]["estimator"])
    quantities = present_quantities(described_only(about.get("quantities", [])), metrics, estimator)
    return {"kind": about["kind"], "metrics": metrics, "probes": probes, "quantities": quantities}


def described_matrix(about: dict[str, Any]) -> dict[str, Any]:
    """A description of a matrix, see `tags`, with tuples of names.

    Raises:
        ValueError: it is not one.
    """
    (matrix,) = names("matrix", [about.get("matrix")])
    probes = [
        {"name": probe["name"]} | {part: names(part, probe.get(part)) for part in ("rows", "columns", "views")}
        for probe in _probes(about)
    ]
    known = present_quantities(described_only(about.get("quantities", [])), [matrix])
    quantity = next((one for one in known if one.of_pairs and one.name == matrix), NNLS)
    return {"kind": about["kind"], "matrix": matrix, "probes": probes, "quantity": quantity}


def names(what: str, found: Any, fewest: int = 0) -> tuple[str, ...]:
    """A list of names, each once, as a tuple.

    Raises:
        ValueError: it is not a list of names, or has too few.
    """
    if not isinstance(found, list) or len(found) < fewest or not all(map(is_name, found)):
        raise ValueError(f"{what} is {short(found)}, expected names of 1 to {LONGEST} letters, no control characters")
    if len(set(found)) < len(found):
        raise ValueError(f"{what} has {short(Counter(found).most_common(1)[0][0])} twice, expected each name once")
    return tuple(found)


def is_name(found: Any) -> bool:
    """Whether it can be the name of a layer, a probe, a view, …"""
    if not isinstance(found, str) or not 0 < len(found) <= LONGEST:
        return False
    return found.isprintable() or not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in found)


def check_whole(what: str, found: Any, low: int, high: int) -> None:
    """Raise ValueError if this is not a whole number from `low` to `high`."""
    if type(found) is not int or not low <= found <= high:
        raise ValueError(f"{what} is {short(found)}, expected a whole number from {low} to {high}")


def number(what: str, found: Any, low: float = -math.inf, high: float = math.inf) -> float:
    """The number itself; may be NaN if no bounds are given.

    Raises:
        ValueError: it is not a number, or out of bounds.
    """
    known = type(found) is float or (type(found) is int and abs(found) < 10**300)
    value = float(found) if known else math.nan
    if not known or not (low <= value <= high or (math.isnan(value) and math.isinf(low))):
        raise ValueError(f"{what} is {short(found)}, expected a number from {low:g} to {high:g}")
    return value


def _chances(probe: dict[str, Any]) -> dict[str, float]:
    """The chance levels by quantity; 0.1.0 wrote two of them beside each other."""
    found = probe.get("chances", {one.name: probe.get(f"{one.name}_chance") for one in STANDARD})
    if not isinstance(found, dict):
        raise ValueError(f"chances is {short(found)}, expected quantities and levels")
    names("names of chances", list(found))
    return {
        name: number(f"chance of {name}", level, -1e300, 1e300) for name, level in found.items() if level is not None
    }


def _probes(about: dict[str, Any]) -> list[dict[str, Any]]:
    probes = about.get("probes")
    if not isinstance(probes, list) or not probes or not all(isinstance(probe, dict) for probe in probes):
        raise ValueError(f"probes is {short(probes)}, expected objects")
    names("names of probes", [probe.get("name") for probe in probes])
    return probes
