"""A snapshot: one probe at one step of the training."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rra_monitor.capture.names import FULL, layer_view, split_view
from rra_monitor.graph.knn import KnnGraph
from rra_monitor.metrics import nncs_chance, nnls_chance

Curve = npt.NDArray[np.float64]
"""(L,) values, one per layer (and view) in execution order."""


@dataclass(frozen=True, eq=False)
class Settings:
    """The settings of a snapshot, which decide whether it can be compared with another.

    Attributes:
        n: number of samples.
        k: number of neighbours.
        metric: distance metric.
        backend: which backend built the graphs.
        ids: (n,) identities of the samples, in their order.
        labels: (n,) classes, or None for unlabelled data.
        fingerprint: hash of the inputs.
        views: views of every layer that were asked for, see `pooled`.
    """

    n: int
    k: int
    metric: str
    backend: str
    ids: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64] | None
    fingerprint: str
    views: tuple[str, ...] = (FULL,)

    @property
    def ndr(self) -> float:
        """Neighbour density ratio k / n (Eq. 5.1), which NNCS and NNLS depend on."""
        return self.k / self.n

    def dense_as(self, other: "Settings") -> bool:
        """Whether k / n is equal to a tenth; k is a whole number, so small samples cannot be closer."""
        return same_density(self.k, self.n, other.k, other.n)


def same_density(k: int, n: int, other_k: int, other_n: int) -> bool:
    """Whether k / n and other_k / other_n differ by a tenth at most.

    >>> same_density(12, 1260, 3, 300), same_density(12, 1260, 4, 300)
    (True, False)
    """
    low, high = sorted((k * other_n, other_k * n))
    return 10 * high <= 11 * low


@dataclass(frozen=True, eq=False)
class ViewRows:
    """The positions of one view of every layer in a snapshot.

    Attributes:
        layers: (M,) layers that have the view, in execution order.
        names: (M,) its names in `Snapshot.layers`; another view's name where the two are equal.
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
        id: (L,) intrinsic dimensions, NaN where undefined.
        nncs: (L,) class similarities, 0 to 1; None for unlabelled data.
        nnls: (L, L) layer similarities, 0 to 1, symmetric with a diagonal of ones.
        ties: (L,) fractions of samples with a tied k-th distance.
        zeros: (L,) fractions of samples with a duplicate.
        recall: (L,) recalls of the graphs.
        id_error: (L,) standard errors of the IDs over draws of the samples, see `twonn_standard_error`, NaN where
            undefined.
        hubness: (L,) skewnesses of the k-occurrence; above about 1 some samples are neighbours of very many.
        settings: settings it was measured with.
        checked: (L,) rows of each graph that were compared with float64, see `KnnGraph`.
        failed: (L,) how many of these were wrong, so that the graph was built again in double precision; normally 0.
            None, like `checked`, in a run stored by 0.1.0.
        cka: (M, M) linear CKA of the full views of all pairs of layers, 0 to 1; None unless it was asked for.
        graphs: layer name to graph; empty where they were not kept.
        aliases: views that equal another one and were measured once: `{"layer3.0@avg8": "layer3.0@avg-global"}`.
        seconds: time that measuring took.
    """

    probe: str
    step: int
    epoch: int
    layers: tuple[str, ...]
    id: Curve
    nncs: Curve | None
    nnls: Curve
    ties: Curve
    zeros: Curve
    recall: Curve
    id_error: Curve
    hubness: Curve
    settings: Settings
    checked: Curve | None = None
    failed: Curve | None = None
    cka: Curve | None = None
    graphs: Mapping[str, KnnGraph] = field(default_factory=dict, repr=False)
    aliases: Mapping[str, str] = field(default_factory=dict, repr=False)
    seconds: float = 0.0

    @property
    def nncs_chance(self) -> float | None:
        """The NNCS of features without class information; None for unlabelled data."""
        return None if self.settings.labels is None else nncs_chance(self.settings.labels)

    @property
    def nnls_chance(self) -> float:
        """The NNLS of unrelated layers."""
        return nnls_chance(self.settings.n, self.settings.k)

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
