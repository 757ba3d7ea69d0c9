"""Intrinsic dimension (ID): how complex a representation is."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from rra_monitor.metrics._estimate import Estimate, or_warning
from rra_monitor.metrics._ratios import (
    Method,
    check_fit,
    exponential_rate,
    log_ratios,
    log_ratios_of_all,
    log_ratios_of_rows,
)
from rra_monitor.metrics._reduction import Graph, samples_of, sums_over_samples


def twonn(graph: Graph, method: Method = "ml", discard: float = 0.1) -> float:
    """The TwoNN estimate of the intrinsic dimension.

    With r1_i and r2_i the distances from sample i to its two nearest neighbours, and N the number of samples that have
    no duplicate (r1_i > 0), x_i = ln(r2_i / r1_i) follows an exponential distribution whose rate is the ID. In
    ascending order x_1 <= ... <= x_N, and with M = floor(N (1 - discard)):

    - "ml", maximum likelihood: ID = N / sum_i x_i.
    - "regression", Facco's fit through the origin of y_i = -ln(1 - i / N) against x_i, without the largest ratios:
      ID = sum_{i<=M} x_i y_i / sum_{i<=M} x_i^2.
    - "censored", maximum likelihood where the largest ratios are known only to be no smaller than the M-th:
      ID = M / (sum_{i<=M} x_i + (N - M) x_M). Like the regression it is not lowered by near-duplicates, whose
      ratios are huge, and its standard deviation is smaller.

    The number of samples matters: compare IDs of equal n and method only.

    Args:
        graph: a graph with k >= 2; of shards each rank sends two numbers by maximum likelihood, else 8 N bytes.
        method: "ml", "regression" or "censored".
        discard: fraction of the largest ratios that are left out, 0 to 1; no effect on "ml".

    Returns:
        The dimension, above 0; higher means a more complex representation. NaN, with a warning that states the reason,
        where it is undefined: fewer than 3 samples or less than a tenth of them have no duplicate, or all ratios (that
        were kept) are 1.

    Raises:
        ValueError: k < 2; an unknown method, a fraction outside 0 to 1.

    Source: Facco et al. 2017; Eq. 3.1 of the thesis.

    >>> from rra_monitor import knn_graph
    >>> graph = knn_graph([0.0, 1.0, 3.0, 7.0], k=2)  # ratios 3, 2, 1.5, 1.5
    >>> round(twonn(graph), 4) == round(4 / math.log(3 * 2 * 1.5 * 1.5), 4)
    True
    >>> round(twonn(graph, method="censored", discard=0.25), 4) == round(3 / math.log(2 * 2 * 1.5 * 1.5), 4)
    True
    """
    return or_warning(estimated_twonn(graph, method, discard), "ID undefined")


def estimated_twonn(graph: Graph, method: Method = "ml", discard: float = 0.1) -> Estimate:
    """The TwoNN dimension as `twonn` gives it, with the reason where it is undefined."""
    check_fit(method, discard)
    n = samples_of(graph)
    if method == "ml":
        sums = sums_over_samples(lambda: _count_and_sum(log_ratios(graph, 1, 2)), graph)
        count, total = int(sums[0]), float(sums[1])
        value = count / total if total > 0 else math.nan
    else:
        logs = np.sort(log_ratios_of_all(graph, 1, 2))
        count, value = len(logs), exponential_rate(logs, method, discard)
    return _defined(value, count, n)


def twonn_of_rows(distances: npt.NDArray[np.float32]) -> Estimate:
    """The maximum-likelihood TwoNN of some rows of a graph.

    Args:
        distances: (r, k) distances of the rows, k >= 2.

    Returns:
        The dimension as `twonn` gives it, with the reason where it is undefined.
    """
    count, total = _count_and_sum(log_ratios_of_rows(distances, 1, 2))
    return _defined(float(count / total) if total > 0 else math.nan, int(count), len(distances))


def _defined(value: float, count: int, n: int) -> Estimate:
    reason = undefined_reason(count, n, value)
    return Estimate(value) if reason is None else Estimate.undefined(reason)


def undefined_reason(count: int, n: int, value: float, neighbours: str = "two nearest neighbours") -> str | None:
    """The reason why an ID is undefined; None if it is defined.

    Args:
        count: number of samples that have no duplicate.
        n: number of all samples.
        value: the estimate, NaN where all ratios are 1.
        neighbours: text that names the neighbours whose distances it is computed from.
    """
    if count < max(3, n / 10):
        return f"{n - count} of {n} samples have a duplicate, {count} remain"
    if math.isnan(value):
        return f"all {count} samples are equally far from their {neighbours}"
    return None


def _count_and_sum(logs: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Number of rows without a duplicate, and their sum of ln(r2 / r1)."""
    return np.array([len(logs), logs.sum()])
