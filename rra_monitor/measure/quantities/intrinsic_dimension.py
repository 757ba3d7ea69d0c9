"""Intrinsic dimension (ID): how complex the representation of a layer is, with its standard error.

See `rra_monitor.metrics.twonn` and `twonn_standard_error` for formula, range and source.
"""

from typing import Any

import numpy as np

from rra_monitor.measure.quantity import Quantity, last_layer
from rra_monitor.measure.settings import Curve


def _dimension(graph: Any, labels: Any) -> Any:
    from rra_monitor.metrics._twonn import estimated_twonn

    return estimated_twonn(graph)


def _standard_error(graph: Any, labels: Any) -> Any:
    from rra_monitor.metrics._standard_error import estimated_standard_error

    return estimated_standard_error(graph)


def _peak(curve: Curve) -> float:
    """The largest ID of the layers in which it is defined; NaN if there is none."""
    defined = curve[~np.isnan(curve)]
    return float(defined.max()) if defined.size else float("nan")


QUANTITIES = (
    Quantity(
        "id",
        _dimension,
        title="Intrinsic dimension",
        symbol="ID",
        unit="dimensions",
        low=0,
        digits=1,
        depends_on_k=False,
        summaries={"peak": _peak, "last": last_layer},
        always=True,
    ),
    Quantity(
        "id_error",
        _standard_error,
        title="Standard error of the ID",
        symbol="± ID",
        unit="dimensions",
        low=0,
        better="lower",
        digits=1,
        depends_on_k=False,
        rank="side",
        error_of="id",
        summaries={},
        always=True,
    ),
)
