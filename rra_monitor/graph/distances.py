"""Distances by direct difference, of candidates and of pairs: no cancellation, whatever the norms."""

import math
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import torch

from rra_monitor.graph.points import Points
from rra_monitor.graph.smallest import kernels_for
from rra_monitor.graph.workers import Workers, in_step, threads_for

CHUNK = 128
"""Features read together: a chunk of all samples stays in the cache while candidates are read from it in any order."""

CACHED = 1 << 20
"""Numbers of a chunk of all samples that stay in the cache, so that more than CHUNK features of few samples do."""

VANISHING = 1e-30
"""Squared distances below it, in units of the points' scale, may have lost their digits."""

BLOCK_BYTES = 128 << 20
"""Bound on a temporary block."""


def copied_features(n: int, dim: int) -> int:
    """Features of all samples that are copied together: a few CHUNKs of them, where they stay in the cache."""
    return min(dim, max(1, CACHED // (n * CHUNK)) * CHUNK)


def squared_distances(
    points: Points,
    rows: npt.NDArray[np.integer[Any]],
    candidates: npt.NDArray[np.integer[Any]],
    counts: npt.NDArray[np.int32] | None = None,
    *,
    double: bool = False,
) -> npt.NDArray[np.float32]:
    """Squared distances of some samples to candidates of their own, in units of the points' scale.

    Sums of a chunk of features in float32 are added in double, so the error does not grow with the dimension.

    Args:
        points: n samples on the CPU.
        rows: (r,) positions of the samples.
        candidates: (r, c) positions of other samples.
        counts: (r,) number of valid candidates of each row; all if None.
        double: whether differences and all sums are in float64.

    Returns:
        (r, c) squared distances; undefined beyond the counts.
    """
    if counts is None:
        counts = np.full(len(rows), candidates.shape[1], np.int32)
    squared = np.empty(candidates.shape, np.float32)
    height = max(1, BLOCK_BYTES // (8 * candidates.shape[1]))
    width = copied_features(points.n, points.dim)
    room = np.empty(points.n * width, np.float32)
    for top in range(0, len(rows), height):
        here = slice(top, top + height)
        sums = np.zeros((len(rows[here]), candidates.shape[1]))
        steps: list[Callable[[int, int], Any]] = []
        for start in range(0, points.dim, width):
            stop = min(start + width, points.dim)
            chunk = room[: points.n * (stop - start)].reshape(points.n, -1)
            steps.append(points.copying(start, stop, chunk))
            add = _add_squares_in_double if double else _add_squares
            steps.append(partial(add, chunk, rows[here], candidates[here], counts[here], sums))
        in_step(steps, threads_for(sums.size * points.dim))
        squared[here] = sums
    return squared


@numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def _add_squares(chunk: Any, rows: Any, candidates: Any, counts: Any, sums: Any, who: int, count: int) -> None:
    """Add squared differences to this thread's share of the rows, of four candidates at a time."""
    for r in range(len(rows) * who // count, len(rows) * (who + 1) // count):
        last = counts[r] - 1
        for c in range(0, counts[r], 4):
            second, third, fourth = min(c + 1, last), min(c + 2, last), min(c + 3, last)
            i, j, k = candidates[r, c], candidates[r, second], candidates[r, third]
            m = candidates[r, fourth]
            for left in range(0, chunk.shape[1], CHUNK):
                right = min(left + CHUNK, chunk.shape[1])
                own, p, q = chunk[rows[r], left:right], chunk[i, left:right], chunk[j, left:right]
                s, t = chunk[k, left:right], chunk[m, left:right]
                one = two = three = four = np.float32(0)
                for d in range(len(own)):
                    one += (own[d] - p[d]) * (own[d] - p[d])
                    two += (own[d] - q[d]) * (own[d] - q[d])
                    three += (own[d] - s[d]) * (own[d] - s[d])
                    four += (own[d] - t[d]) * (own[d] - t[d])
                sums[r, c] += one
                if second > c:
                    sums[r, second] += two
                if third > second:
                    sums[r, third] += three
                if fourth > third:
                    sums[r, fourth] += four


@numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def _add_squares_in_double(
    chunk: Any, rows: Any, candidates: Any, counts: Any, sums: Any, who: int, count: int
) -> None:
    for r in range(len(rows) * who // count, len(rows) * (who + 1) // count):
        own = chunk[rows[r]]
        for c in range(counts[r]):
            other = chunk[candidates[r, c]]
            total = 0.0
            for d in range(len(own)):
                difference = np.float64(own[d]) - np.float64(other[d])
                total += difference * difference
            sums[r, c] += total


def measured(points: Points, rows: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
    """(r, c) squared distances of samples (r,) to candidates (r, c), all tensors on the device of the points."""
    if points.device.type == "cpu":
        return torch.from_numpy(squared_distances(points, rows.numpy(), candidates.contiguous().numpy()))
    return squared_differences(points, rows, candidates).float()


def squared_differences(points: Points, rows: torch.Tensor, others: torch.Tensor, double: bool = False) -> torch.Tensor:
    """As `measured`, by a kernel where it can be compiled; (r, c) float64, infinite where the position is -1.

    Differences and sums of a chunk of features are in float32, or, where asked for, in float64.
    """
    exponent = -round(math.log2(points.scale))
    if (kernels := kernels_for(points.device)) is not None:
        chunk = LONGEST_CHUNK if double else _cached_features(points)
        sums: torch.Tensor = kernels.squared_differences(
            points.matrix, rows, others.contiguous(), exponent, chunk, double
        )
        return sums
    if points.device.type == "cpu":
        return measured(points, rows, others).double().masked_fill_(others < 0, math.inf)
    squared = torch.empty(others.shape, dtype=torch.float64, device=points.device)
    size, dtype = (8, torch.float64) if double else (4, torch.float32)
    width = max(1, min(others.shape[1], BLOCK_BYTES // (size * points.dim)))
    step = max(1, BLOCK_BYTES // (size * points.dim * width))
    for start, left in product(range(0, len(rows), step), range(0, others.shape[1], width)):
        here, there = slice(start, start + step), slice(left, left + width)
        differences = points.rows(others[here, there]).to(dtype)
        differences.sub_(points.rows(rows[here])[:, None]).div_(points.scale)
        squared[here, there] = differences.square_().sum(dim=2)
    return squared.masked_fill_(others < 0, math.inf)


LONGEST_CHUNK = 4096
"""Features read together on a GPU, at most."""

CHUNKS = (2048, 512)
"""Features read together on a GPU, the largest number first of which those of all samples fit its cache; otherwise
CHUNK of them. On an H100 256 of them took longer than 128 and than 512 at every shape that was tried."""

CACHE_SHARE = 0.85
"""Part of a GPU's cache that a chunk of all samples may take."""


def _cached_features(points: Points) -> int:
    """Features of which those of all samples fit a part of a GPU's cache."""
    on_gpu = points.device.type == "cuda"
    size = getattr(torch.cuda.get_device_properties(points.device), "L2_cache_size", 0) if on_gpu else 0
    fit = CACHE_SHARE * size / (points.n * points.matrix.dtype.itemsize)
    return next((chunk for chunk in CHUNKS if chunk <= fit), CHUNK)


def nearest(
    squared: npt.NDArray[np.float32],
    candidates: npt.NDArray[np.integer[Any]],
    counts: npt.NDArray[np.int32],
    k: int,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """(r, k) squared distances, ascending, and ids of the nearest candidates; equal distances by id.

    Undefined where fewer than k candidates are valid.
    """
    out = np.empty((len(squared), k), np.float32), np.empty((len(squared), k), np.int32)
    with Workers() as workers:
        workers.split(partial(_sort, squared, candidates, counts, *out), 0, len(squared))
    return out


@numba.njit(nogil=True, cache=True)
def _sort(squared: Any, candidates: Any, counts: Any, out: Any, out_ids: Any, start: int, stop: int) -> None:
    k = out.shape[1]
    for r in range(start, stop):
        if counts[r] < k:
            continue
        ids = candidates[r, : counts[r]]
        by_id = np.argsort(ids)
        by_distance = np.argsort(squared[r, : counts[r]][by_id], kind="mergesort")
        for position in range(k):
            chosen = by_id[by_distance[position]]
            out[r, position] = squared[r, chosen]
            out_ids[r, position] = ids[chosen]


PAIR_BYTES = 64 << 20
"""Bound on the differences of pairs held at once on a GPU."""


def pair_differences(
    own: torch.Tensor, others: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor
) -> torch.Tensor:
    """(p,) float64: |own[rows[p]] - others[columns[p]]|², equal for equal distances except for the last bit.

    Args:
        own: (n, d) real features.
        others: (m, d) real features on the same device.
        rows: (p,) positions in own.
        columns: (p,) positions in others.
    """
    squared = torch.empty(len(rows), dtype=torch.float64, device=own.device)
    if own.device.type == "cpu":
        arguments = (own.float().numpy(), others.float().numpy(), rows.numpy(), columns.numpy(), squared.numpy())
        with Workers() as workers:
            workers.split(partial(_differences, *arguments), 0, len(rows))
        return squared
    step = max(1, PAIR_BYTES // (8 * own.shape[1]))
    for start in range(0, len(rows), step):
        here = slice(start, start + step)
        squared[here] = (own[rows[here]].double() - others[columns[here]].double()).square_().sum(dim=1)
    return squared


@numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def _differences(own: Any, others: Any, rows: Any, columns: Any, out: Any, start: int, stop: int) -> None:
    for p in range(start, stop):
        a, b = own[rows[p]], others[columns[p]]
        total = 0.0
        for d in range(len(a)):
            difference = np.float64(a[d]) - np.float64(b[d])
            total += difference * difference
        out[p] = total


def refuse_vanished(points: Points, squared: torch.Tensor, ids: torch.Tensor) -> None:
    """Refuse outliers of 1e15 times the other distances: float32 squares of these vanish, and with them the ranking.

    Args:
        points: n samples.
        squared: (n, k) squared distances of the nearest of each, in units of the points' scale.
        ids: (n, k) their positions.

    Raises:
        ValueError: different samples whose squared distance vanishes.
    """
    small = (squared[: 0 if points.constant else None, 0] < VANISHING).nonzero()[:, 0]
    for own in torch.split(small, 256):
        other = ids[own, 0].long()
        if bool((points.rows(own.to(points.device)) != points.rows(other.to(points.device))).any()):
            raise ValueError(vanished(points.scale))


def vanished(scale: float) -> str:
    """The text of the error for different samples whose squared distance vanishes, in units of a scale squared."""
    return (
        f"the features span {scale:.0e}, beside which distances of other samples vanish in float32. "
        "Has the training diverged? Clip or leave out the outliers"
    )
