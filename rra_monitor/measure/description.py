"""Descriptions of quantities as plain values, stored with the numbers, and the quantities read from them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from reprlib import repr as short
from typing import Any

from rra_monitor.measure.quantities import ON_REQUEST, STANDARD, is_ours, standard
from rra_monitor.measure.quantity import Quantity
from rra_monitor.measure.settings import ESTIMATORS, Settings

TEXTS = ("title", "symbol", "unit", "rank", "error_of", "of")
SWITCHES = ("needs_labels", "depends_on_k")
MOST = 200
"""Largest number of a user's quantities that are read from a run."""


def described(quantities: Iterable[Quantity], settings: Settings) -> list[dict[str, Any]]:
    """The descriptions of the quantities that this package does not know, without their functions.

    Args:
        quantities: quantities of a snapshot.
        settings: settings of the snapshot, from which the chance levels are computed.

    Returns:
        A dictionary of plain values for each, which can be written as JSON.
    """
    return [_plain(one, settings) for one in quantities if not is_ours(one)]


def described_only(descriptions: object) -> tuple[Quantity, ...]:
    """The quantities of stored descriptions, without functions. Anybody may have changed a description: it is checked.

    Args:
        descriptions: list of the dictionaries that `described` returns.

    Raises:
        ValueError: anything but a list of at most MOST descriptions; an impossible description; two quantities of one
            name; the name of a standard quantity.
    """
    if not isinstance(descriptions, list) or len(descriptions) > MOST:
        raise ValueError(f"its quantities are {short(descriptions)}, expected a list of at most {MOST} descriptions")
    own = tuple(_checked(each) for each in descriptions)
    names = [one.name for one in own]
    if len({*names, *(one.name for one in STANDARD)}) < len(names) + len(STANDARD):
        raise ValueError(f"its quantities are {short(names)}, expected different ones, none of them a standard one")
    return own


def present_quantities(
    own: Sequence[Quantity], present: Iterable[str], estimator: str = ESTIMATORS[0]
) -> tuple[Quantity, ...]:
    """The quantities of stored numbers: the standard ones, those on request that are present, those described.

    Args:
        own: quantities of the stored descriptions.
        present: names of the stored numbers.
        estimator: method by which the stored IDs were estimated.
    """
    there = set(present) - {one.name for one in own}
    return (*standard(estimator), *(one for one in ON_REQUEST if one.name in there), *own)


def _plain(quantity: Quantity, settings: Settings) -> dict[str, Any]:
    return {
        "name": quantity.name,
        **{name: getattr(quantity, name) for name in (*TEXTS, *SWITCHES)},
        "low": quantity.low if math.isfinite(quantity.low) else None,
        "high": quantity.high if math.isfinite(quantity.high) else None,
        "better": quantity.better,
        "digits": quantity.digits,
        "chance": quantity.chance_for(settings),
    }


def _checked(description: object) -> Quantity:
    if not isinstance(description, Mapping):
        raise ValueError(f"one of its quantities is {short(description)}, expected names and values")
    try:
        texts = {name: description[name] for name in TEXTS}
        switches = {name: description[name] for name in SWITCHES}
        if not all(isinstance(text, str) for text in texts.values()):
            raise ValueError(f"quantity {short(description['name'])} has {short(texts)}, expected texts")
        if not all(isinstance(switch, bool) for switch in switches.values()):
            raise ValueError(f"quantity {short(description['name'])} has {short(switches)}, expected true or false")
        low, high = _number(description["low"], -math.inf), _number(description["high"], math.inf)
        chance = None if description["chance"] is None else _number(description["chance"], math.nan)
        return Quantity(
            description["name"],
            low=low,
            high=high,
            better=description["better"],
            digits=description["digits"],
            chance=chance,
            summaries={},
            **texts,
            **switches,
        )
    except KeyError as error:
        raise ValueError(f"one of its quantities has no {error}") from None
    except TypeError as error:
        raise ValueError(f"one of its quantities is impossible: {error}") from None


def _number(value: object, missing: float) -> float:
    if value is None:
        return missing
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < 1e300:
        raise ValueError(f"one of its quantities has {short(value)}, expected a finite number")
    return float(value)
