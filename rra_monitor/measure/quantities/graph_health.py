"""The health of a layer's graph: how far its neighbours, and all that is computed from them, can be trusted.

See `rra_monitor.metrics.graph_health` for ranges and source.
"""

from typing import Any

import numpy as np

from rra_monitor.measure.quantity import Quantity
from rra_monitor.measure.settings import Curve


def _hubness(graph: Any, labels: Any) -> float:
    from rra_monitor.metrics import k_occurrence
    from rra_monitor.metrics._health import skewness

    return skewness(k_occurrence(graph))


def _lowest_of_approximate(curve: Curve) -> float:
    """The lowest recall; NaN if all graphs are exact."""
    return float(curve.min()) if (curve < 1).any() else np.nan


def _total_if_any(curve: Curve) -> float:
    """The sum over the layers; NaN if it is 0."""
    return float(curve.sum()) if curve.any() else np.nan


QUANTITIES = (
    Quantity(
        "hubness",
        _hubness,
        title="Hubness (skewness of the k-occurrence)",
        symbol="hubness",
        better="lower",
        digits=1,
        rank="side",
        summaries={},
        always=True,
    ),
    Quantity(
        "ties",
        lambda graph, labels: graph.ties,
        title="Samples with a tied k-th distance",
        symbol="ties",
        unit="fraction of the samples",
        low=0,
        high=1,
        better="lower",
        rank="side",
        summaries={},
        always=True,
        defined=True,
    ),
    Quantity(
        "zeros",
        lambda graph, labels: graph.zeros,
        title="Samples with a duplicate",
        symbol="duplicates",
        unit="fraction of the samples",
        low=0,
        high=1,
        better="lower",
        depends_on_k=False,
        rank="check",
        summaries={},
        always=True,
        defined=True,
    ),
    Quantity(
        "recall",
        lambda graph, labels: graph.recall,
        title="Recall of the graphs",
        symbol="recall",
        unit="fraction of the neighbours",
        low=0,
        high=1,
        better="higher",
        rank="check",
        summaries={},
        worst=_lowest_of_approximate,
        always=True,
        defined=True,
    ),
    # A run stored by 0.1.0 has neither of the following two.
    Quantity(
        "checked",
        lambda graph, labels: graph.checked,
        title="Rows compared with float64",
        symbol="checked",
        unit="samples",
        low=0,
        digits=0,
        depends_on_k=False,
        rank="check",
        summaries={},
        defined=True,
    ),
    Quantity(
        "failed",
        lambda graph, labels: graph.failed,
        title="Rows that were wrong, so that the graph was built again",
        symbol="failed",
        unit="samples",
        low=0,
        better="lower",
        digits=0,
        depends_on_k=False,
        rank="check",
        summaries={},
        worst=_total_if_any,
        defined=True,
    ),
)
