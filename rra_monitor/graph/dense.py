"""Neighbours of chosen samples from full rows of products: on a GPU, for many neighbours, for samples left open.

Three steps: a ranking by products of centred features in float32; the nearest of it measured again by direct
difference; and for samples whose neighbours are too close for a product to tell apart, both again in double precision.
"""

import math
from collections.abc import Iterator

import torch

from rra_monitor.graph.direct import BLOCK_BYTES, measured
from rra_monitor.graph.knn import TIE_TOLERANCE
from rra_monitor.graph.points import Points

SETTLED = 8
"""This many nearest candidates of each sample are measured by direct difference: r1 and r2 decide the ID."""

CANCELLATION = 0.03
"""Where a squared distance falls below this share of the squared norms it comes from, the float32 product is not
trusted. Above it, distances of real feature maps (10 to 16,384 features) were within 1e-5 of float64."""

ROUNDING = 2e-6
"""Relative difference below which rounding of a float32 product may have swapped two distances."""

DOUBLE_CANCELLATION = 1e-9
"""The same share for a float64 product, below which every other sample is measured by direct difference."""


def dense_neighbours(
    points: Points, rows: torch.Tensor, k: int, block_bytes: int = BLOCK_BYTES
) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared distances, in units of the points' scale, and ids of the nearest others of some samples.

    Args:
        points: n samples.
        rows: (r,) samples, on the points' device.
        k: neighbours.
        block_bytes: bound on a block of products and on one of the samples they are made of, but for a row of each.

    Returns:
        (r, found) both, ascending, equal distances by id; found is at least min(k + 1, n - 1), to see ties.
    """
    # One more than k tells whether the k-th is tied, the rest that rounding cost no candidate its place.
    found = min(points.n - 1, k + SETTLED)
    squared, candidates, thin = _in_single(points, rows, found, k, block_bytes)
    if thin.numel():
        squared[thin], candidates[thin] = _in_double(points, rows[thin], found, block_bytes)
    squared, candidates = in_order(squared, candidates)
    if found > k:
        # Measured directly, equal distances are equal, and the last neighbour does not depend on rounding.
        close = tied(squared, k, ROUNDING).nonzero()[:, 0]
        squared[close] = measured(points, rows[close], candidates[close])
        squared, candidates = in_order(squared, candidates)
    return squared, candidates


def tied(squared: torch.Tensor, k: int, tolerance: float) -> torch.Tensor:
    """(r,) whether the k-th and the next distance agree within a relative tolerance."""
    return squared[:, k - 1] >= (1 - tolerance) ** 2 * squared[:, k]


def in_order(squared: torch.Tensor, candidates: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both ascending by distance, equal distances by id."""
    candidates, by_id = candidates.sort(dim=1)
    squared, by_distance = squared.gather(1, by_id).sort(dim=1, stable=True)
    return squared, candidates.gather(1, by_distance)


def _in_single(
    points: Points, rows: torch.Tensor, found: int, k: int, block_bytes: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Squared distances and candidates (r, found), and which rows a float32 product does not settle.

    Either the nearest that was not measured directly is small compared with the norms, or the shortlist ends within
    a tie that begins at the k-th, so that the product's rounding chose among equals.
    """
    squared = torch.empty((len(rows), found), device=points.device)
    candidates = torch.empty((len(rows), found), dtype=torch.int64, device=points.device)
    thin = torch.zeros(len(rows), dtype=torch.bool, device=points.device)
    for here, table, own, others in _tables(points, rows, torch.float32, block_bytes):
        near, nearest = torch.topk(table, found, largest=False)
        near.clamp_(min=0)
        if found > SETTLED:
            thin[here] |= near[:, SETTLED] <= CANCELLATION * (own + others[nearest[:, SETTLED]])
        near[:, :SETTLED] = measured(points, rows[here], nearest[:, :SETTLED])
        if k < found < points.n - 1:
            thin[here] |= near[:, -1] * (1 - TIE_TOLERANCE) ** 2 <= near[:, k - 1]
        squared[here], candidates[here] = near, nearest
    return squared, candidates, thin.nonzero()[:, 0]


def _in_double(points: Points, rows: torch.Tensor, found: int, block_bytes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared distances and candidates (r, found) ranked by a float64 product, distances from differences.

    Rows that even this does not settle (duplicates, clusters in the last digits) are compared with every sample.
    """
    squared = torch.empty((len(rows), found), device=points.device)
    candidates = torch.empty((len(rows), found), dtype=torch.int64, device=points.device)
    for here, table, own, others in _tables(points, rows, torch.float64, block_bytes):
        unsettled = (table < DOUBLE_CANCELLATION * (own[:, None] + others)).any(dim=1).nonzero()[:, 0]
        if unsettled.numel():
            table[unsettled] = _all_direct(points, rows[here][unsettled])
        # In float32 equal distances are equal again. Bits of numbers above 0 sort as the numbers do, then the index.
        bits = table.clamp_(min=0).float().add_(0.0).view(torch.int32).long() << 32
        order = bits.bitwise_or_(torch.arange(points.n, device=points.device))
        nearest = order.topk(found, dim=1, largest=False).values & 0xFFFFFFFF
        candidates[here] = nearest
        squared[here] = measured(points, rows[here], nearest)
    return squared, candidates


def _tables(
    points: Points, rows: torch.Tensor, dtype: torch.dtype, block_bytes: int
) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Blocks of rows with their squared distances (b, n) to all samples, and the squared norms (b,) and (n,)."""
    n, size = points.n, dtype.itemsize
    height, width = max(1, block_bytes // (size * n)), max(1, block_bytes // (size * points.dim))
    whole = points.centred(slice(None), dtype) if width >= n else None
    norms = torch.empty(n, dtype=dtype, device=points.device)
    for top in range(0, len(rows), height):
        here = slice(top, min(top + height, len(rows)))
        own = points.centred(rows[here], dtype)
        own_norms = own.square().sum(dim=1)
        table = torch.empty((len(own), n), dtype=dtype, device=points.device)
        for start in range(0, n, width):
            there = slice(start, start + width)
            others = points.centred(there, dtype) if whole is None else whole
            norms[there] = others.square().sum(dim=1)
            torch.addmm(norms[there], own, others.T, alpha=-2, out=table[:, there])
        table.add_(own_norms[:, None])
        table[torch.arange(len(own), device=points.device), rows[here]] = math.inf
        yield here, table, own_norms, norms


def _all_direct(points: Points, rows: torch.Tensor) -> torch.Tensor:
    """Squared distances (r, n) of some samples to all by difference; infinite to themselves."""
    if points.constant:  # a dead layer: common enough to be spared the arithmetic
        squared = torch.zeros((len(rows), points.n), dtype=torch.float64, device=points.device)
    else:
        everyone = torch.arange(points.n, device=points.device).expand(len(rows), -1)
        squared = measured(points, rows, everyone).double()
    squared[torch.arange(len(rows), device=points.device), rows] = math.inf
    return squared
