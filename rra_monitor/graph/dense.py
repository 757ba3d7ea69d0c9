"""Neighbours of chosen samples from full rows of products: on a GPU, for many neighbours, for samples left open.

On the CPU by products in double precision, and by direct difference for the pairs whose distance these cancel. On a GPU
first by products in float32, with a certificate; samples that it does not cover are treated as on the CPU.
"""

import math
from collections.abc import Iterator

import torch

from rra_monitor.graph.bounds import cancelling, squared_error
from rra_monitor.graph.distances import BLOCK_BYTES, measured
from rra_monitor.graph.points import Points

SETTLED = 8
"""Number of nearest candidates whose distance is computed from differences, because r1 and r2 decide the ID; and the
number on both sides of the k-th, where rounding may have swapped two neighbours."""

CANCELLATION = 0.03
"""If a squared distance is below this fraction of its squared norms, the float32 product is not used for it. Above it,
distances of real feature maps (10 to 16,384 features) were within 1e-5 of float64; which samples are neighbours does
not depend on that."""

FEW = 32
"""Largest number of pairs of a row that are measured one by one; in a row with more (a collapsed cluster) all are."""


def dense_neighbours(
    points: Points, rows: torch.Tensor, k: int, block_bytes: int = BLOCK_BYTES
) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared distances, in units of the points' scale, and ids of the nearest others of some samples.

    Args:
        points: n samples.
        rows: (r,) samples, on the points' device.
        k: number of neighbours.
        block_bytes: bound on a block of products and on one of the samples they are made of, but for a row of each.

    Returns:
        (r, min(k + SETTLED, n - 1)) both, ascending, equal distances by id; the first k + 1 are the nearest.
    """
    kept = min(points.n - 1, k + SETTLED)
    if points.device.type == "cpu":
        return in_double(points, rows, kept, block_bytes)
    squared, candidates, settled = in_single(points, rows, k, block_bytes)
    left = (~settled).nonzero()[:, 0]
    if left.numel():
        squared[left], candidates[left] = in_double(points, rows[left], kept, block_bytes)
    return squared, candidates


def tied(squared: torch.Tensor, k: int, tolerance: float) -> torch.Tensor:
    """(r,) whether the k-th and the next distance agree within a relative tolerance."""
    return squared[:, k - 1] >= (1 - tolerance) ** 2 * squared[:, k]


def in_order(squared: torch.Tensor, candidates: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both ascending by distance, equal distances by id."""
    candidates, by_id = candidates.sort(dim=1)
    squared, by_distance = squared.gather(1, by_id).sort(dim=1, stable=True)
    return squared, candidates.gather(1, by_distance)


