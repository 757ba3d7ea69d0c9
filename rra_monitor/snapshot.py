"""A snapshot: one probe at one step of the training."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rra_monitor.graph.knn import KnnGraph
from rra_monitor.metrics.chance import nncs_chance, nnls_chance

Curve = npt.NDArray[np.float64]
"""(L,) values, one per layer in execution order."""


@dataclass(frozen=True, eq=False)
class Settings:
    """What a snapshot was measured with: what decides whether it can be compared with another.

    Attributes:
        n: number of samples.
        k: number of neighbours.
        metric: of the distances.
        backend: that built the graphs.
        ids: (n,) identities of the samples, in their order.
        labels: (n,) classes, or None for unlabelled data.
        fingerprint: of the inputs' contents.
    """

    n: int
    k: int
    metric: str
    backend: str
    ids: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64] | None
    fingerprint: str

    @property
    def ndr(self) -> float:
        """Neighbour density ratio k / n (Eq. 5.1), which NNCS and NNLS depend on."""
        return self.k / self.n


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The state of every watched layer for one fixed sample, at one step.

    Attributes:
        probe: name of the sample, `train` say.
        step: optimiser steps taken.
        epoch: epochs completed; 0 is the untrained network.
        layers: names in execution order; `input` is the raw data.
        id: (L,) intrinsic dimensions, NaN where undefined.
        nncs: (L,) class similarities, 0 to 1; None for unlabelled data.
        nnls: (L, L) layer similarities, 0 to 1, symmetric with a diagonal of ones.
        ties: (L,) shares of samples with a tied k-th distance.
        zeros: (L,) shares of samples with a duplicate.
        recall: (L,) recalls of the graphs.
        settings: what it was measured with.
        graphs: layer name to graph; empty where they were not kept.
        seconds: that measuring took.
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
    settings: Settings
    graphs: Mapping[str, KnnGraph] = field(default_factory=dict, repr=False)
    seconds: float = 0.0

    @property
    def nncs_chance(self) -> float | None:
        """The NNCS of features without class information; None for unlabelled data."""
        return None if self.settings.labels is None else nncs_chance(self.settings.labels)

    @property
    def nnls_chance(self) -> float:
        """The NNLS of unrelated layers."""
        return nnls_chance(self.settings.n, self.settings.k)
