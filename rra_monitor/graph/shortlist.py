"""Compiled selection of nearest candidates from blocks of products, on the CPU.

A block of products serves both its rows and its columns. Each sample has a buffer of candidates closer than its
threshold; a full buffer is cut to the nearest `keep`, which lowers the threshold, so that soon almost nothing passes.
"""

import math
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from rra_monitor.graph.workers import Workers

CHUNK = 64
"""Products compared together: vector instructions decide whether any of them passes."""

STRIPE = 32
"""Columns of a block that are transposed together."""


@dataclass(frozen=True)
class Errors:
    """Bounds on the error of the distances between prepared samples.

    Attributes:
        moved: (n,) float32 distances by which preparation moved the samples: |y_i - x_i|.
        relative: largest |y_i - x_i| / |x_i|.
        product: relative error of a product when it is rounded to its type.
        summed: error of a squared distance from the summation, as a fraction of the squared norms.
        floor: error of a squared distance from products that vanish.
    """

    moved: npt.NDArray[np.float32]
    relative: float
    product: float
    summed: float
    floor: float


class Shortlist:
    """The nearest candidates of each of n samples, gathered from blocks of a symmetric product.

    Blocks may be added from several threads at once.

    Args:
        norms: (n,) float32 squared norms, filled before a block is added.
        keep: smallest number of candidates kept for each sample.
        side: side of the square blocks.
    """

    def __init__(self, norms: npt.NDArray[np.float32], keep: int, side: int) -> None:
        n, room = len(norms), self.room(keep)
        self._norms, self._keep, self._side = norms, keep, side
        self._values = np.empty((n, room), np.float32)
        self._ids = np.empty((n, room), np.int32)
        self._counts = np.zeros(n, np.int32)
        self._limits = np.full(n, np.inf, np.float32)
        self._locks = [Lock() for _ in range(0, n, side)]

    @staticmethod
    def room(keep: int) -> int:
        """Number of candidates that a sample's buffer holds before it is cut."""
        return 2 * keep + CHUNK

    def begin(
        self, products: npt.NDArray[np.float32], row: int, sample_norms: npt.NDArray[np.float32], rank: int
    ) -> None:
        """Set the thresholds of the samples from `row` on to the rank-th of their distances to a random sample."""
        _set_limits(products, sample_norms, rank, self._limits[row : row + len(products)])

    def add(self, products: npt.NDArray[np.float32], row: int, column: int) -> None:
        """Offer the samples from `row` on and those from `column` on to each other, given their inner products.

        Each pair of blocks comes once; a block on the diagonal, which is symmetric, serves its rows alone, and its
        diagonal is overwritten.
        """
        if row == column:  # no sample is a neighbour of itself
            np.fill_diagonal(products, -np.inf)
        state = (self._norms, self._values, self._ids, self._counts, self._limits, self._keep)
        with self._locks[row // self._side]:
            _add_to_rows(products, row, column, state)
        if row != column:
            with self._locks[column // self._side]:
                _add_to_columns(products, row, column, state)

    def within(
        self, k: int, errors: Errors, workers: Workers
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
        """The candidates that may be among the k nearest, given the errors of preparation and products.

        Returns:
            (n, room) ids, (n,) number of valid ids of each row, and (n,) whether some candidates may be missing.
        """
        missing = np.empty(len(self._norms), np.bool_)
        state = (self._values, self._ids, self._counts, self._limits, self._norms, missing)
        bounds = (errors.moved, float(errors.moved.max()), errors.relative, errors.product, errors.summed, errors.floor)
        workers.split(partial(_cut_to_shell, state, k, bounds), 0, len(missing))
        return self._ids, self._counts, missing


@numba.njit(nogil=True, cache=True)
def _set_limits(products: Any, norms: Any, rank: int, limits: Any) -> None:
    ids, distances = np.empty(len(norms), np.int32), np.empty(len(norms), np.float32)
    for r in range(len(products)):
        for c in range(len(norms)):
            distances[c] = norms[c] - (products[r, c] + products[r, c])
        limits[r] = _cut(distances, ids, len(norms), rank)


@numba.njit(nogil=True, cache=True)
def _add_to_rows(products: Any, row: int, column: int, state: Any) -> None:
    """Offer the columns of a block to its rows."""
    norms, values, ids, counts, limits, keep = state
    rows, columns = products.shape
    passed, places = np.empty(columns, np.float32), np.empty(columns, np.int32)
    for r in range(rows):
        added = _pick(products[r], norms[column : column + columns], limits[row + r], passed, places)
        _append(passed[:added], places[:added], column, row + r, values, ids, counts, limits, keep)


@numba.njit(nogil=True, cache=True)
def _add_to_columns(products: Any, row: int, column: int, state: Any) -> None:
    """Offer the rows of a block to its columns, in transposed stripes."""
    norms, values, ids, counts, limits, keep = state
    rows, columns = products.shape
    passed, places = np.empty(rows, np.float32), np.empty(rows, np.int32)
    # Longer than needed, so that its lines do not collide in the cache.
    turned = np.empty((STRIPE, rows + 16), np.float32)[:, :rows]
    for left in range(0, columns, STRIPE):
        right = min(left + STRIPE, columns)
        for r in range(rows):
            for c in range(left, right):
                turned[c - left, r] = products[r, c]
        for c in range(left, right):
            added = _pick(turned[c - left], norms[row : row + rows], limits[column + c], passed, places)
            _append(passed[:added], places[:added], row, column + c, values, ids, counts, limits, keep)


@numba.njit(nogil=True, cache=True, inline="always")
def _pick(products: Any, norms: Any, limit: Any, passed: Any, places: Any) -> int:
    """Write the distances below a limit and their positions; return their number."""
    added = 0
    for first in range(0, len(products), CHUNK):
        last = min(first + CHUNK, len(products))
        some, lengths = products[first:last], norms[first:last]
        passing = 0
        for c in range(len(some)):
            passing += lengths[c] - (some[c] + some[c]) < limit
        if passing:
            for c in range(len(some)):  # without a branch: which of them pass cannot be predicted
                value = lengths[c] - (some[c] + some[c])
                passed[added] = value
                places[added] = first + c
                added += value < limit
    return added


@numba.njit(nogil=True, cache=True)
def _append(
    passed: Any, places: Any, first: int, i: int, values: Any, ids: Any, counts: Any, limits: Any, keep: int
) -> None:
    """Put candidates into the buffer of sample i; cut a full one to its nearest `keep`."""
    count = counts[i]
    for c in range(len(passed)):
        if passed[c] < limits[i]:
            values[i, count] = passed[c]
            ids[i, count] = first + places[c]
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
def _cut_to_shell(state: Any, k: int, bounds: Any, start: int, stop: int) -> None:
    """Keep in each buffer the candidates that may truly be as near as the k-th, and mark rows where one may be missing.

    With x the samples, y the prepared ones, m_i = |y_i - x_i| and p the product of y_i and y_j as it was rounded:

        the computed squared distance, s = |y_i|² + |y_j|² - 2 p, is within e = product 2 |p| + summed (|y_i|² + |y_j|²)
        + floor of |y_i - y_j|², and |x_i - x_j| is within m_i + m_j of |y_i - y_j|.

    So the k nearest by s, and hence the k truly nearest, lie within the radius r = max (sqrt(s + e) + m_i + m_j) over
    them, and a candidate with sqrt(s - e) - m_i - m_j > r is none of these. One that was passed over had an s of the
    limit at least. Were it truly within r, then |x_j| <= |x_i| + r, which bounds m_j by `relative`, as does the largest
    m of all; and |y_i - y_j| <= q = r + m_i + m_j, which bounds |y_j| by |y_i| + q, as does the largest of all. With
    the exact product P, |y_i - y_j|² = |y_i|² + |y_j|² - 2 P <= q²: s is at most that plus product 2 |P|, which grows
    with the distance, up to q, for a positive P, and for a negative one has 2 |P| <= q² - |y_i|². So s would be at most
    q² + e with 2 |P| the larger of these. Where the limit is above that, none is missing.
    """
    values, ids, counts, limits, norms, missing = state
    moved, most_moved, relative, product, summed, floor = bounds
    most = np.float64(norms.max())
    for i in range(start, stop):
        if counts[i] < k:  # the first threshold was too low
            missing[i], counts[i] = True, 0
            continue
        _cut(values[i], ids[i], counts[i], k)
        own, own_moved, radius = np.float64(norms[i]), np.float64(moved[i]), 0.0
        for c in range(k):
            j = ids[i, c]
            value, other = np.float64(values[i, c]), np.float64(norms[j])
            error = product * abs(other - value) + summed * (own + other) + floor
            radius = max(radius, math.sqrt(max(0.0, value + own + error)) + own_moved + moved[j])
        kept = k
        for c in range(k, counts[i]):
            j = ids[i, c]
            value, other = np.float64(values[i, c]), np.float64(norms[j])
            error = product * abs(other - value) + summed * (own + other) + floor
            if math.sqrt(max(0.0, value + own - error)) - own_moved - moved[j] <= radius:
                ids[i, kept] = j
                kept += 1
        counts[i] = kept
        length = math.sqrt(own)
        reach = radius + own_moved + min(most_moved, relative * (length + own_moved + radius))
        other = min(most, (length + reach) ** 2)
        double = max(own + other - reach**2, reach**2 - own, 0.0)
        error = product * double + summed * (1 + product) * (own + other) + floor
        missing[i] = limits[i] < np.inf and limits[i] + own <= reach**2 + error
