"""Candidates from products of float16 numbers, which GPUs multiply on tensor cores: exact by a bound on the error.

As `rra_monitor.graph.sieve` does on the CPU, by full rows. Samples are centred, scaled and rounded to float16, and how
far each is moved by that is measured. A row of products gives a shortlist of the k nearest and some more, whose
distances are computed from differences, but for those that the products show to be too far. What lies beyond the
shortlist is at least as far as its last candidate, but for the errors of the product and the moves of both ends. A row
is certain where that is farther than the last neighbour. Rows that are not get a longer shortlist, where that may help,
and are left to another precision otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from rra_monitor.graph.bounds import TOGETHER, UNIT, tensor_core_error
from rra_monitor.graph.distances import squared_differences
from rra_monitor.graph.points import Points
from rra_monitor.graph.smallest import kernels_for, smallest

LIFT = 15
"""Features of at most 1 are multiplied by 2^LIFT: half of what float16 can hold, and far above what vanishes in it."""

SMALLEST = 2.0**-14
"""The smallest normal float16. Some processors treat smaller factors as 0."""

MARGINS = (16, 256)
"""Candidates beyond k, at first and where that does not do; at first k / SHARE more."""

SHARE = 3
"""In layers of many dimensions distances lie close together: in those of an untrained ResNet20 on 15,000 samples with
k = 150 half of the rows to nearly all need more than 16 candidates beyond k, and none needs 64."""

HOPEFUL = 1.25
"""If the errors widen the squared distance of the last neighbour by more than this factor, no second shortlist is made:
in many dimensions distances lie so close together that it would have to hold most samples."""

STRIP_BYTES = 1 << 29
"""Bound on the candidates that are measured at once."""

MEASURED = 2.0**-17
"""Relative error of a squared distance by differences: 128 roundings to float32, of two in each difference, one in its
square and the others in the sums of a chunk of features."""


@dataclass(frozen=True)
class Rounded:
    """Samples as the products see them, times 2^LIFT.

    Attributes:
        halves: (n, d) float16, with zeros up to a multiple of 8 features, which tensor cores like.
        norms: (n,) their squared norms, exact but for a rounding to float32.
        lengths: (n,) float64 roots of these.
        moved: (n,) float64, at least the distance between the rounded and the true sample.
        longest: () the largest length.
        most_moved: () the largest move.
        relative: () the largest of the moves less a floor, that of features below float16's normal numbers, as a part
            of the true length.
    """

    halves: torch.Tensor
    norms: torch.Tensor
    lengths: torch.Tensor
    moved: torch.Tensor
    longest: torch.Tensor
    most_moved: torch.Tensor
    relative: torch.Tensor

    @classmethod
    def of(cls, points: Points, block_bytes: int) -> Rounded:
        """All samples, rounded in blocks of at most about that size."""
        width = math.ceil(points.dim / 8) * 8
        exponent = LIFT - round(math.log2(points.scale))
        kernels = kernels_for(points.device)
        if kernels is not None:
            halves, norms, moves = kernels.round_samples(points.matrix, points.centre, exponent, width)
        else:
            halves = torch.zeros((points.n, width), dtype=torch.float16, device=points.device)
            norms, moves = torch.empty((2, points.n), device=points.device, dtype=torch.float32)
            height = max(1, block_bytes // (16 * points.dim))
            for top in range(0, points.n, height):
                here = slice(top, top + height)
                made = points.centred(here).mul_(2.0**LIFT)
                halves[here, : points.dim] = made
                seen = halves[here, : points.dim].float()
                norms[here] = seen.square().sum(dim=1, dtype=torch.float64)
                moves[here] = made.sub_(seen).square_().sum(dim=1)
        # The sum of squares was in float32. What was rounded was within a UNIT of the true sample, feature by feature.
        unit = UNIT[torch.float32]
        lengths, moved = torch.stack((norms, moves)).double().sqrt_()
        moved.mul_((1 + points.dim * unit) * (1 + unit)).add_(lengths, alpha=unit).add_(_floor(points) / 2)
        moved.mul_(1 + 4 * unit)
        # A true length is at least the rounded one less its move.
        above = (moved - _floor(points)).clamp_(min=0) / (lengths - moved).clamp_(min=0)
        above.nan_to_num_(nan=0.0, posinf=math.inf)
        return cls(halves, norms, lengths, moved, *torch.stack((lengths, moved, above)).amax(dim=1))


def _floor(points: Points) -> float:
    """Twice how far a sample is moved by features below float16's normal numbers, at most."""
    return 2 * SMALLEST * math.sqrt(points.dim)


