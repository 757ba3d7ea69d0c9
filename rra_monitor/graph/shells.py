"""The pairs of samples that may be among the nearest, by a bound on the error of accumulated products.

The bound. A chunk of w features is centred, scaled by a power of two, and multiplied in float32: the product of x and y
is off by at most (w + c) 2^-24 |x| |y|, with the norms of that chunk (`rra_monitor.graph.bounds`: c are the roundings
beside those of the sum, centring among them). Chunks are added up in float64, whose roundings are lost in the margin
of c. The sum of |x| |y| over the chunks is at most |x| |y| of all features, by Cauchy and Schwarz. So the squared
distance |x|² + |y|² - 2 x·y of all features is off by at most `squared_error(w)` of |x|² + |y|², however many chunks
there are, and by what vanishes in float32, a sum over the chunks in the units of each. If s is a squared distance by
products and e its bound, at least k + 1 others lie truly within r, the (k + 1)-th smallest of s + e; so what is truly
among the k + 1 nearest, or ties with the last of them, has s - e <= r.
"""

import math
from collections.abc import Collection

import torch

from rra_monitor.graph.knn import TIE_TOLERANCE
from rra_monitor.graph.pairs import Pairs
from rra_monitor.graph.tiles import Tiles

ROUNDED = 1 + 2.0**-22
"""Squared distances that differ by less than this factor may be equal in float32, in which they are ranked."""


def wanted_pairs(
    products: Tiles,
    norms: torch.Tensor,
    errors: tuple[float, float],
    kept: int,
    drawn: Collection[int],
    height: int,
) -> tuple[Pairs, dict[int, torch.Tensor]]:
    """For each sample of a group all others that may be among its nearest, each pair of the group once.

    Args:
        products: inner products of the group's samples with all.
        norms: (n,) squared norms.
        errors: bounds on the error of a squared distance, as a fraction of the squared norms, and what is added to it.
        kept: number of nearest that are wanted.
        drawn: samples whose pairs are all wanted, to check the bound.
        height: rows that are looked at together.

    Returns:
        The pairs; and of the group's samples that were drawn (n,) whether each other may be among their nearest.
    """
    relative, floor = errors
    n, pairs, shells = len(norms), Pairs(), {}
    everyone = torch.arange(n, device=norms.device)
    listed = torch.full((n,), -math.inf, dtype=torch.float64, device=norms.device)
    for top, bottom in products.strips(height):
        rows = everyone[top:bottom, None]
        both = norms + norms[rows]
        near = products.rows(top, bottom).mul_(-2).add_(both)
        both.mul_(relative).add_(floor)
        above = near + both
        above[rows == everyone] = math.inf
        radius = above.topk(kept, largest=False, sorted=False).values.amax(dim=1).mul_(ROUNDED)
        del above
        below = near.sub_(both)
        below[rows == everyone] = math.inf
        del near, both
        listed[top:bottom] = radius
        for row in sorted(set(range(top, bottom)).intersection(drawn)):
            shells[row] = below[row - top] <= radius[row - top]
            listed[row] = torch.finfo(torch.float64).max
        wanted = below <= listed[top:bottom, None]
        wanted &= ~((everyone < rows) & (below <= listed))  # the other one has the pair
        del below
        pairs.append(wanted, top)
    return pairs, shells


def all_pairs(first: int, stop: int, n: int, height: int, device: torch.device) -> Pairs:
    """All pairs of the samples first to stop with n, ready to be measured."""
    pairs, everyone = Pairs(), torch.arange(n, device=device)
    for top in range(first, stop, height):
        rows = everyone[top : min(top + height, stop), None]
        pairs.append((everyone > rows) | (everyone < first), top)
    pairs.begin()
    return pairs


def misses(squared: torch.Tensor, shell: torch.Tensor, k: int) -> bool:
    """Whether the k nearest are not in the shell, but for ties."""
    true = squared.topk(k, largest=False).values.amax()
    found = squared[shell].topk(k, largest=False).values.amax()
    return not bool(found <= true * (1 + TIE_TOLERANCE) ** 2)
