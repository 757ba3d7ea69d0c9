"""Nearest-neighbour class similarity (NNCS): how separable the classes are in a layer.

See `rra_monitor.metrics.nncs` for formula, range and source, and `nncs_chance` for the chance level.
"""

from typing import Any

from rra_monitor.measure.quantity import Quantity
from rra_monitor.measure.settings import Settings


def _similarity(graph: Any, labels: Any) -> float:
    from rra_monitor.metrics import nncs

    return nncs(graph, labels)


def _chance(settings: Settings) -> float:
    from rra_monitor.metrics import nncs_chance

    return nncs_chance(settings.labels)


QUANTITIES = (
    Quantity(
        "nncs",
        _similarity,
        title="Class similarity",
        symbol="NNCS",
        unit="fraction of the neighbours",
        low=0,
        high=1,
        better="higher",
        chance=_chance,
        needs_labels=True,
        defined=True,
    ),
)
