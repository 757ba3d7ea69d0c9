"""The curves of a snapshot while its layers come in, one after the other.

Several ranks share the work: each computes the quantities of graphs of some layers, the first those of features and of
pairs of layers, and at the end they exchange what they have.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rra_monitor.capture.names import split_view
from rra_monitor.graph.knn import KnnGraph
from rra_monitor.measure.memory_plan import Wanted
from rra_monitor.measure.quantity import Quantity
from rra_monitor.measure.settings import Curve
from rra_monitor.metrics._estimate import Estimate
from rra_monitor.utils.ranks import ALONE, Ranks

ROUNDING = 1e-9
"""Tolerance of a value outside the range of its quantity."""

APART = "it needs the features of the layer, which are never together here"


class Collector:
    """Computes quantities layer by layer, and those of pairs of layers at the end.

    A quantity whose function fails, or returns a value outside its range, is undefined in that layer, with the reason:
    a mistake in a user's function stops neither the snapshot nor the training. Errors of the quantities that are
    `always` there or `defined` everywhere are raised.

    Args:
        quantities: quantities to compute.
        labels: (n,) classes, or None for unlabelled data.
        ranks: processes that measure together; all of them add the same layers and end with the same values.

    Attributes:
        graphs: layer to graph, in execution order.
        reasons: name of a quantity and layer to the reason why it is undefined there; layer "" for pairs.
    """

    def __init__(
        self, quantities: Sequence[Quantity], labels: npt.NDArray[np.int64] | None, ranks: Ranks = ALONE
    ) -> None:
        self.graphs: dict[str, KnnGraph] = {}
        self.reasons: dict[tuple[str, str], str] = {}
        self._labels = labels
        self._ranks = ranks
        self._quantities = [one for one in quantities if labels is not None or not one.needs_labels]
        self._wanted = Wanted.by(self._quantities)
        self._values: dict[str, list[float]] = {one.name: [] for one in self._quantities if not one.of_pairs}
        self._kernels: list[Any] = []

    def add(self, layer: str, graph: KnnGraph, features: Any = None, kernel: Any = None) -> None:
        """Compute those quantities of one layer that are this rank's.

        Args:
            layer: name of the layer, or of a view of it.
            graph: graph of the layer.
            features: (n, …) features of the layer; None where they are never together in memory. The first rank's are
                looked at alone.
            kernel: `LinearKernel` of the layer; made from the features if it is needed and not given.
        """
        position, first = len(self.graphs), self._ranks.rank == 0
        self.graphs[layer] = graph
        view = split_view(layer)[1]
        if first and kernel is None and features is not None and self._wanted.kernel(view):
            from rra_monitor.metrics import linear_kernel

            kernel = linear_kernel(features)
        if self._wanted.kept(view):
            self._kernels.append(kernel)
        for quantity in self._quantities:
            if quantity.of_pairs:
                continue
            self._values[quantity.name].append(math.nan)
            if self._computed_by(quantity, position) == self._ranks.rank:
                estimate = self._estimate(quantity, graph, features, kernel)
                self._values[quantity.name][-1] = estimate.value
                if estimate.reason is not None:
                    self.reasons[quantity.name, layer] = estimate.reason

    def exchange(self) -> None:
        """Give every rank the values of all; with several ranks a collective call, before `curves` and `matrices`."""
        found = self._ranks.values(lambda: (self._values, self.reasons))
        for quantity in self._quantities:
            if not quantity.of_pairs:
                self._values[quantity.name] = [
                    found[self._computed_by(quantity, position)][0][quantity.name][position]
                    for position in range(len(self.graphs))
                ]
        reasons = {key: reason for _, theirs in found for key, reason in theirs.items()}
        order = {layer: position for position, layer in enumerate(self.graphs)}
        self.reasons = dict(sorted(reasons.items(), key=lambda item: order[item[0][1]]))

    def _computed_by(self, quantity: Quantity, position: int) -> int:
        """The rank that computes a quantity of a layer."""
        return position % self._ranks.size if quantity.of == "graph" else 0

    def curves(self) -> dict[str, Curve]:
        """Name of each quantity of layers to its (L,) values."""
        return {name: np.array(values, dtype=float) for name, values in self._values.items()}

    def matrices(self) -> dict[str, Curve]:
        """Name of each quantity of pairs to its (L, L) values; those of Gram matrices leave pooled views out.

        With several ranks a collective call.
        """
        found, reasons = self._ranks.values(lambda: self._matrices() if self._ranks.rank == 0 else ({}, {}))[0]
        self.reasons |= reasons
        return found

    def _matrices(self) -> tuple[dict[str, Curve], dict[tuple[str, str], str]]:
        matrices, reasons = dict[str, Curve](), dict[tuple[str, str], str]()
        for quantity in self._quantities:
            if quantity.of_pairs:
                given: list[Any] = list(self.graphs.values()) if quantity.of == "graph pairs" else self._kernels
                matrices[quantity.name], reason = _pairs(quantity, given)
                if reason is not None:
                    reasons[quantity.name, ""] = reason
        return matrices, reasons

    def _estimate(self, quantity: Quantity, graph: KnnGraph, features: Any, kernel: Any) -> Estimate:
        given: Mapping[str, tuple[Any, ...]] = {
            "graph": (graph, self._labels),
            "gram": (kernel,),
            "features": (features,),
        }
        arguments = given[quantity.of]
        return Estimate.undefined(APART) if arguments[0] is None else _checked(quantity, *_called(quantity, *arguments))


def _called(quantity: Quantity, *arguments: Any) -> tuple[Any, str | None]:
    """What the quantity's function returns, as a float or an array of them; None and the reason where it fails."""
    assert quantity.compute is not None
    try:
        value = quantity.compute(*arguments)
        if isinstance(value, Estimate):
            return value.value, value.reason
        return np.asarray(value, dtype=float) if quantity.of_pairs else float(value), None
    except Exception as error:  # whatever a user's function raises
        if quantity.always or quantity.defined:
            raise
        return None, f"its function failed: {error!r:.200}"


def _pairs(quantity: Quantity, given: list[Any]) -> tuple[Curve, str | None]:
    """The values of all pairs, and the reason where they are undefined."""
    shape = (len(given), len(given))
    nothing = np.full(shape, np.nan)
    if any(each is None for each in given):
        return nothing, APART
    values, reason = _called(quantity, given)
    if reason is not None:
        return nothing, reason
    if values.shape != shape:
        return nothing, f"its function gave an array of shape {values.shape}, expected {shape}"
    if (outside := quantity.outside(values, ROUNDING)).any():
        return np.where(outside, np.nan, values), _out_of_range(quantity, values[outside][0])
    return values, None


def _checked(quantity: Quantity, value: float | None, reason: str | None) -> Estimate:
    """The estimate; undefined, with the reason, where its value is NaN or outside the quantity's range."""
    if value is None or math.isnan(value):
        return Estimate.undefined(reason or "its function gave NaN")
    if quantity.outside(np.array(value), ROUNDING):
        return Estimate.undefined(_out_of_range(quantity, value))
    return Estimate(value)


def _out_of_range(quantity: Quantity, value: float) -> str:
    return f"its function gave {value:g}, expected {quantity.bounds}"