def in_single(
    points: Points, rows: torch.Tensor, k: int, block_bytes: int = BLOCK_BYTES
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Squared distances and ids (r, kept) by products in float32, and (r,) whether these settle the nearest k + 1.

    The candidates are the `kept` nearest by products, each off by `error` at most. Those from `sure` on are measured
    by direct difference; the nearest k + 1 of all candidates are taken. A row is settled if the errors exclude two
    cases: a sample beyond the last candidate that is nearer than the last one taken, and a candidate before `sure` that
    is farther than it.
    """
    kept = min(points.n - 1, k + SETTLED)
    last = min(k + 1, kept)  # the next one tells whether the k-th is tied
    sure = max(0, last - SETTLED)
    squared = torch.empty((len(rows), kept), device=points.device, dtype=torch.float32)
    candidates = torch.empty((len(rows), kept), dtype=torch.int64, device=points.device)
    settled = torch.empty(len(rows), dtype=torch.bool, device=points.device)
    for here, table, own, others in _tables(points, rows, torch.float32, block_bytes):
        near, nearest = torch.topk(table, kept, largest=False)
        near.clamp_(min=0)
        # A sample that is as near as the last candidate has a norm of at most the sum of both.
        error = squared_error(points.dim, torch.float32) * (own + (own.sqrt() + near[:, -1].sqrt()).square())
        beyond, inside = near[:, -1] - error, near[:, sure - 1] + error
        middle = min(SETTLED, kept)
        thin = near[:, middle:].amin(dim=1) if middle < sure else near[:, -1]
        settled[here] = thin > CANCELLATION * (own + others[nearest].amax(dim=1))
        near[:, :middle] = measured(points, rows[here], nearest[:, :middle])
        near[:, sure:] = measured(points, rows[here], nearest[:, sure:])
        ends = near[:, sure:].sort(dim=1).values
        if kept < points.n - 1:
            settled[here] &= beyond > ends[:, last - sure - 1]
        if sure:
            settled[here] &= inside < ends[:, last - sure - 1]
        squared[here], candidates[here] = in_order(near, nearest)
    return squared, candidates, settled


def in_double(
    points: Points, rows: torch.Tensor, kept: int, block_bytes: int = BLOCK_BYTES
) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared distances and ids (r, kept) of the nearest by products in float64, with pairs that cancel measured."""
    squared = torch.empty((len(rows), kept), device=points.device, dtype=torch.float32)
    candidates = torch.empty((len(rows), kept), dtype=torch.int64, device=points.device)
    for here, table, own, others in _tables(points, rows, torch.float64, block_bytes):
        _measure_cancelled(points, rows[here], table, (own[:, None] + others).mul_(cancelling(points.dim)))
        # In float32 equal distances are equal again. Bits of numbers from 0 on sort as the numbers do; then the index.
        bits = table.clamp_(min=0).float().add_(0.0).view(torch.int32)
        order = table.view(torch.int64).copy_(bits).bitwise_left_shift_(32)
        order |= torch.arange(points.n, device=points.device)
        order = order.topk(kept, dim=1, largest=False).values
        squared[here] = (order >> 32).int().view(torch.float32)
        candidates[here] = order.bitwise_and_(0xFFFFFFFF)
    return squared, candidates


def _measure_cancelled(points: Points, rows: torch.Tensor, table: torch.Tensor, least: torch.Tensor) -> None:
    """Replace what lies at or below `least` (r, n) in a table of squared distances by direct differences."""
    cancelled = table <= least
    counts = cancelled.sum(dim=1)
    few = ((counts > 0) & (counts <= FEW)).nonzero()[:, 0]
    if few.numel():
        # Each row measures as many pairs as the row with the most; measuring more does no harm.
        others = cancelled[few].to(torch.uint8).topk(int(counts[few].max()), dim=1).indices
        near = measured(points, rows[few], others).double()
        table[few[:, None], others] = near.masked_fill_(others == rows[few][:, None], math.inf)
    many = (counts > FEW).nonzero()[:, 0]
    step = max(1, BLOCK_BYTES // (16 * points.n))
    for start in range(0, len(many), step):
        some = many[start : start + step]
        everyone = torch.arange(points.n, device=points.device).expand(len(some), -1)
        near = measured(points, rows[some], everyone).double()
        near[torch.arange(len(some), device=points.device), rows[some]] = math.inf
        table[some] = near


def _tables(
    points: Points, rows: torch.Tensor, dtype: torch.dtype, block_bytes: int
) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Blocks of rows with their squared distances (b, n) to all samples, and the squared norms (b,) and (n,)."""
    n, size = points.n, dtype.itemsize
    longest = max(n, points.dim) if points.device.type == "cpu" else n  # a row of products, or a sample
    height, width = max(1, block_bytes // (size * longest)), max(1, block_bytes // (size * points.dim))
    whole = points.centred(slice(None), dtype) if width >= n else None
    norms = torch.empty(n, dtype=dtype, device=points.device)
    for top in range(0, len(rows), height):
        here = slice(top, min(top + height, len(rows)))
        own = points.centred(rows[here], dtype)
        own_norms = _squared_norms(own)
        table = torch.empty((len(own), n), dtype=dtype, device=points.device)
        for start in range(0, n, width):
            there = slice(start, start + width)
            others = points.centred(there, dtype) if whole is None else whole
            norms[there] = _squared_norms(others)
            torch.addmm(norms[there], own, others.T, alpha=-2, out=table[:, there])
        table.add_(own_norms[:, None])
        table[torch.arange(len(own), device=points.device), rows[here]] = math.inf
        yield here, table, own_norms, norms


def _squared_norms(samples: torch.Tensor) -> torch.Tensor:
    """(r,) squared norms in the samples' type, summed in double precision: the bounds assume exact norms."""
    return samples.square().sum(dim=1, dtype=torch.float64).to(samples.dtype)
