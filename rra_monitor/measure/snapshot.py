"""A snapshot: one probe at one step of the training."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from rra_monitor.capture.names import FULL, layer_view, split_view
from rra_monitor.graph.knn import KnnGraph
from rra_monitor.measure.quantities import STANDARD
from rra_monitor.measure.quantity import Quantity
from rra_monitor.measure.settings import Curve, Settings

Weights = Literal["current", "averaged"]
WEIGHTS = ("current", "averaged")


@dataclass(frozen=True, eq=False)
class ViewRows:
    """The positions of one view of every layer in a snapshot.

    Attributes:
        layers: (M,) layers that have the view, in execution order.
        names: (M,) names of the view in `Snapshot.layers`; another view's name where the two are equal.
        indices: (M,) positions in `Snapshot.layers`.
    """

    layers: tuple[str, ...]
    names: tuple[str, ...]
    indices: npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The state of every watched layer for one fixed sample, at one step.

    Attributes:
        probe: name of the sample, for example `train`.
        step: optimiser steps taken.
        epoch: epochs completed; 0 is the untrained network.
        layers: names in execution order; `input` is the raw data. A layer's views follow it: `layer2.0`,
            `layer2.0@avg4`.
        curves: name of each quantity of layers to its (L,) values, NaN where undefined. `id`, `nncs` and others are
            properties, too.
        matrices: name of each quantity of pairs to its (L, L) values: `nnls`; `cka`, if it was asked for, of the layers
            without their pooled views.
        settings: settings it was measured with.
        quantities: quantities that were measured, in the order in which they are shown.
        graphs: layer name to graph; empty where they were not kept.
        aliases: views that equal another one and were measured once: `{"layer3.0@avg8": "layer3.0@avg-global"}`.
        seconds: time that measuring took.
        weights: whose weights the network had: "current" ones of the training, or "averaged" ones of a callback.
    """

    probe: str
    step: int
    epoch: int
    layers: tuple[str, ...]
    curves: Mapping[str, Curve]
    matrices: Mapping[str, Curve]
    settings: Settings
    quantities: tuple[Quantity, ...] = STANDARD
    graphs: Mapping[str, KnnGraph] = field(default_factory=dict, repr=False)
    aliases: Mapping[str, str] = field(default_factory=dict, repr=False)
    seconds: float = 0.0
    weights: Weights = "current"

    @property
    def id(self) -> Curve:
        """(L,) intrinsic dimensions, NaN where undefined."""
        return self.curves["id"]

    @property
    def id_error(self) -> Curve:
        """(L,) standard errors of the IDs over draws of the samples; NaN where undefined."""
        return self.curves["id_error"]

    @property
    def id_censored(self) -> Curve | None:
        """(L,) IDs by the censored estimate, which near-duplicates do not lower.

        None where `id` is by another estimator than maximum likelihood, and in a run stored by 0.2.0 or before.
        """
        return self.curves.get("id_censored")

    @property
    def near_duplicates(self) -> Curve | None:
        """(L,) fractions of samples with a near-duplicate, in layers whose ID these rule, else 0.

        None in a run stored by 0.2.0 or before.
        """
        return self.curves.get("near_duplicates")

    @property
    def nncs(self) -> Curve | None:
        """(L,) class similarities, 0 to 1, higher is more separable; None for unlabelled data."""
        return self.curves.get("nncs")

    @property
    def nnls(self) -> Curve:
        """(L, L) layer similarities, 0 to 1, higher is more similar; symmetric with a diagonal of ones."""
        return self.matrices["nnls"]

    @property
    def cka(self) -> Curve | None:
        """(M, M) linear CKA of the full views of all pairs of layers, 0 to 1; None unless it was asked for."""
        return self.matrices.get("cka")

    @property
    def ties(self) -> Curve:
        """(L,) fractions of samples with a tied k-th distance."""
        return self.curves["ties"]

    @property
    def zeros(self) -> Curve:
        """(L,) fractions of samples with a duplicate."""
        return self.curves["zeros"]

    @property
    def recall(self) -> Curve:
        """(L,) recalls of the graphs."""
        return self.curves["recall"]

    @property
    def hubness(self) -> Curve:
        """(L,) skewnesses of the k-occurrence; above about 1 some samples are neighbours of very many."""
        return self.curves["hubness"]

    @property
    def checked(self) -> Curve | None:
        """(L,) rows of each graph that were compared with float64, see `KnnGraph`; None in a run stored by 0.1.0."""
        return self.curves.get("checked")

    @property
    def failed(self) -> Curve | None:
        """(L,) number of these rows that were wrong, so that the graph was built again in double precision; normally 0.

        None in a run stored by 0.1.0.
        """
        return self.curves.get("failed")

    @property
    def nncs_chance(self) -> float | None:
        """The NNCS of features without class information; None for unlabelled data."""
        return self.chance("nncs")

    @property
    def nnls_chance(self) -> float:
        """The NNLS of unrelated layers."""
        level = self.chance("nnls")
        assert level is not None
        return level

    def chance(self, name: str) -> float | None:
        """The chance level of one quantity; None where it has none."""
        return next(one.chance_for(self.settings) for one in self.quantities if one.name == name)

    def chances(self) -> dict[str, float]:
        """Name of each quantity that has a chance level to that level."""
        levels = ((one.name, one.chance_for(self.settings)) for one in self.quantities)
        return {name: chance for name, chance in levels if chance is not None}

    def measured(self) -> list[tuple[Quantity, Curve]]:
        """Each quantity of layers that has a curve here, with its values."""
        return [(one, self.curves[one.name]) for one in self.quantities if one.name in self.curves]

    def main(self) -> list[tuple[Quantity, Curve]]:
        """The measured quantities that are logged layer by layer and shown first."""
        return [(one, curve) for one, curve in self.measured() if one.rank == "main"]

    def changed(self, **values: Curve | None) -> "Snapshot":
        """A copy with other values of some quantities, by name; None removes one."""
        pairs = {one.name for one in self.quantities if one.of_pairs}
        curves, matrices = dict(self.curves), dict(self.matrices)
        for name, value in values.items():
            here = matrices if name in pairs else curves
            here.pop(name, None)
            if value is not None:
                here[name] = value
        return replace(self, curves=curves, matrices=matrices)

    def view(self, view: str = FULL) -> ViewRows:
        """The rows of one view, equal views included: `snapshot.id[snapshot.view("avg4").indices]` is its ID curve.

        Raises:
            ValueError: a view that was not measured.
        """
        if view not in self.settings.views:
            raise ValueError(f"view {view!r} was not measured; this snapshot has {', '.join(self.settings.views)}")
        position = {name: index for index, name in enumerate(self.layers)}
        rows = {}
        for layer, kind in map(split_view, self.layers):
            name = layer_view(layer, view)
            name = self.aliases.get(name, name)
            if kind == FULL and name in position:
                rows[layer] = name
        indices = np.array([position[name] for name in rows.values()], dtype=np.intp)
        return ViewRows(tuple(rows), tuple(rows.values()), indices)

    def intra(self, view: str) -> Curve:
        """(M, M) NNLS of one view of every layer with the same view of every layer, 0 to 1.

        Source: thesis, Algorithm 1 and 6.5.
        """
        rows = self.view(view).indices
        return self.nnls[np.ix_(rows, rows)]

    def inter(self, view: str) -> Curve:
        """(L, M) NNLS of every layer as it is (rows) with one view of every layer (columns), 0 to 1.

        Formula: Q(H_a^1, H_b^view), layer a, layer b. Its diagonal tells how much of a layer's neighbourhoods the view
        preserves.

        Source: thesis, Eq. 6.1.
        """
        return self.nnls[np.ix_(self.view().indices, self.view(view).indices)]

    def id_difference(self, view: str) -> Curve:
        """(L,) ID of a view minus the ID of the layer as it is; NaN where undefined or the layer has no such view.

        For a global view, the difference is the complexity of the local features (6.3); 0 where the layer has none,
        because its views are equal.
        """
        base, rows = self.view(), self.view(view)
        column = dict(zip(rows.layers, rows.indices, strict=True))
        return np.array(
            [
                self.id[column[layer]] - self.id[index] if layer in column else np.nan
                for layer, index in zip(base.layers, base.indices, strict=True)
            ]
        )
