"""The intrinsic dimension over scales: is it one number, or does it change with the distance?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rra_monitor.metrics._estimate import Estimate, or_warning
from rra_monitor.metrics._ratios import log_ratios
from rra_monitor.metrics._reduction import Graph, by_rank, samples_of
from rra_monitor.metrics._twonn import undefined_reason


@dataclass(frozen=True, eq=False)
class Scales:
    """The ID by scale, finest first.

    Attributes:
        near: (s,) rank of the nearer neighbour: 1, 2, 4, ...
        far: (s,) rank of the farther one: 2, 4, 8, ...
        dimensions: (s,) the ID at each scale, above 0; NaN where undefined.
        standard_errors: (s,) standard errors from the curvature of the likelihood, as for independent samples. Samples
            near each other share neighbours: on manifolds of dimension 2, 5 and 20 the standard deviation of the
            estimates was 1.0 to 1.4 times as large, and larger with near-duplicates.
        radii: (s,) the mean distance to the farther neighbour, in units of the features.
    """

    near: npt.NDArray[np.int64]
    far: npt.NDArray[np.int64]
    dimensions: npt.NDArray[np.float64]
    standard_errors: npt.NDArray[np.float64]
    radii: npt.NDArray[np.float64]


def gride(graph: Graph) -> Scales:
    """The generalised-ratios estimate of the intrinsic dimension, at each doubling of the neighbours' rank.

    Formula: with L_i = ln(r_b / r_a) of the samples with r_a > 0, for a = 1, 2, 4, ... and b = 2a <= k, the ID is the
    only root d of N / d + (b - a - 1) sum_i L_i / (1 - exp(-d L_i)) - (b - 1) sum_i L_i = 0, where the likelihood is
    largest. At a = 1 this is TwoNN. A dimension can be trusted where the curve is flat over some scales; a curve that
    falls from the first scale on shows noise around a simpler manifold, or curvature and borders.

    Args:
        graph: a graph with k >= 2; the scales go up to its k.

    Returns:
        The dimensions by scale; higher means more complex. NaN, with a warning that states the reason, where undefined:
        see `twonn`.

    Raises:
        ValueError: k < 2.

    Source: Denti, Doimo, Laio and Mira 2022.

    >>> from rra_monitor import knn_graph
    >>> scales = gride(knn_graph([0.0, 1.0, 3.0, 7.0, 15.0], k=4))
    >>> scales.near, scales.far
    (array([1, 2]), array([2, 4]))
    """
    near = 2 ** np.arange(max(1, int(graph.k).bit_length() - 1))
    n = samples_of(graph)

    def own() -> tuple[npt.NDArray[np.float64], list[npt.NDArray[np.float64]]]:
        logs = [log_ratios(graph, int(rank), 2 * int(rank)) for rank in near]
        return graph.distances[:, 2 * near - 1].sum(axis=0, dtype=np.float64), logs

    sums, logs = zip(*by_rank(own, graph), strict=True)
    fits = np.array([_fitted(np.concatenate(of_one), n, int(rank)) for rank, *of_one in zip(near, *logs, strict=True)])
    return Scales(near, 2 * near, fits[:, 0], fits[:, 1], np.sum(sums, axis=0) / n)


def _fitted(logs: npt.NDArray[np.float64], n: int, near: int) -> tuple[float, float]:
    """The ID between ranks near and 2 near, and its standard error."""
    value = most_likely_dimension(logs, near, 2 * near)
    reason = undefined_reason(len(logs), n, value, f"{near}-th and {2 * near}-th neighbours")
    if reason is not None:
        return or_warning(Estimate.undefined(reason), "ID undefined", stacklevel=4), math.nan
    return value, 1 / math.sqrt(-_slope(value, logs, 2 * near - near - 1))


def most_likely_dimension(logs: npt.NDArray[np.float64], near: int, far: int) -> float:
    """The dimension at which N values of ln(r_far / r_near) are most likely; NaN where all are 0.

    The derivative of the log-likelihood falls with d and is convex, and at d = N / (near sum L) it is not below 0:
    Newton's steps from there approach the root and never pass it.
    """
    total = float(logs.sum())
    if total == 0:
        return math.nan
    between = far - near - 1
    value = len(logs) / (near * total)
    if between == 0:
        return value
    for _ in range(100):
        height = len(logs) / value + between * float(_tail(value, logs).sum()) - (far - 1) * total
        step = height / -_slope(value, logs, between)
        value += step
        if abs(step) <= 1e-12 * value:
            break
    return value


def _tail(value: float, logs: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """L / (1 - exp(-d L)), with its limit 1 / d at L = 0, so that ties need no special case."""
    shrunk = -np.expm1(-value * logs)
    return np.divide(logs, shrunk, out=np.full_like(logs, 1 / value), where=shrunk > 0)


def _slope(value: float, logs: npt.NDArray[np.float64], between: int) -> float:
    """The second derivative of the log-likelihood, below 0."""
    # (L / (2 sinh(d L / 2)))^2 as a product that does not overflow, 1 / d^2 at L = 0.
    bends = _tail(value, logs) ** 2 * np.exp(-value * logs)
    return -len(logs) / value**2 - between * float(bends.sum())
