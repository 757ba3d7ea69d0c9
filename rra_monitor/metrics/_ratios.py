"""Ratios of neighbour distances, the input of every estimate of the intrinsic dimension."""

from __future__ import annotations

import math
from numbers import Real
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from rra_monitor.metrics._reduction import Graph, by_rank

Method = Literal["ml", "regression", "censored"]
"""The method that estimates the rate of ln(r2 / r1): see `twonn`."""


def log_ratios(graph: Graph, near: int, far: int) -> npt.NDArray[np.float64]:
    """ln(r_far / r_near) of the rows whose near-th neighbour is not a duplicate.

    Args:
        graph: a graph with k >= far.
        near: rank of the nearer neighbour, from 1.
        far: rank of the farther one.

    Returns:
        (N,) values, at least 0, in the order of the rows; N is below n where rows were left out.

    Raises:
        ValueError: k < far.
    """
    if graph.k < far:
        words = {2: "two"}.get(far, str(far))
        raise ValueError(
            f"the ID needs {words} neighbours per sample, the graph has k={graph.k}; build it with k >= {far}"
        )
    return log_ratios_of_rows(graph.distances, near, far)


def log_ratios_of_rows(distances: npt.NDArray[np.float32], near: int, far: int) -> npt.NDArray[np.float64]:
    """log(r_far / r_near) of (r, k) distances, k >= far, of any rows of a graph; rows with r_near = 0 are left out."""
    nearer, farther = (distances[:, rank - 1].astype(np.float64) for rank in (near, far))
    usable = nearer > 0
    return np.asarray(np.log(farther[usable] / nearer[usable]))


def log_ratios_of_all(graph: Graph, near: int, far: int) -> npt.NDArray[np.float64]:
    """log(r_far / r_near) of all samples; a collective call for shards."""
    return np.concatenate(by_rank(lambda: log_ratios(graph, near, far), graph))


def check_fit(method: str, discard: float) -> None:
    """Refuse an unknown method, and a fraction that cannot be discarded.

    Raises:
        ValueError: a method that is none of `Method`; a fraction outside 0 to 1, or 1.
    """
    if method not in get_args(Method):
        raise ValueError(f"method={method!r} is none of {', '.join(map(repr, get_args(Method)))}")
    if not isinstance(discard, Real) or not 0 <= discard < 1:
        raise ValueError(
            f"discard={discard} must lie in 0 to 1 (excluded): the fraction of the largest ratios left out"
        )


def exponential_rate(ascending: npt.NDArray[np.float64], method: str, discard: float) -> float:
    """The rate of an exponential distribution, estimated from N ascending values; see `twonn` for the formulas.

    NaN where it is undefined: no values left, or none of those kept above 0.
    """
    total = len(ascending)
    if method == "ml":
        scale, count = float(ascending.sum()), float(total)
    else:
        # F is 1 at the largest value: it cannot be fitted and is always left out.
        kept = min(int(total * (1 - discard)), total - 1)
        if kept < 1:
            return math.nan
        values = ascending[:kept]
        if method == "censored":
            scale, count = float(values.sum() + (total - kept) * values[-1]), float(kept)
        else:
            heights = -np.log1p(-np.arange(1, kept + 1) / total)
            scale, count = float(values @ values), float(values @ heights)
    return count / scale if scale > 0 else math.nan
