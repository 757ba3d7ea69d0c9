"""The settings of a snapshot, which decide whether it can be compared with another."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rra_monitor.capture.names import FULL
from rra_monitor.utils.text import brief

ESTIMATORS = ("ml", "regression", "censored")
"""The methods by which the intrinsic dimension is estimated, see `twonn`; the first one is the default."""

Curve = npt.NDArray[np.float64]
"""(L,) values, one per layer (and view) in execution order; (L, L) for pairs of layers."""


@dataclass(frozen=True, eq=False)
class Settings:
    """The settings of a snapshot, which decide whether it can be compared with another.

    Attributes:
        n: number of samples.
        k: number of neighbours.
        metric: distance metric.
        backend: requested backend of the graphs.
        ids: (n,) identities of the samples, in their order.
        labels: (n,) classes, or None for unlabelled data.
        fingerprint: hash of the inputs.
        views: requested views of every layer, see `pooled`.
        estimator: method by which the ID is estimated, see `twonn`; IDs of different ones are not compared.
    """

    n: int
    k: int
    metric: str
    backend: str
    ids: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64] | None
    fingerprint: str
    views: tuple[str, ...] = (FULL,)
    estimator: str = ESTIMATORS[0]

    @property
    def ndr(self) -> float:
        """Neighbour density ratio k / n (Eq. 5.1), which NNCS and NNLS depend on."""
        return self.k / self.n

    def dense_as(self, other: "Settings") -> bool:
        """Whether k / n is equal to within a tenth; k is a whole number, so small samples cannot be closer."""
        return same_density(self.k, self.n, other.k, other.n)


def check_estimator(value: object) -> str:
    """The estimator itself.

    Raises:
        ValueError: anything but one of the `ESTIMATORS`.
    """
    if not isinstance(value, str) or value not in ESTIMATORS:
        raise ValueError(f"estimator={brief(value)}; expected one of {', '.join(map(repr, ESTIMATORS))}")
    return value


def same_density(k: int, n: int, other_k: int, other_n: int) -> bool:
    """Whether k / n and other_k / other_n differ by a tenth at most.

    >>> same_density(12, 1260, 3, 300), same_density(12, 1260, 4, 300)
    (True, False)
    """
    low, high = sorted((k * other_n, other_k * n))
    return 10 * high <= 11 * low
