"""The exact graph of few samples, or of few features, on the CPU: all pairs by direct difference, in compiled code.

No products, so there is no error to bound, no certificate and no row to check: below a size that costs more than the
differences. Few features: four samples at a time are compared with all, feature by feature, and the distances are
ranked while they are in the cache. More features: a table of all samples, of which each pair is computed once, in
tiles, four samples with four. The nearest are then measured once more, in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import torch

from rra_monitor.graph.distances import VANISHING, copied_features, refuse_vanished, squared_distances
from rra_monitor.graph.knn import TIE_TOLERANCE, KnnGraph
from rra_monitor.graph.points import BEYOND, Points
from rra_monitor.graph.workers import in_step, side_by_side, threads_for

FEW = 128
"""Features, at most, that are compared one after the other; beyond, a table of pairs is faster."""

FEWER, MANY_SAMPLES = 64, 50_000
"""Features, at most, of more samples than a table has, and samples, at most."""

EIGHT = 8
"""Features whose squares are added before the sum is stored."""

LARGEST_TABLE = 6000
"""Samples of a table, at most: 144 MB."""

QUICK = 2e10
"""Differences, at most, that take less time than products and what surrounds them."""

WIDE = 1 << 16
"""From so many features on, chunks of them are multiplied, of more than FEW_SAMPLES. The sieve sums all in float32, too
uncertain (2^-24 of the squared norms for each feature) for noise, whose distances are nearly equal: n = 300, d =
1,048,576 took 122 s, in chunks 7, by all pairs 1. Features of few dimensions take 1.2 to 1.4 times as long as by
products in bfloat16."""

FEW_SAMPLES = 2048
"""Samples, at most, of which the differences of all take less time than those chunks."""

TOGETHER = 1 << 19
"""Numbers of all samples that are copied together, so that tiles find them in the cache, a row beside the next."""

INNER = 1024
"""Features of a tile that are added up before the next four samples: these stay in the first cache."""

RANKED = 32
"""Differences that take as long as a distance takes to rank."""

TILE = 64
"""Samples on a side of a tile, a multiple of 4."""

LINE = 16
"""Numbers in a line of the cache."""

EVERY = 8
"""One of so many distances is looked at first, to find a limit."""

TIED = np.float32((1 - TIE_TOLERANCE) ** 2)
"""Of a squared distance: from here on a smaller one is tied with it."""

ITSELF = np.int32(0x7FFFFFFF)
"""Beyond the bits of all numbers. Those of numbers from 0 on sort as the numbers do."""

ENDS = np.int64(ITSELF) << 32
"""Beyond all keys: the bits of a distance, then its position."""

ROOM = 128
"""Candidates that are held of a sample beside three times as many as are wanted."""

INSERTED = 64
"""So many of a row are found by insertion, at most."""


def suits(n: int, dim: int) -> bool:
    """Whether the differences of all pairs take less time than products and what surrounds them."""
    if n > LARGEST_TABLE:
        return dim <= FEWER and n <= MANY_SAMPLES
    return dim <= FEW or n * n * dim <= QUICK or (dim >= WIDE and n <= FEW_SAMPLES)


def all_pairs_bytes(n: int, dim: int, k: int) -> int:
    """Bytes beyond the features that the graph takes, itself included."""
    threads = torch.get_num_threads()
    results = n * (8 * k + 16 * (k + 1)) + 4 * n * copied_features(n, dim) + 8 * (3 * (k + 1) + ROOM) * threads
    if dim <= FEW:
        return results + 4 * n * (2 * (dim + EIGHT) + 4 * threads)
    table = (12 if dim >= WIDE else 4) * n * n
    return results + table + 4 * n * (_width(n, dim) + 2 * LINE) + 4 * TILE * TILE * threads


def all_pairs_seconds(n: int, dim: int) -> float:
    """Predicted time, where all pairs suit.

    Fitted to n = 300 to 20,000 and d = 10 to 16,384 on two cores of an AMD EPYC with AVX512: within a third of each.
    """
    if dim <= FEW:
        return 5e-4 + n * n * (1.4e-11 * dim + 6.6e-10)
    return 5e-4 + n * n * (6.9e-12 * dim + 1.2e-9) + n * dim * 1.5e-9


def all_pairs_graph(points: Points, k: int) -> KnnGraph:
    """The graph of the k nearest neighbours, by the squared differences of all pairs.

    Raises:
        ValueError: distances that exceed float32, or vanish in it beside others.
    """
    n, dim = points.n, points.dim
    kept = min(k + 1, n - 1)  # the next one tells whether the k-th is tied
    nearest = np.empty((n, kept), np.int32)
    if dim <= FEW:
        turned = np.zeros((-(-dim // EIGHT) * EIGHT, n), np.float32)
        _turn(_float32(points.matrix), np.float32(1 / points.scale), turned)
        side_by_side(partial(_compare_features, turned, nearest), threads_for(n * n * (dim + RANKED)))
        del turned
    else:
        table = _table(points)
        side_by_side(partial(_rank_rows, table, nearest), threads_for(n * n * RANKED))
        del table
    squared = squared_distances(points, np.arange(n), nearest, double=True)
    indices, distances = np.empty((n, k), np.int32), np.empty((n, k), np.float32)
    ties, zeros, vanished, beyond = _finish(nearest, squared, points.scale, indices, distances)
    if beyond:
        raise ValueError(BEYOND)
    if vanished:
        refuse_vanished(points, torch.from_numpy(squared), torch.from_numpy(indices))
    return KnnGraph.of_checked(indices=indices, distances=distances, ties=ties / n, zeros=zeros / n)


def _width(n: int, dim: int) -> int:
    """Features that are worked on together."""
    return min(dim, max(INNER, TOGETHER // n))


def _float32(features: torch.Tensor) -> npt.NDArray[np.float32]:
    """Features in the order of C; a copy unless they are in float32 and in that order."""
    return features.float().contiguous().numpy()


def _table(points: Points) -> npt.NDArray[np.float32]:
    """(n, n) squared distances, in units of the points' scale.

    A vector of the sums of a chunk has INNER / LINE = 64 roundings, some more join it to a number, and each chunk adds
    one: below WIDE features at most 132 of 2^-24, by which the neighbours are those but for ties. Beyond, chunks are
    added in float64.
    """
    n, dim, width = points.n, points.dim, _width(points.n, points.dim)
    table = np.empty((n, n), np.float64 if dim >= WIDE else np.float32)
    # Longer than a power of two, so that rows do not collide in the cache.
    room = _aligned(n, -(-width // LINE) * LINE + LINE)
    steps: list[Callable[[int, int], Any]] = []
    for start in range(0, dim, width):
        stop = min(start + width, dim)
        steps.append(points.copying(start, stop, room[:, : stop - start]))
        steps.append(partial(_add_tiles, room, stop - start, table, start == 0, stop == dim))
    in_step(steps, threads_for(n * n * dim // 2))
    return table.astype(np.float32, copy=False)


def _aligned(rows: int, width: int) -> npt.NDArray[np.float32]:
    """An empty array that begins with a line of the cache: vectors across two lines take twice as long to read."""
    raw = np.empty(rows * width + LINE, np.float32)
    first = -(raw.ctypes.data // 4) % LINE
    return raw[first : first + rows * width].reshape(rows, width)


@numba.njit(nogil=True, cache=True)
def _turn(features: Any, inverse: Any, out: Any) -> None:
    """Write (n, d) features, scaled, as (d, n)."""
    n, dim = features.shape
    for top in range(0, n, 64):
        bottom = min(top + 64, n)
        for d in range(dim):
            own = out[d]
            for r in range(top, bottom):
                own[r] = features[r, d] * inverse


@numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def _compare_features(turned: Any, nearest: Any, who: int, count: int) -> None:
    """The nearest of this thread's share of the samples: four at a time are compared with all."""
    dim, n = turned.shape
    sums = np.empty((4, n), np.float32)
    bits = sums.view(np.int32)
    keys = np.empty(3 * nearest.shape[1] + ROOM, np.int64)
    stop = n * (who + 1) // count
    for i in range(n * who // count, stop, 4):
        sums[:] = 0
        one, two, three, four = sums[0], sums[1], sums[2], sums[3]
        second, third, fourth = min(i + 1, n - 1), min(i + 2, n - 1), min(i + 3, n - 1)
        for d in range(0, dim, EIGHT):
            a, b, c, e = turned[d], turned[d + 1], turned[d + 2], turned[d + 3]
            f, g, h, m = turned[d + 4], turned[d + 5], turned[d + 6], turned[d + 7]
            v = (a[i], b[i], c[i], e[i], f[i], g[i], h[i], m[i])
            w = (a[second], b[second], c[second], e[second], f[second], g[second], h[second], m[second])
            x = (a[third], b[third], c[third], e[third], f[third], g[third], h[third], m[third])
            y = (a[fourth], b[fourth], c[fourth], e[fourth], f[fourth], g[fourth], h[fourth], m[fourth])
            for j in range(n):
                other = (a[j], b[j], c[j], e[j], f[j], g[j], h[j], m[j])
                one[j] += _squared(v, other)
                two[j] += _squared(w, other)
                three[j] += _squared(x, other)
                four[j] += _squared(y, other)
        for r in range(min(4, stop - i)):
            _rank(bits[r], i + r, keys, nearest[i + r])


@numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"}, inline="always")
def _squared(x: Any, y: Any) -> Any:
    """The squared distance in eight features."""
    return (
        ((x[0] - y[0]) * (x[0] - y[0]) + (x[1] - y[1]) * (x[1] - y[1]))
        + ((x[2] - y[2]) * (x[2] - y[2]) + (x[3] - y[3]) * (x[3] - y[3]))
        + ((x[4] - y[4]) * (x[4] - y[4]) + (x[5] - y[5]) * (x[5] - y[5]))
        + ((x[6] - y[6]) * (x[6] - y[6]) + (x[7] - y[7]) * (x[7] - y[7]))
    )


@numba.njit(nogil=True, cache=True)
def _add_tiles(chunk: Any, width: int, table: Any, begins: bool, ends: bool, who: int, count: int) -> None:
    """Add a chunk of features to this thread's tiles, on and below the diagonal; mirror them when it is the last."""
    n = len(chunk)
    sums = np.empty((TILE, TILE), np.float32)
    task = 0
    for top in range(0, n, TILE):
        bottom = min(top + TILE, n)
        for left in range(0, top + 1, TILE):
            right = min(left + TILE, n)
            task += 1
            if task % count != who:
                continue
            sums[:] = 0
            for start in range(0, width, INNER):
                inner = min(start + INNER, width)
                _add_four_by_four(chunk[top:bottom], chunk[left:right], start, inner, sums)
            for r in range(bottom - top):
                row, added = table[top + r, left:right], sums[r]
                for c in range(right - left):
                    row[c] = added[c] if begins else row[c] + added[c]
                    added[c] = row[c]
            if ends and left < top:
                for c in range(right - left):
                    row = table[left + c, top:bottom]
                    for r in range(bottom - top):
                        row[r] = sums[r, c]


@numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def _add_four_by_four(own: Any, others: Any, start: int, stop: int, sums: Any) -> None:
    """Add squared differences of some features; what is beyond the last sample of a tile repeats it."""
    i_last, j_last, zero = len(own) - 1, len(others) - 1, np.float32(0)
    for i in range(0, len(own), 4):
        a, b = own[i, start:stop], own[min(i + 1, i_last), start:stop]
        c, e = own[min(i + 2, i_last), start:stop], own[min(i + 3, i_last), start:stop]
        for j in range(0, len(others), 4):
            p, q = others[j, start:stop], others[min(j + 1, j_last), start:stop]
            r, s = others[min(j + 2, j_last), start:stop], others[min(j + 3, j_last), start:stop]
            ap = aq = ar = as_ = bp = bq = br = bs = cp = cq = cr = cs = ep = eq = er = es = zero
            for d in range(len(a)):
                ap += (a[d] - p[d]) * (a[d] - p[d])
                aq += (a[d] - q[d]) * (a[d] - q[d])
                ar += (a[d] - r[d]) * (a[d] - r[d])
                as_ += (a[d] - s[d]) * (a[d] - s[d])
                bp += (b[d] - p[d]) * (b[d] - p[d])
                bq += (b[d] - q[d]) * (b[d] - q[d])
                br += (b[d] - r[d]) * (b[d] - r[d])
                bs += (b[d] - s[d]) * (b[d] - s[d])
                cp += (c[d] - p[d]) * (c[d] - p[d])
                cq += (c[d] - q[d]) * (c[d] - q[d])
                cr += (c[d] - r[d]) * (c[d] - r[d])
                cs += (c[d] - s[d]) * (c[d] - s[d])
                ep += (e[d] - p[d]) * (e[d] - p[d])
                eq += (e[d] - q[d]) * (e[d] - q[d])
                er += (e[d] - r[d]) * (e[d] - r[d])
                es += (e[d] - s[d]) * (e[d] - s[d])
            for column, (one, two, three, four) in enumerate(
                ((ap, bp, cp, ep), (aq, bq, cq, eq), (ar, br, cr, er), (as_, bs, cs, es))
            ):
                sums[i, j + column] += one
                sums[i + 1, j + column] += two
                sums[i + 2, j + column] += three
                sums[i + 3, j + column] += four


@numba.njit(nogil=True, cache=True)
def _rank_rows(table: Any, nearest: Any, who: int, count: int) -> None:
    """The nearest of this thread's share of the samples."""
    n = len(table)
    keys = np.empty(3 * nearest.shape[1] + ROOM, np.int64)
    bits = table.view(np.int32)
    for i in range(n * who // count, n * (who + 1) // count):
        _rank(bits[i], i, keys, nearest[i])


@numba.njit(nogil=True, cache=True)
def _rank(bits: Any, i: int, keys: Any, nearest: Any) -> None:
    """The nearest of a sample by the bits of its squared distances to all, equal ones by index."""
    kept = len(nearest)
    bits[i] = ITSELF
    limit = _limit(bits, kept, keys)
    if kept <= INSERTED:
        if not _insert(bits, limit, kept, keys):
            _insert(bits, ITSELF, kept, keys)
    elif not _gather(bits, limit, kept, keys):
        _gather(bits, ITSELF, kept, keys)
    for c in range(kept):
        nearest[c] = keys[c] & 0xFFFFFFFF


@numba.njit(nogil=True, cache=True)
def _finish(nearest: Any, squared: Any, scale: float, indices: Any, distances: Any) -> Any:
    """Sort the nearest by what was measured; count rows that are tied, zero, may have vanished or exceed float32."""
    n, kept = nearest.shape
    k = indices.shape[1]
    keys = np.empty(kept, np.int64)
    ties = zeros = vanished = beyond = 0
    for i in range(n):
        for c in range(kept):
            # In float32 equal distances are equal. They are nearly in order.
            key = (np.int64(np.float32(squared[i, c]).view(np.int32)) << 32) | nearest[i, c]
            place = c
            while place > 0 and keys[place - 1] > key:
                keys[place] = keys[place - 1]
                place -= 1
            keys[place] = key
        for c in range(k):
            indices[i, c] = keys[c] & 0xFFFFFFFF
            distances[i, c] = math.sqrt(np.float64(_value(keys[c]))) * scale
        squared[i, 0] = _value(keys[0])
        ties += kept > k and _value(keys[k - 1]) >= TIED * _value(keys[k])
        zeros += distances[i, 0] == 0
        vanished += squared[i, 0] < VANISHING
        beyond += not distances[i, k - 1] < np.inf
    return ties, zeros, vanished, beyond


@numba.njit(nogil=True, cache=True)
def _limit(bits: Any, kept: int, keys: Any) -> Any:
    """A number that hardly ever fewer than `kept` of a row are below, from some of them; none where that costs more."""
    expected = kept / EVERY
    rank = int(expected + 3 * math.sqrt(expected)) + 2  # three standard deviations beyond it
    if EVERY * rank > len(bits) // 8:
        return ITSELF
    for place in range(rank):
        keys[place] = ENDS
    for j in range(0, len(bits), EVERY):
        key = (np.int64(bits[j]) << 32) | j
        if key < keys[rank - 1]:
            _put(key, rank, keys)
    return np.int32((keys[rank - 1] >> 32) + 1)


@numba.njit(nogil=True, cache=True, inline="always")
def _put(key: Any, kept: int, keys: Any) -> None:
    """Insert a key among the least in order, in place of the last."""
    place = kept - 1
    while place > 0 and keys[place - 1] > key:
        keys[place] = keys[place - 1]
        place -= 1
    keys[place] = key


@numba.njit(nogil=True, cache=True)
def _insert(bits: Any, limit: Any, kept: int, keys: Any) -> bool:
    """The least of a row below a limit, in order, by insertion; or not all, where fewer are below it."""
    for place in range(kept):
        keys[place] = ENDS
    whole = len(bits) // LINE
    lines = bits[: whole * LINE].reshape(whole, LINE)
    for line in range(whole):
        passing = 0
        for c in range(LINE):
            passing += lines[line, c] < limit
        if passing:
            for c in range(LINE):
                if lines[line, c] < limit:
                    _put((np.int64(lines[line, c]) << 32) | (line * LINE + c), kept, keys)
                    limit = min(limit, np.int32(keys[kept - 1] >> 32))
    for j in range(whole * LINE, len(bits)):
        if bits[j] < limit:
            _put((np.int64(bits[j]) << 32) | j, kept, keys)
            limit = min(limit, np.int32(keys[kept - 1] >> 32))
    return bool(keys[kept - 1] < ENDS)


@numba.njit(nogil=True, cache=True)
def _gather(bits: Any, limit: Any, kept: int, keys: Any) -> bool:
    """As `_insert`, by gathering what passes, for many."""
    held = 0
    whole = len(bits) // LINE
    lines = bits[: whole * LINE].reshape(whole, LINE)
    for line in range(whole):
        passing = 0
        for c in range(LINE):
            passing += lines[line, c] < limit
        if passing:
            if held + LINE > len(keys):
                _cut(keys, held, kept)
                limit, held = np.int32(keys[kept - 1] >> 32), kept
            for c in range(LINE):  # without a branch: which of them pass cannot be predicted
                keys[held] = (np.int64(lines[line, c]) << 32) | (line * LINE + c)
                held += lines[line, c] < limit
    if held + LINE > len(keys):
        _cut(keys, held, kept)
        limit, held = np.int32(keys[kept - 1] >> 32), kept
    for j in range(whole * LINE, len(bits)):
        keys[held] = (np.int64(bits[j]) << 32) | j
        held += bits[j] < limit
    if held < kept:
        return False
    if held > kept:
        _cut(keys, held, kept)
    keys[:kept].sort()
    return True


@numba.njit(nogil=True, cache=True, inline="always")
def _value(key: Any) -> Any:
    return np.int32(key >> 32).view(np.float32)


@numba.njit(nogil=True, cache=True)
def _cut(keys: Any, held: int, kept: int) -> None:
    """Move the smallest to the front, in any order, the largest of these last."""
    low, high, wanted = 0, held - 1, kept - 1
    while low < high:
        pivot = keys[(low + high) // 2]
        left, right = low, high
        while left <= right:
            while keys[left] < pivot:
                left += 1
            while keys[right] > pivot:
                right -= 1
            if left <= right:
                keys[left], keys[right] = keys[right], keys[left]
                left += 1
                right -= 1
        if wanted <= right:
            high = right
        elif wanted >= left:
            low = left
        else:
            return
