"""Nearest-neighbour layer similarity (NNLS): the mean Jaccard index of the neighbour sets in two layers.

See `rra_monitor.metrics.nnls` for formula, range and source, and `nnls_chance` for the chance level.
"""

from collections.abc import Sequence
from typing import Any

from rra_monitor.measure.quantity import Quantity
from rra_monitor.measure.settings import Settings


def _similarities(graphs: Sequence[Any]) -> Any:
    from rra_monitor.metrics import nnls_matrix

    return nnls_matrix(graphs)


def _chance(settings: Settings) -> float:
    from rra_monitor.metrics import nnls_chance

    return nnls_chance(settings.n, settings.k)


NNLS = Quantity(
    "nnls",
    _similarities,
    of="graph pairs",
    title="Layer similarity",
    symbol="NNLS",
    unit="Jaccard index",
    low=0,
    high=1,
    chance=_chance,
    always=True,
    defined=True,
)

QUANTITIES = (NNLS,)
