"""A few random rows of a graph against float64, to detect a bound that does not hold."""

import warnings
from functools import partial
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import torch

from rra_monitor.graph.distances import BLOCK_BYTES
from rra_monitor.graph.knn import TIE_TOLERANCE
from rra_monitor.graph.points import Points
from rra_monitor.graph.workers import Workers

CHECKED = 4
"""Rows of a check, at most: at n = 10,000 they take less than 1 % of the graph's time (benchmarks/exactness.py)."""


def wrong_rows(points: Points, indices: npt.NDArray[np.int32]) -> tuple[int, int]:
    """The number of rows of a graph that were compared with float64, and the number of these that are wrong.

    Args:
        points: n samples.
        indices: (n, k) neighbours to check.
    """
    rows = rows_to_check(indices, points.n)
    return len(rows), count_wrong(true_rows(points, rows), indices[rows])


def rows_to_check(indices: npt.NDArray[np.int32], n: int) -> npt.NDArray[np.int64]:
    """The rows to check of n: random, different for different graphs, the same for the same graph."""
    seed = int(indices.sum(dtype=np.int64))
    return np.sort(np.random.default_rng(seed).choice(n, min(CHECKED, n), replace=False))


def count_wrong(squared: npt.NDArray[np.float64], neighbours: npt.NDArray[np.int32]) -> int:
    """The number of rows in which a neighbour is farther than the k-th true one, except for ties.

    Args:
        squared: (s, n) true squared distances of some samples to all, infinite to themselves.
        neighbours: (s, k) positions of their neighbours in a graph.
    """
    k = neighbours.shape[1]
    kth = np.partition(squared, k - 1, axis=1)[:, k - 1]
    farthest = np.take_along_axis(squared, neighbours.astype(np.int64), axis=1).max(axis=1)
    return int(np.count_nonzero(~(farthest <= kth * (1 + TIE_TOLERANCE) ** 2)))


def true_rows(points: Points, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """(s, n) squared distances of some samples to all, in float64."""
    squared = np.empty((len(rows), points.n))
    own = points.rows(torch.from_numpy(rows).to(points.device))
    whole = points.device.type == "cpu" and points.matrix.dtype == torch.float32  # read where it lies
    step = points.n if whole else max(1, BLOCK_BYTES // (8 * points.dim))
    with Workers() as workers:
        for start in range(0, points.n, step):
            block = points.rows(slice(start, start + step))
            squared[:, start : start + step] = squares(own, block, workers)
    squared[np.arange(len(rows)), rows] = np.inf
    return squared


def squares(own: torch.Tensor, block: torch.Tensor, workers: Workers) -> npt.NDArray[np.float64]:
    """(s, b) squared distances in float64 between (s, d) and (b, d) samples."""
    if not len(own):
        return np.empty((0, len(block)))
    if block.device.type != "cpu":
        return torch.stack([(block.double() - one.double()).square_().sum(dim=1) for one in own]).cpu().numpy()
    out = np.empty((CHECKED, len(block)))
    one, two, three, four = own.double().numpy()[np.arange(CHECKED) % len(own)]
    workers.split(partial(_squares_of_four, one, two, three, four, block.float().numpy(), out), 0, len(block))
    return out[: len(own)]


@numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def _squares_of_four(one: Any, two: Any, three: Any, four: Any, block: Any, out: Any, start: int, stop: int) -> None:
    # Reading takes most of the time: four at once, and chunks of these stay in the cache for several samples.
    for top in range(start, stop, 16):
        bottom = min(top + 16, stop)
        out[:, top:bottom] = 0.0
        for left in range(0, block.shape[1], 512):
            here = slice(left, min(left + 512, block.shape[1]))
            w, x, y, z = one[here], two[here], three[here], four[here]
            for j in range(top, bottom):
                other, a, b, c, d = block[j, here], 0.0, 0.0, 0.0, 0.0
                for i in range(len(other)):
                    value = np.float64(other[i])
                    a += (w[i] - value) * (w[i] - value)
                    b += (x[i] - value) * (x[i] - value)
                    c += (y[i] - value) * (y[i] - value)
                    d += (z[i] - value) * (z[i] - value)
                out[0, j] += a
                out[1, j] += b
                out[2, j] += c
                out[3, j] += d


def warn(wrong: int, checked: int, n: int, dim: int) -> None:
    """Warn that a certificate failed."""
    warnings.warn(
        f"{wrong} of {checked} rows of the nearest-neighbour graph of {n:,} samples of {dim:,} features were wrong, "
        "found by comparison with float64; the graph was built again in float64 and is right. Please report this: "
        "a bound on rounding errors does not hold for these features on this processor",
        RuntimeWarning,
        stacklevel=2,
    )
