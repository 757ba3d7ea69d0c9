"""Exact neighbours over the ranks of a process group, each of which holds some of the samples and their neighbours.

All samples are passed around the ranks in blocks, two or three times: for a shortlist of candidates by float32
products; for the candidates' distances by direct difference; and, where a product cannot decide which samples are
nearest, for distances in float64. What a rank does between two exchanges fails on all ranks or on none.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist

from rra_monitor.graph.bounds import squared_error, vanishing
from rra_monitor.graph.knn import TIE_TOLERANCE
from rra_monitor.graph.points import BEYOND, MEMORY_BUDGET, real_tensor
from rra_monitor.graph.precision import full_precision
from rra_monitor.graph.ring import Ring, wire_of, written
from rra_monitor.graph.ring_passes import Differences, InDouble, Shortlist, TrueRows, in_order
from rra_monitor.graph.ring_sizes import SPARE, ring_sizes, slices
from rra_monitor.graph.sharded import ShardedGraph
from rra_monitor.graph.spot_check import warn
from rra_monitor.utils.collectives import agreed, gathered, held

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

HALF = (torch.float16, torch.bfloat16)


def distributed_graph(
    features: torch.Tensor, k: int, group: ProcessGroup, memory_budget: int | None = None
) -> ShardedGraph:
    """This rank's rows of the exact graph of the samples of all ranks; a collective call.

    The samples of rank 0 come first, then those of rank 1 and so on; indices are positions in that order. Distances are
    the Euclidean ones of the features in float32, all measured by direct difference. A few rows of each rank are
    checked in float64; if one is wrong, all are built again in double precision, with a warning.

    Args:
        features: (n_r, …) real features of this rank's samples; may be empty: (0, …). Counts may differ between ranks.
        k: number of neighbours of each sample, 1 to n-1 for the n samples of all ranks.
        group: existing torch.distributed process group (gloo or NCCL) that this process belongs to.
        memory_budget: bytes that a rank may take beyond its features; the least of all ranks holds, see `ring_sizes`.

    Returns:
        A ShardedGraph of n_r rows; its ties, zeros and checks are those of all n samples.

    Raises:
        TypeError: features that are not real numbers in a dense tensor, a k that is not an integer; on all ranks,
            whichever rank finds it.
        ValueError: NaN or infinite features, k out of range, or k, the number of features or the kind of device differ
            between ranks, a memory budget below blocks of one sample; on all ranks likewise.
        RankError: any other exception of a rank, such as lack of memory; on all ranks likewise.
    """
    facts = gathered(lambda: _facts_of(features, k, memory_budget), group)
    _check_alike(facts)
    ring = agreed(lambda: _ring_of(features, facts, k, group), group)
    n = sum(ring.counts)
    kept, checked, failed = min(n - 1, k + SPARE), 0, 0
    with full_precision(ring.rows.device):
        centre = _mean(ring)
        spread = max(gathered(lambda: _spread(ring, centre), group))
        if not math.isfinite(spread):
            raise ValueError("differences between these features exceed float32; scale the features down")
        if spread == 0:  # a dead layer
            candidates, distances = agreed(lambda: _by_index(ring, kept), group)
        else:
            candidates, distances = _neighbours(ring, centre, spread, k, kept)
            rows = ring.visit(lambda: TrueRows(ring, candidates[:, :k]))
            checked, failed = map(sum, zip(*gathered(rows.counts, group), strict=True))
            if failed:
                if ring.rank == 0:
                    warn(failed, checked, n, ring.rows.shape[1])
                candidates, distances = _in_double(ring, centre, None, kept)
    overflows, ties, zeros = map(sum, zip(*gathered(lambda: _counts(distances, k), group), strict=True))
    if overflows:
        raise ValueError(BEYOND)
    return agreed(
        lambda: ShardedGraph(
            indices=candidates[:, :k].int().cpu().numpy(),
            distances=distances[:, :k].cpu().numpy(),
            offset=ring.offset,
            total=n,
            group=group,
            ties=ties / n,
            zeros=zeros / n,
            checked=checked,
            failed=failed,
        ),
        group,
    )


def _facts_of(features: torch.Tensor, k: int, memory_budget: int | None) -> dict[str, Any]:
    """The facts that the ranks must know of each other before they begin, or an error."""
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)):
        raise TypeError(f"k must be an integer, got {k!r}")
    if not isinstance(features, torch.Tensor):
        raise TypeError(f"features are of type {type(features).__name__}, expected a torch.Tensor of this rank's rows")
    given = features.dtype
    features = real_tensor(features.detach())
    if features.ndim < 2:
        raise ValueError(f"features of shape {tuple(features.shape)}; expected (n_r, …), also (0, …) for no sample")
    dim = math.prod(features.shape[1:])
    if dim == 0:
        raise ValueError(f"features of shape {tuple(features.shape)} are empty: no feature per sample")
    broken = torch.zeros(len(features), dtype=torch.bool, device=features.device)
    if features.is_floating_point():
        for here in slices(
            len(features), 2 * features.itemsize * dim, min((memory_budget or MEMORY_BUDGET) // 4, 8 << 20)
        ):
            broken[here] = ~torch.isfinite(features[here]).flatten(1).all(dim=1)
    if count := int(broken.sum()):
        raise ValueError(
            f"{count} of {len(features)} samples have NaN or infinite features (the first is the rank's sample "
            f"{int(broken.nonzero()[0, 0])}). Has the training diverged, or does this layer overflow in half precision?"
        )
    as_given = given in (torch.float32, *HALF) and features.is_contiguous()
    return {
        "n": len(features),
        "k": k,
        "d": dim,
        "type": features.dtype,
        "device": features.device.type,
        "copied": 0 if as_given else 4 * features.numel(),
        "memory_budget": memory_budget,
    }


def _check_alike(facts: list[dict[str, Any]]) -> None:
    """Refuse facts of the ranks that do not agree; all ranks know all facts, so all raise the same error."""
    for name in ("k", "d", "device"):
        values = [fact[name] for fact in facts]
        if len(set(values)) > 1:
            raise ValueError(f"{name} differs between ranks: {values} by rank; pass the same on every rank")
    n, k = sum(fact["n"] for fact in facts), facts[0]["k"]
    if not 1 <= k < n:
        raise ValueError(
            f"k={k} for n={n} samples on {len(facts)} ranks: each has {n - 1} others, so k must lie in 1 to {n - 1}. "
            "Lower k, or take more samples"
        )


def _ring_of(features: torch.Tensor, facts: list[dict[str, Any]], k: int, group: ProcessGroup) -> Ring:
    """The ring over the ranks, with blocks that keep the least budget of all."""
    counts, dim, types = [fact["n"] for fact in facts], facts[0]["d"], {fact["type"] for fact in facts}
    rows = real_tensor(features.detach()).reshape(len(features), dim).contiguous()
    as_given = len(types) == 1 and rows.dtype in HALF  # half precision travels as such, at half the cost
    copied = max(fact["copied"] for fact in facts) if len(types) == 1 else 4 * max(counts) * dim
    budgets = [fact["memory_budget"] for fact in facts if fact["memory_budget"] is not None]
    kept = min(sum(counts) - 1, k + SPARE)
    sizes = ring_sizes(counts, dim, kept, copied, rows.device.type, min(budgets, default=None))
    return Ring.over(rows if as_given else rows.float(), counts, group, sizes)


def _mean(ring: Ring) -> torch.Tensor:
    """(d,) float64 mean of the samples of all ranks."""

    def own() -> torch.Tensor:
        total = torch.zeros(ring.rows.shape[1], dtype=torch.float64, device=ring.rows.device)
        for here in ring.sizes.tiles(len(ring.rows), 8 * ring.rows.shape[1]):
            total += written(ring.rows[here], ring.tile, torch.float64).sum(dim=0)
        return total.to(wire_of(total.device, ring.group))

    total = agreed(own, ring.group)
    dist.all_reduce(total, group=ring.group)
    held(total)
    return total.to(ring.rows.device) / sum(ring.counts)


def _spread(ring: Ring, centre: torch.Tensor) -> float:
    """The largest feature of this rank's samples, centred; infinite where float32 overflows."""
    largest, centre = 0.0, centre.float()
    for here in ring.sizes.tiles(len(ring.rows), 4 * ring.rows.shape[1]):
        value = float(written(ring.rows[here], ring.tile, torch.float32).sub_(centre).abs_().max())
        largest = max(largest, value if math.isfinite(value) else math.inf)
    return largest


