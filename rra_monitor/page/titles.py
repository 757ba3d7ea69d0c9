"""What the curves and matrices of a run are called on the page, and the scale that each is drawn on.

An entry is {"title": str, "symbol": str, "choice": str, "unit": str, "digits": int, "low": x, "high": x,
"better": str or null, "depends_on_k": bool, "method": str, "order": int, "error": str or null, "chance": str or null,
"beside": {"curve": str, "where": str, "text": str} or null}: `choice` stands
in a selector, `low` and `high` are null where there is no bound, `error` names the curve of its standard errors,
`chance` its level among a probe's chances, and `beside` a curve that is drawn with it where another one is above 0.
What has a `method` is compared among probes of one estimator alone. The lowest `order` is shown first, and always below
`MAIN`.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from rra_monitor.measure.match import PREVIOUS, other_of
from rra_monitor.measure.quantities.layer_similarity import NNLS
from rra_monitor.measure.quantity import PAIRED, Quantity
from rra_monitor.page.arrays import INTER, SELF

MAIN = 1000
"""The `order` below which a curve is always shown."""

RANKS = {"main": 0, "side": 2000, "check": 3000}


def curve_titles(quantities: Sequence[Quantity], names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Name of each curve to its entry."""
    known = {one.name: (at, one) for at, one in enumerate(quantities)}
    names = list(names)
    errors = {one.error_of: one.name for one in quantities if one.error_of}
    beside = {
        one.beside: {"curve": one.name, "where": one.beside_where, "text": one.symbol}
        for one in quantities
        if one.beside and one.name in names
    }
    found = {}
    for name in names:
        if name in known:
            at, one = known[name]
            found[name] = _entry(one, RANKS[one.rank] + at) | {"error": errors.get(name), "beside": beside.get(name)}
        else:
            what = comparison_title(name.removeprefix(PAIRED))
            order = MAIN + (name != f"{PAIRED}{PREVIOUS}")
            found[name] = _entry(NNLS, order, f"Similarity to the {what}", f"{NNLS.symbol}: {what}")
    return found


def matrix_titles(quantities: Sequence[Quantity], kinds: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Kind of each matrix to its entry; titles continue the name of the run."""
    known = {one.name: one for one in quantities if one.of_pairs}
    found = {}
    for kind in kinds:
        if kind in (SELF, INTER):
            title = "with itself" if kind == SELF else "full view with its pooled view"
            found[kind] = _entry(NNLS, 0 if kind == SELF else MAIN, title)
        elif kind in known:
            found[kind] = _entry(known[kind], 2 * MAIN)
        else:
            found[kind] = _entry(NNLS, 1 + (kind != PREVIOUS), f"with the {comparison_title(kind)}")
    return found


def comparison_title(name: str) -> str:
    """What a snapshot is compared with.

    >>> comparison_title("prev"), comparison_title("ref-seed0")
    ('previous snapshot', 'reference seed0')
    """
    return "previous snapshot" if name == PREVIOUS else f"reference {other_of(name)}"


def _entry(quantity: Quantity, order: int, title: str = "", choice: str = "") -> dict[str, Any]:
    title = title or quantity.title
    said = quantity.symbol.casefold() in (title.casefold(), *title.casefold().split())
    return {
        "title": title,
        "symbol": quantity.symbol,
        "choice": choice or (title if said else f"{quantity.symbol}: {quantity.lower_title}"),
        "unit": quantity.unit,
        "digits": quantity.digits,
        "low": quantity.low if math.isfinite(quantity.low) else None,
        "high": quantity.high if math.isfinite(quantity.high) else None,
        "better": quantity.better,
        "depends_on_k": quantity.depends_on_k,
        "order": order,
        "error": None,
        "beside": None,
        "method": quantity.method,
        "chance": None if quantity.chance is None else quantity.name,
    }
