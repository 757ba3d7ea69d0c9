"""Intrinsic dimension (ID): how complex the representation of a layer is, with its standard error.

See `rra_monitor.metrics.twonn` and `twonn_standard_error` for formula, range and source, and `near_duplicates` for the
samples that can rule it.
"""

from functools import cache, partial
from typing import Any

import numpy as np

from rra_monitor.measure.quantity import Quantity, last_layer
from rra_monitor.measure.settings import ESTIMATORS, Curve

PLAIN, CENSORED = ESTIMATORS[0], ESTIMATORS[2]


def _dimension(graph: Any, labels: Any, method: Any) -> Any:
    from rra_monitor.metrics._twonn import estimated_twonn

    return estimated_twonn(graph, method=method)


def _standard_error(graph: Any, labels: Any, method: Any) -> Any:
    from rra_monitor.metrics._standard_error import estimated_standard_error

    return estimated_standard_error(graph, method=method)


def _ruling_near_duplicates(graph: Any, labels: Any) -> float:
    """The fraction of samples with a near-duplicate where these rule the ID, else 0."""
    from rra_monitor.metrics import near_duplicates

    found = near_duplicates(graph)
    return found.share if found.rule else 0.0


def _peak(curve: Curve) -> float:
    """The largest ID of the layers in which it is defined; NaN if there is none."""
    defined = curve[~np.isnan(curve)]
    return float(defined.max()) if defined.size else float("nan")


def _largest_if_any(curve: Curve) -> float:
    """The largest fraction of all layers; NaN if it is 0."""
    return float(curve.max()) if curve.any() else float("nan")


@cache
def of_estimator(estimator: str) -> tuple[Quantity, ...]:
    """The ID by one of the `ESTIMATORS`, its standard error, and what tells whether near-duplicates rule it."""
    plain = estimator == PLAIN
    by = "" if plain else f" ({estimator})"
    dimension = Quantity(
        "id",
        partial(_dimension, method=estimator),
        title=f"Intrinsic dimension{by}",
        symbol=f"ID{by}",
        unit="dimensions",
        low=0,
        digits=1,
        depends_on_k=False,
        method=estimator,
        summaries={"peak": _peak, "last": last_layer},
        always=True,
    )
    error = Quantity(
        "id_error",
        partial(_standard_error, method=estimator),
        title=f"Standard error of the ID{by}",
        symbol="± ID",
        unit="dimensions",
        low=0,
        better="lower",
        digits=1,
        depends_on_k=False,
        rank="side",
        error_of="id",
        method=estimator,
        summaries={},
        always=True,
    )
    # A run stored by 0.2.0 or before has none of the following two.
    second = Quantity(
        "id_censored",
        partial(_dimension, method=CENSORED),
        title="Intrinsic dimension (censored)",
        symbol="ID (censored)",
        unit="dimensions",
        low=0,
        digits=1,
        depends_on_k=False,
        rank="side",
        beside="id",
        beside_where="near_duplicates",
        method=CENSORED,
        summaries={},
    )
    duplicates = Quantity(
        "near_duplicates",
        _ruling_near_duplicates,
        title="Samples whose near-duplicates rule the ID by maximum likelihood",
        symbol="near-duplicates",
        unit="fraction of the samples",
        low=0,
        high=1,
        better="lower",
        depends_on_k=False,
        rank="check",
        warning="near-duplicates rule the ID; measure with estimator='censored', or look at the samples "
        "(rra_monitor.metrics.near_duplicates)"
        if plain
        else "",
        summaries={},
        worst=_largest_if_any,
        defined=True,
    )
    # The other estimators are not lowered by near-duplicates, and need no second one beside.
    return (dimension, error, second, duplicates) if plain else (dimension, error, duplicates)


QUANTITIES = of_estimator(PLAIN)
