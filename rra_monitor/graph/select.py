"""Compiled selection of nearest candidates from blocks of products, on the CPU.

A block of products serves both its rows and its columns. Each sample has a buffer of candidates closer than its
threshold; a full buffer is cut to the nearest `keep`, which lowers the threshold, so that soon almost nothing passes.
"""

from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

CHUNK = 64
"""Products looked at together: one vector comparison decides whether any of them passes."""


class Shortlist:
    """The `keep` nearest candidates of each of n samples, gathered from blocks of a symmetric product.

    Args:
        norms: (n,) float32 squared norms.
        keep: candidates of each sample.
        pool: runs the threads.
        threads: how many.
    """

    def __init__(self, norms: npt.NDArray[np.float32], keep: int, pool: Executor, threads: int) -> None:
        n, room = len(norms), 2 * keep + CHUNK
        self._norms, self._keep, self._pool, self._threads = norms, keep, pool, threads
        self._values = np.empty((n, room), np.float32)
        self._ids = np.empty((n, room), np.int32)
        self._counts = np.zeros(n, np.int32)
        self._limits = np.full(n, np.inf, np.float32)

    def add(self, products: npt.NDArray[np.float32], row: int, column: int) -> None:
        """Take the inner products of the samples from `row` on with those from `column` on, for both.

        Each pair of blocks comes once: `column` is at least `row`, and columns within the rows serve the rows alone.
        """
        rows, columns = products.shape
        block = (products, row, column, self._norms, self._values, self._ids, self._counts, self._limits, self._keep)
        self._share(partial(_add_to_rows, block), 0, rows)
        self._share(partial(_add_to_columns, block), max(0, row + rows - column), columns)

    def nearest(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
        """(n, keep) squared distances, ascending, and ids."""
        n = len(self._norms)
        values, ids = np.empty((n, self._keep), np.float32), np.empty((n, self._keep), np.int32)
        self._share(partial(_finish, self._values, self._ids, self._counts, self._norms, values, ids), 0, n)
        return values, ids

    def _share(self, work: Callable[[int, int], Any], start: int, stop: int) -> None:
        cuts = np.linspace(start, stop, self._threads + 1).astype(int)
        list(self._pool.map(work, cuts[:-1], cuts[1:]))


@numba.njit(nogil=True, cache=True)
def _add_to_rows(block: Any, start: int, stop: int) -> None:
    """Offer every column to the rows start to stop of a block."""
    products, row, column, norms, values, ids, counts, limits, keep = block
    columns = products.shape[1]
    for r in range(start, stop):
        i = row + r
        for first in range(0, columns, CHUNK):
            last = min(first + CHUNK, columns)
            # Slices, since an index that could be negative keeps the compiler from comparing many at once.
            values_here, norms_here, limit = products[r, first:last], norms[column + first : column + last], limits[i]
            passing = 0
            for c in range(len(values_here)):
                passing += norms_here[c] - 2 * values_here[c] < limit
            if passing:
                for c in range(first, last):
                    value = norms[column + c] - 2 * products[r, c]
                    if value < limits[i] and column + c != i:
                        _offer(i, column + c, value, values, ids, counts, limits, keep)


@numba.njit(nogil=True, cache=True)
def _add_to_columns(block: Any, start: int, stop: int) -> None:
    """Offer every row to the columns start to stop of a block."""
    products, row, column, norms, values, ids, counts, limits, keep = block
    rows = products.shape[0]
    for first in range(start, stop, CHUNK):
        last = min(first + CHUNK, stop)
        limits_here = limits[column + first : column + last]
        for r in range(rows):
            values_here, norm = products[r, first:last], norms[row + r]
            passing = 0
            for c in range(len(values_here)):
                passing += norm - 2 * values_here[c] < limits_here[c]
            if passing:
                for c in range(first, last):
                    value = norm - 2 * products[r, c]
                    if value < limits[column + c]:
                        _offer(column + c, row + r, value, values, ids, counts, limits, keep)


@numba.njit(nogil=True, cache=True)
def _offer(i: int, j: int, value: Any, values: Any, ids: Any, counts: Any, limits: Any, keep: int) -> None:
    """Append a candidate; cut a full buffer to its nearest `keep`."""
    count = counts[i]
    values[i, count] = value
    ids[i, count] = j
    count += 1
    if count == values.shape[1]:
        limits[i] = _cut(values[i], ids[i], count, keep)
        count = keep
    counts[i] = count


@numba.njit(nogil=True, cache=True)
def _cut(values: Any, ids: Any, count: int, keep: int) -> Any:
    """Move the `keep` smallest to the front, in any order, by quickselect; return the largest of them."""
    low, high = 0, count - 1
    while low < high:
        pivot = values[(low + high) // 2]
        left, right = low, high
        while left <= right:
            while values[left] < pivot:
                left += 1
            while values[right] > pivot:
                right -= 1
            if left <= right:
                values[left], values[right] = values[right], values[left]
                ids[left], ids[right] = ids[right], ids[left]
                left += 1
                right -= 1
        if keep - 1 <= right:
            high = right
        elif keep - 1 >= left:
            low = left
        else:
            break
    return values[:keep].max()


@numba.njit(nogil=True, cache=True)
def _finish(values: Any, ids: Any, counts: Any, norms: Any, out: Any, out_ids: Any, start: int, stop: int) -> None:
    """Sort what is left in the buffers and complete the squared distances."""
    keep = out.shape[1]
    for i in range(start, stop):
        if counts[i] > keep:
            _cut(values[i], ids[i], counts[i], keep)
        order = np.argsort(values[i, :keep])
        for position in range(keep):
            out[i, position] = max(values[i, order[position]] + norms[i], np.float32(0))
            out_ids[i, position] = ids[i, order[position]]


@numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def squared_differences(
    points: Any, rows: Any, candidates: Any, factor: float, out: Any, start: int, stop: int
) -> None:
    """out[r, c] = |factor (points[rows[r]] - points[candidates[r, c]])|² for r in start to stop.

    Partial sums of 256 terms in the points' precision are added in double, so the error does not grow with dimension.
    """
    dim = points.shape[1]
    factor = np.float32(factor)
    for r in range(start, stop):
        own = points[rows[r]]
        for c in range(candidates.shape[1]):
            other = points[candidates[r, c]]
            total = 0.0
            for first in range(0, dim, 256):
                part = np.float32(0)
                for d in range(first, min(first + 256, dim)):
                    difference = factor * (own[d] - other[d])
                    part += difference * difference
                total += part
            out[r, c] = total
