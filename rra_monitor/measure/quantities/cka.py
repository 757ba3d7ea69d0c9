"""Linear centred kernel alignment (CKA) of pairs of layers: a similarity that depends on all distances.

See `rra_monitor.metrics.linear_cka` for formula, range and source.
"""

from collections.abc import Sequence
from typing import Any

from rra_monitor.measure.quantity import Quantity


def _alignments(kernels: Sequence[Any]) -> Any:
    from rra_monitor.metrics._cka import alignments

    return alignments(kernels)


QUANTITIES = (
    Quantity(
        "cka",
        _alignments,
        of="gram pairs",
        title="Linear CKA",
        symbol="CKA",
        low=0,
        high=1,
    ),
)
