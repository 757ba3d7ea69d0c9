"""The quantities of this package, one module each; a few that belong together share a module.

A module has `QUANTITIES`, a tuple of `Quantity`. A quantity's function imports what it needs when it is called, because
dashboards read the descriptions alone.
"""

from collections.abc import Iterable, Sequence
from importlib import import_module

from rra_monitor.measure.quantities.intrinsic_dimension import of_estimator
from rra_monitor.measure.quantity import Quantity
from rra_monitor.measure.settings import ESTIMATORS
from rra_monitor.utils.text import brief

_STANDARD = ("intrinsic_dimension", "class_similarity", "layer_similarity", "graph_health")
"""Modules of the quantities that every snapshot has, in the order in which they are shown."""

_ON_REQUEST = (
    "effective_rank",
    "knn_accuracy",
    "cka",
)
"""Modules of the quantities that are measured where they are asked for by name."""


def _of_modules(modules: Sequence[str]) -> tuple[Quantity, ...]:
    tuples = [import_module(f"{__name__}.{module}").QUANTITIES for module in modules]
    return tuple(quantity for several in tuples for quantity in several)


STANDARD = _of_modules(_STANDARD)
ON_REQUEST = _of_modules(_ON_REQUEST)
KNOWN = {quantity.name: quantity for quantity in (*STANDARD, *ON_REQUEST)}
"""Name to quantity of this package."""


def standard(estimator: str = ESTIMATORS[0]) -> tuple[Quantity, ...]:
    """The standard quantities of snapshots whose ID is estimated by one of the `ESTIMATORS`."""
    default = [one.name for one in of_estimator(ESTIMATORS[0])]
    return (*of_estimator(estimator), *(one for one in STANDARD if one.name not in default))


def is_ours(quantity: Quantity) -> bool:
    """Whether it is a quantity of this package, and not a user's own of whatever name."""
    estimated = (one for estimator in ESTIMATORS for one in of_estimator(estimator))
    return any(quantity is one for one in (*KNOWN.values(), *estimated))


def with_standard(asked: Iterable[str | Quantity], estimator: str = ESTIMATORS[0]) -> tuple[Quantity, ...]:
    """The standard quantities, then those that are asked for: names of `ON_REQUEST`, or a user's own.

    Args:
        asked: names and quantities. Standard quantities among them change nothing.
        estimator: one of the `ESTIMATORS`, for the ID.

    Raises:
        TypeError: neither a name nor a quantity; a quantity without a function.
        ValueError: an unknown name; a name that another quantity, or one of its summaries, has.
    """
    if isinstance(asked, (str, Quantity)) or not isinstance(asked, Iterable):
        raise TypeError(f"quantities={brief(asked)}; expected a list of names and quantities, as ['cka']")
    chosen = {quantity.name: quantity for quantity in standard(estimator)}
    names = {quantity.name for quantity in STANDARD}
    for each in asked:
        quantity = _named(each) if isinstance(each, str) else each
        if not isinstance(quantity, Quantity):
            raise TypeError(f"quantities has {brief(each)}; expected a name, or Quantity('name', function)")
        if quantity.compute is None:
            raise TypeError(f"quantity {quantity.name!r} has no function; give one, as Quantity('name', function)")
        if chosen.get(quantity.name) is quantity or (quantity.name in names and is_ours(quantity)):
            continue
        taken = {*chosen, *(summary for one in chosen.values() for summary in one.summary_names)}
        if quantity.name in taken or KNOWN.get(quantity.name, quantity) is not quantity:
            raise ValueError(f"two quantities would be named {quantity.name!r}; give yours another name")
        chosen[quantity.name] = quantity
    return tuple(chosen.values())


def _named(name: str) -> Quantity:
    if name not in KNOWN:
        raise ValueError(
            f"unknown quantity {name!r:.80}; choose from {', '.join(one.name for one in ON_REQUEST)}, or give your own "
            "as Quantity('name', function)"
        )
    return KNOWN[name]
