"""Every candidate that could be among the nearest, from products in low precision: exact by a bound on the error.

On the CPU. Samples are centred and rounded to bfloat16, whose products are several times as fast on processors that
have them. The rounding error of each sample is measured, and a distance changes by at most the errors of its two ends.
So every sample that is truly as near as the k-th lies within a shell a little wider than the k-th rounded distance; it
holds a few more candidates than k, whose distances are computed from differences. A sample whose shell reaches beyond
its shortlist is left to another method. Where bfloat16 does not pay, float32 is used in the same way.
"""

import math
from collections.abc import Mapping
from functools import partial
from itertools import combinations_with_replacement
from queue import SimpleQueue
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import torch

from rra_monitor.graph.bounds import SMALLEST, UNIT, squared_error, vanishing
from rra_monitor.graph.distances import BLOCK_BYTES
from rra_monitor.graph.points import Points
from rra_monitor.graph.precision import bfloat16_pays
from rra_monitor.graph.shortlist import Errors, Shortlist
from rra_monitor.graph.workers import Workers

TILES = (1024, 512, 256, 128)
"""Samples per side of a tile: the largest is taken that leaves enough tiles for all threads and fits the memory."""

SAMPLE = 1024
"""Samples, at most, from whose distances the first thresholds are estimated."""

DIFFERENCE = 17
"""Cost of a direct difference of a feature, in float32 multiply-adds of a blocked product; measured at n = 10,000."""

CANDIDATE = 16_000
"""Cost of picking and sorting a candidate, in the same unit."""

PILOT = 32
"""Samples whose shells are computed first, to choose the precision and the length of the shortlists."""


AT_ONCE = 1 << 18
"""Features of all samples together that a thread prepares at once: they stay in the cache, but for a sample."""

COMPARED = 384
"""Samples, at least, that these are compared with: of more than five times as many a fifth."""

PILOT_BYTES = 1 << 27
"""Bound on the pilot's samples, but for a few."""

PREPARED = 16
"""Bytes of what is computed of a feature while a sample is prepared."""

PIECE = 2048
"""Features that are prepared together."""

CHECKS = 128
"""Bytes for each feature, of its range and of the samples of a spot check."""


class TooWide(Exception):
    """The memory budget holds no block of samples with all of their features."""