def _by_index(ring: Ring, kept: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The first other samples (n_r, kept) and their distances, where all samples are equal."""
    everyone = torch.arange(kept, device=ring.rows.device).expand(len(ring.rows), -1)
    own = torch.arange(ring.offset, ring.offset + len(ring.rows), device=ring.rows.device)
    candidates = everyone + (everyone >= own[:, None])
    return candidates, torch.zeros(candidates.shape, device=candidates.device, dtype=torch.float32)


def _neighbours(
    ring: Ring, centre: torch.Tensor, spread: float, k: int, kept: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Candidates and their float32 distances (n_r, kept), ascending, equal distances by index."""
    scale = float(np.ldexp(1.0, math.frexp(spread)[1]))  # a power of two: dividing by it is exact
    short = ring.visit(lambda: Shortlist(ring, centre, scale, kept))
    candidates = short.candidates
    squared = ring.visit(lambda: Differences(ring, candidates)).squared

    def measured() -> tuple[torch.Tensor, torch.Tensor]:
        distances = torch.empty(squared.shape, dtype=torch.float32, device=squared.device)
        thin = torch.zeros(len(squared), dtype=torch.bool, device=squared.device)
        for here in ring.sizes.tiles(len(squared), 24 * kept):
            distances[here] = squared[here].sqrt()
            if kept < sum(ring.counts) - 1:
                last = short.values[here].amax(dim=1) + short.norms[here]
                thin[here] = _is_thin(squared[here], last, short.norms[here], k, scale, ring.rows.shape[1])
        return distances, thin.nonzero()[:, 0]

    distances, thin = agreed(measured, ring.group)
    found = _in_double(ring, centre, thin, kept) if sum(gathered(lambda: len(thin), ring.group)) else None

    def ordered() -> tuple[torch.Tensor, torch.Tensor]:
        if found is not None:
            candidates[thin], distances[thin] = found
        for here in ring.sizes.tiles(len(candidates), 64 * kept):
            candidates[here], distances[here] = in_order(candidates[here], distances[here])
        return candidates, distances

    return agreed(ordered, ring.group)


def _in_double(
    ring: Ring, centre: torch.Tensor, thin: torch.Tensor | None, kept: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Candidates and float32 distances (t, kept) of some of this rank's samples, in float64; of all if None."""

    def begin() -> InDouble:
        rows = torch.arange(len(ring.rows), device=ring.rows.device) if thin is None else thin
        return InDouble(ring, centre, rows, kept)

    found = ring.visit(begin)
    return found.candidates, found.distances


def _is_thin(
    squared: torch.Tensor, last: torch.Tensor, norms: torch.Tensor, k: int, scale: float, dim: int
) -> torch.Tensor:
    """(r,) whether, given the product's error, a sample outside the shortlist may be as near as the k-th.

    Such a sample's product is at least that of the last candidate. If it is as near as the k-th neighbour, its norm is
    at most the sum of the own norm and that distance, which bounds the error.

    Args:
        squared: (r, kept) squared distances of the candidates.
        last: (r,) squared distance of the last one by its product, in units of the scale.
        norms: (r,) squared norms, in units of the scale.
        k: number of neighbours.
        scale: the scale.
        dim: number of features.
    """
    kth = squared.kthvalue(k, dim=1).values / scale**2
    norms = norms.double()
    error = squared_error(dim, torch.float32) * (norms + (norms.sqrt() + kth.sqrt()).square())
    error += vanishing(dim)  # squares far below the scale vanish
    return last.double() - error <= kth


def _counts(distances: torch.Tensor, k: int) -> tuple[int, int, int]:
    """Of some rows, the numbers of infinite distances, of tied k-th ones and of rows with a duplicate."""
    more = distances.shape[1] > k
    ties = int((distances[:, k - 1] >= (1 - TIE_TOLERANCE) * distances[:, k]).sum()) if more else 0
    return int(torch.isinf(distances).sum()), ties, int((distances[:, 0] == 0).sum())