def in_half(
    points: Points, k: int, block_bytes: int
) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
    """The nearest min(k + 1, n - 1) others of every sample by products in float16, as far as these are certain.

    Args:
        points: n samples.
        k: number of neighbours.
        block_bytes: bound on a block of products, but for a row.

    Returns:
        (n, k + 1) squared distances in float32, in units of the points' scale, ascending, equal distances by id; their
        int64 ids; the rows that were left open after the shorter shortlist and after the longer one, too, whose values
        are not to be used.
    """
    rounded = Rounded.of(points, block_bytes)
    everyone = torch.arange(points.n, device=points.device)
    squared, ids, error = _shortlisted(points, rounded, everyone, k, MARGINS[0] + k // SHARE, block_bytes)
    first = open_rows = (error > 0).nonzero()[:, 0]  # waits for the device
    if len(first):
        again = open_rows[error[open_rows] <= HOPEFUL]
        if len(again):
            squared[again], ids[again], error[again] = _shortlisted(points, rounded, again, k, MARGINS[1], block_bytes)
            open_rows = (error > 0).nonzero()[:, 0]
    return squared, ids, (first, open_rows)


def _shortlisted(
    points: Points, rounded: Rounded, rows: torch.Tensor, k: int, margin: int, block_bytes: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Squared distances and ids (r, k + 1) of some samples; (r,) 0 where certain, else the widening by errors."""
    kept, shown = min(points.n - 1, k + margin), min(points.n - 1, k + 1)
    candidates = torch.empty((len(rows), kept), dtype=torch.int64, device=points.device)
    near = torch.empty((len(rows), kept), device=points.device, dtype=torch.float32)
    height = max(1, block_bytes // (4 * points.n))
    for top in range(0, len(rows), height):
        here = slice(top, top + height)
        table = _products(rounded.halves[rows[here]], rounded.halves)
        near[here], candidates[here] = smallest(table, rounded.norms, rows[here], kept)
    last = near[:, -1].double()
    candidates.masked_fill_(near > _limit(points, rounded, rows, near[:, shown - 1])[:, None], -1)
    squared = torch.empty((len(rows), shown), device=points.device, dtype=torch.float32)
    ids = torch.empty((len(rows), shown), dtype=torch.int64, device=points.device)
    for top in range(0, len(rows), strip := max(1, STRIP_BYTES // (32 * kept))):
        here = slice(top, top + strip)
        apart = squared_differences(points, rows[here], candidates[here])
        squared[here], ids[here] = _in_order(apart, candidates[here], shown)
    error = _widening(points, rounded, rows, last, squared[:, -1].double())
    return squared, ids, error if kept < points.n - 1 else torch.zeros_like(error)


def _products(own: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """(r, n) float32 inner products of float16 samples, summed over at most TOGETHER features at a time."""
    total = None
    for start in range(0, own.shape[1], TOGETHER):
        here = slice(start, start + TOGETHER)
        part = multiplied(own[:, here], others[:, here])
        total = part if total is None else total.add_(part)
    assert total is not None
    return total


def multiplied(own: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """own @ others.T of float16 matrices, summed and returned in float32."""
    if own.device.type == "cuda" and hasattr(torch.ops.aten.mm, "dtype"):  # from torch 2.8 on
        return torch.mm(own, others.T, out_dtype=torch.float32)
    return own.float() @ others.float().T


def _in_order(squared: torch.Tensor, ids: torch.Tensor, shown: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The nearest (r, shown), equal distances in float32 by id. Bits of numbers from 0 on sort as the numbers do.

    An id of -1 stands for no sample, at an infinite distance, and comes last.
    """
    order = squared.float().add_(0.0).view(torch.int32).long().bitwise_left_shift_(32).bitwise_or_(ids & 0xFFFFFFFF)
    order = order.sort(dim=1).values[:, :shown]
    return (order >> 32).int().view(torch.float32), order & 0xFFFFFFFF


def _widening(
    points: Points, rounded: Rounded, rows: torch.Tensor, last: torch.Tensor, kth: torch.Tensor
) -> torch.Tensor:
    """(r,) 0 where no other sample can be as near as the last neighbour, else by how much errors widen its square.

    Suppose that a sample y, not among the candidates of x, is within the distance r of the last neighbour. Rounded,
    both are within `reach`, r and their two moves. y's move is at most the largest of all; and at most a floor, that of
    features below float16's normal numbers, and what lies above it in the largest proportion to a length times |x| + r,
    which is at least |y|. The rounded |y| is at most the rounded |x| + reach. This bounds the error of their squared
    distance by products, which is at least `last` + |x|²: twice that of the inner product, and four roundings to
    float32 of at most |x|² + |y|² each, two of them of the norms, twice, as a margin for second-order terms. It is a
    contradiction if even so the squared distance exceeds reach².
    """
    own, moved = rounded.lengths[rows], rounded.moved[rows]
    radius = kth.mul((1 + MEASURED) * 4.0**LIFT).sqrt_()
    reach = radius + moved
    reach += (rounded.relative * (own + reach)).add_(_floor(points)).clamp_(max=rounded.most_moved)
    error = _error(points, own, torch.minimum(rounded.longest, own + reach))
    reach.square_()
    certain = (last - error).addcmul_(own, own) > reach
    return torch.where(certain, 0.0, reach.add_(error).div_(radius.square_()))


def _error(points: Points, own: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """(r,) bound on the error of a squared distance by products, of samples of these lengths; see `_widening`."""
    roundings = own.square().addcmul_(other, other).mul_(8 * UNIT[torch.float32])
    return roundings.addcmul_(own, other, value=2 * tensor_core_error(points.dim))


def _limit(points: Points, rounded: Rounded, rows: torch.Tensor, near: torch.Tensor) -> torch.Tensor:
    """(r,) float64: candidates whose values by products exceed this are farther than all those up to `near`.

    Those are rounded within the root of `near` + |x|² + error, so truly within that and two moves. A candidate that is
    truly as near is, rounded, within two moves more, and its value by products is off by the error once more.
    """
    own = rounded.lengths[rows]
    square = own.square()
    error = _error(points, own, rounded.longest)
    moves = (rounded.moved[rows] + rounded.most_moved).mul_(2)
    reach = (square + error).add_(near).clamp_(min=0).sqrt_().add_(moves).mul_(1 + MEASURED)
    return reach.square_().add_(error).sub_(square)