def sifted(
    points: Points, k: int, memory_budget: int, workers: Workers
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """Candidates of every sample: (n, room) ids, (n,) number of valid ids, (n,) whether some may be missing.

    Raises:
        TooWide: a memory budget below one block.
    """
    if _pilot_bytes(points) > memory_budget:
        raise TooWide
    dtype, keep = _plan(points, k)
    tile, height = _sides(points, Shortlist.room(keep), dtype, memory_budget, workers.count)
    sieve = _Sieve(points, keep, dtype, tile, workers)
    # Blocks of samples are held as far as the memory goes; the samples after a block are prepared tile by tile.
    block = torch.empty((min(height, points.n), points.dim), dtype=dtype)
    passing = torch.empty((tile if height < points.n else 0, points.dim), dtype=dtype)
    for top in range(0, points.n, height):
        tiles = sieve.tiles(top, block)
        sieve.add(list(combinations_with_replacement(tiles, 2)))
        for column in range(top + height, points.n, tile):
            others = sieve.tiles(column, passing)
            sieve.add([(own, others[0]) for own in tiles])
    return sieve.shortlist.within(k, sieve.errors(), workers)


class _Sieve:
    """Tiles of samples and the candidates from their products."""

    def __init__(self, points: Points, keep: int, dtype: torch.dtype, side: int, workers: Workers) -> None:
        n = points.n
        self._points, self._side, self._workers = points, side, workers
        self._dtype = dtype
        self._norms, self._moved = torch.full((n,), torch.nan, dtype=torch.float32), torch.empty(n, dtype=torch.float32)
        self.shortlist = Shortlist(self._norms.numpy(), keep, side)
        # Random samples, since neighbours in the given order may be of one class.
        drawn = np.sort(np.random.default_rng(0).choice(n, sampled(n), replace=False))
        self._sample = torch.empty((len(drawn), points.dim), dtype=dtype)
        self._sample_norms = torch.empty(len(drawn), dtype=torch.float32)
        drop = torch.empty(len(drawn), dtype=torch.float32)
        self._prepare(torch.from_numpy(drawn), self._sample, self._sample_norms, drop, 0, len(drawn))
        self._rank = _rank(keep, len(drawn), n)
        self._rooms: SimpleQueue[tuple[torch.Tensor, torch.Tensor]] = SimpleQueue()
        for _ in range(workers.count):
            self._rooms.put((torch.empty(side * side, dtype=dtype), torch.empty(side * side)))

    def tiles(self, start: int, out: torch.Tensor) -> list[tuple[int, torch.Tensor]]:
        """The samples from `start` on, prepared in `out`, as tiles with their positions."""
        out = out[: self._points.n - start]
        which, here = torch.arange(start, start + len(out)), slice(start, start + len(out))
        norms, moved = self._norms[here], self._moved[here]
        new = bool(norms.isnan().any())
        self._workers.split(partial(self._prepare, which, out, norms, moved), 0, len(out))
        tiles = [(start + first, out[first : first + self._side]) for first in range(0, len(out), self._side)]
        if new:
            self._workers.each(self._begin, tiles)
        return tiles

    def add(self, pairs: list[tuple[tuple[int, torch.Tensor], tuple[int, torch.Tensor]]]) -> None:
        """Offer the samples of two tiles to each other, for each pair of tiles."""
        self._workers.each(self._add, pairs)

    def errors(self) -> Errors:
        """Bounds on the errors of preparation and products."""
        moved, lengths = self._moved.double(), self._norms.double().sqrt()
        relative = torch.where(moved > 0, moved / (lengths - moved).clamp_(min=0), 0.0)  # |x| >= |y| - |y - x|
        dim, rounded = self._points.dim, self._dtype != torch.float32
        return Errors(
            moved=self._moved.numpy(),
            relative=float(relative.max()) * (1 + 1e-6),
            product=UNIT[self._dtype] if rounded else 0.0,  # in float32 it is one of the sum's roundings
            summed=squared_error(dim, torch.float32),
            floor=vanishing(dim),
        )

    def _prepare(
        self, which: torch.Tensor, out: torch.Tensor, norms: torch.Tensor, moved: torch.Tensor, start: int, stop: int
    ) -> None:
        """Write samples centred, scaled and rounded to out's type; their squared norms and how far they moved."""
        if (features := self._points.in_place) is not None:
            given = features, which.numpy(), self._points.centre.numpy(), np.float32(1 / self._points.scale)
            found = norms.numpy(), moved.numpy(), start, stop
            if out.dtype == torch.bfloat16:
                _prepare_bfloat16(*given, out.view(torch.int16).numpy(), *found)
            else:
                _prepare_float32(*given, out.numpy(), *found)
            return
        step = max(1, min(64, AT_ONCE // self._points.dim))
        for first in range(start, stop, step):
            here = slice(first, min(first + step, stop))
            made = self._points.centred(which[here])
            rounded = out[here].copy_(made)
            _norms_and_moves(made.numpy(), rounded.float().numpy(), norms[here].numpy(), moved[here].numpy())

    def _begin(self, tile: tuple[int, torch.Tensor]) -> None:
        start, rows = tile
        products = torch.mm(rows, self._sample.T).float()
        self.shortlist.begin(products.numpy(), start, self._sample_norms.numpy(), self._rank)

    def _add(self, pair: tuple[tuple[int, torch.Tensor], tuple[int, torch.Tensor]]) -> None:
        (row, rows), (column, columns) = pair
        low, single = self._rooms.get()
        size = len(rows) * len(columns)
        products = torch.mm(rows, columns.T, out=low[:size].view(len(rows), -1))
        if products.dtype != torch.float32:
            products = single[:size].view(len(rows), -1).copy_(products)
        self.shortlist.add(products.numpy(), row, column)
        self._rooms.put((low, single))


@numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def _prepare_bfloat16(
    features: Any, which: Any, centre: Any, inverse: Any, out: Any, norms: Any, moved: Any, start: int, stop: int
) -> None:
    """Samples centred, scaled and rounded to the nearest bfloat16, half-way to the even one: its bits, as int16."""
    dim = features.shape[1]
    made, rounded = np.empty(PIECE, np.float32), np.empty(PIECE, np.float32)
    made_bits, rounded_bits = made.view(np.uint32), rounded.view(np.uint32)
    for r in range(start, stop):
        norm, move, length = 0.0, 0.0, 0.0
        for first in range(0, dim, PIECE):  # of which all stays in the first cache
            last = min(first + PIECE, dim)
            given, mean, kept = features[which[r], first:last], centre[first:last], out[r, first:last]
            for d in range(last - first):
                made[d] = (given[d] - mean[d]) * inverse
            for d in range(last - first):
                bits = made_bits[d]
                upper = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
                kept[d] = np.int16(upper)
                rounded_bits[d] = upper << np.uint32(16)
            sums = _sums(made[: last - first], rounded[: last - first])
            norm, move, length = norm + sums[0], move + sums[1], length + sums[2]
        norms[r], moved[r] = norm, _bound_of_move(move, length, dim)


@numba.njit(nogil=True, cache=True)
def _prepare_float32(
    features: Any, which: Any, centre: Any, inverse: Any, out: Any, norms: Any, moved: Any, start: int, stop: int
) -> None:
    """Samples centred and scaled."""
    for r in range(start, stop):
        given, made = features[which[r]], out[r]
        for d in range(len(made)):
            made[d] = (given[d] - centre[d]) * inverse
        norm, move, length = _sums(made, made)
        norms[r], moved[r] = norm, _bound_of_move(move, length, len(made))


@numba.njit(nogil=True, cache=True)
def _norms_and_moves(made: Any, rounded: Any, norms: Any, moved: Any) -> None:
    """Squared norms of the rounded samples, and bounds on |rounded - true|.

    `made` is within a UNIT of float32 of the true sample, feature by feature, and below SMALLEST within that.
    """
    for r in range(len(made)):
        norm, move, length = _sums(made[r], rounded[r])
        norms[r], moved[r] = norm, _bound_of_move(move, length, made.shape[1])


@numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def _sums(made: Any, rounded: Any) -> Any:
    """The squared norms of what was rounded, of how far that moved it, and of what was made."""
    norm, move, length = 0.0, 0.0, 0.0
    for d in range(len(made)):
        x, y = np.float64(made[d]), np.float64(rounded[d])
        norm += y * y
        move += (y - x) * (y - x)
        length += x * x
    return norm, move, length


@numba.njit(nogil=True, cache=True)
def _bound_of_move(move: float, length: float, dim: int) -> float:
    unit = 2.0**-24
    floor = SMALLEST * unit * math.sqrt(dim)
    # Increased a little, since the result is rounded to float32.
    return (math.sqrt(move) + unit * math.sqrt(length) + floor * (length > 0)) * (1 + 4 * unit)


def _plan(points: Points, k: int) -> tuple[torch.dtype, int]:
    """The type of the samples and the length of the shortlists, predicted from the shells of a few samples."""
    rng = np.random.default_rng(0)  # at even steps all might be of one class, where classes come in turn
    rows = torch.from_numpy(rng.choice(points.n, _pilots(points), replace=False))
    others = torch.from_numpy(np.sort(rng.choice(points.n, min(points.n, max(COMPARED, points.n // 5)), replace=False)))
    own = points.centred(rows)
    norms = own.square().sum(dim=1, keepdim=True)
    squared, other_norms = (
        torch.empty((len(rows), len(others)), dtype=torch.float32),
        torch.empty(len(others), dtype=torch.float32),
    )
    step = max(1, min(256, PILOT_BYTES // (8 * points.dim)))
    for start in range(0, len(others), step):
        here = slice(start, start + step)
        block = points.centred(others[here])
        other_norms[here] = block.square().sum(dim=1)
        torch.addmm(other_norms[here], own, block.T, alpha=-2, out=squared[:, here])
    squared, order = squared.add_(norms).clamp_(min=0).sort(dim=1)
    of_all = points.n / len(others)
    sizes = {}
    for dtype in (torch.bfloat16, torch.float32):
        moved = (own - own.to(dtype).float()).norm(dim=1) / norms[:, 0].sqrt() + UNIT[torch.float32]
        relative = float(moved.nan_to_num(0).max())
        within = _within_shell(squared, norms, other_norms[order], round(k / of_all), relative, dtype, points.dim)
        sizes[dtype] = math.ceil(of_all * int(within.sum(dim=1).max()))
    dtype = _cheaper_type(points, sizes)
    # Samples with far wider shells than most are left open.
    return dtype, min(points.n - 1, 4 * k + 128, max(k + 8, sizes[dtype] * 3 // 2))


def _pilots(points: Points) -> int:
    return max(1, min(PILOT, points.n // 16, PILOT_BYTES // (8 * points.dim)))


def _pilot_bytes(points: Points) -> int:
    """Bytes of the pilot: its samples, and some that they are compared with, as given and prepared."""
    step = max(1, min(256, PILOT_BYTES // (8 * points.dim)))
    return points.dim * (8 * _pilots(points) + 12 * step + CHECKS)


def _cheaper_type(points: Points, sizes: Mapping[torch.dtype, int]) -> torch.dtype:
    """The type of the faster products, given how many candidates each leaves to a sample."""
    # A wide shell, as of noise in many dimensions, costs more in direct differences than float32 products do.
    extra = (DIFFERENCE + CANDIDATE / points.dim) * (sizes[torch.bfloat16] - sizes[torch.float32])
    pays = extra < 0.8 * points.n / 2 and bfloat16_pays()
    return torch.bfloat16 if pays else torch.float32


def _within_shell(
    squared: torch.Tensor,
    norms: torch.Tensor,
    other_norms: torch.Tensor,
    kth: int,
    relative: float,
    dtype: torch.dtype,
    dim: int,
) -> torch.Tensor:
    """Which squared distances, ascending by row, may be as near as the k-th by the bounds of `Shortlist.within`."""
    both = norms + other_norms
    product = UNIT[dtype] if dtype != torch.float32 else 0.0
    error = product * (both - squared).abs() + squared_error(dim, torch.float32) * both + vanishing(dim)
    moved = relative * (norms.sqrt() + other_norms.sqrt())
    radius = ((squared + error).sqrt() + moved)[:, kth : kth + 1]
    return (squared - error).clamp_(min=0).sqrt() - moved <= radius


def sampled(n: int) -> int:
    """Samples from whose distances the first thresholds are estimated."""
    return min(SAMPLE, max(1, n // 10), max(64, n // 32))


def _rank(keep: int, sampled: int, n: int) -> int:
    """Rank in a random sample, hardly ever nearer than rank `keep` of all: three standard deviations beyond it."""
    expected = keep * sampled / n
    return min(sampled, math.ceil(expected + 3 * math.sqrt(expected)) + 1)


def _sides(points: Points, room: int, dtype: torch.dtype, memory_budget: int, threads: int) -> tuple[int, int]:
    """Samples of a side of a tile, and of a block of them that is held prepared: all, if the budget allows it."""
    n, row = points.n, dtype.itemsize * points.dim
    # Candidates, their products and distances; a block of sums of these; the random sample.
    left = memory_budget - 12 * n * room - min(BLOCK_BYTES, 8 * n * room) - row * sampled(n)
    left -= CHECKS * points.dim + PREPARED * max(points.dim, min(64 * points.dim, AT_ONCE)) * threads
    for tile in [side for side in TILES if side <= max(TILES[-1], n // 7)]:
        spare = left - 6 * tile * tile * threads
        if spare >= row * n:
            return tile, n
        if spare >= 2 * row * tile:
            return tile, (spare - row * tile) // (row * tile) * tile
    raise TooWide
