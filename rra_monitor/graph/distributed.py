"""Exact neighbours over the ranks of a process group, each of which holds some of the samples and their neighbours.

All samples are passed around the ranks in blocks, two or three times: for a shortlist of candidates by float32
products; for the candidates' distances by direct difference; and, where a product cannot decide which samples are
nearest, for distances in float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist

from rra_monitor.graph.bounds import cancelling, squared_error, vanishing
from rra_monitor.graph.distances import pair_differences
from rra_monitor.graph.knn import TIE_TOLERANCE
from rra_monitor.graph.points import real_tensor
from rra_monitor.graph.precision import full_precision
from rra_monitor.graph.ring import Ring, wire_of
from rra_monitor.graph.sharded import ShardedGraph
from rra_monitor.graph.spot_check import count_wrong, rows_to_check, squares, warn
from rra_monitor.graph.workers import Workers
from rra_monitor.utils.collectives import gathered, held

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

SPARE = 8
"""Candidates beyond k: their distances tell whether rounding can have replaced a neighbour."""


def distributed_graph(features: torch.Tensor, k: int, group: ProcessGroup) -> ShardedGraph:
    """This rank's rows of the exact graph of the samples of all ranks; a collective call.

    The samples of rank 0 come first, then those of rank 1 and so on; indices are positions in that order. Distances are
    the Euclidean ones of the features in float32, all measured by direct difference. A few rows of each rank are
    checked in float64; if one is wrong, all are built again in double precision, with a warning.

    Args:
        features: (n_r, …) real features of this rank's samples; may be empty: (0, …). Counts may differ between ranks.
        k: number of neighbours of each sample, 1 to n-1 for the n samples of all ranks.
        group: existing torch.distributed process group (gloo or NCCL) that this process belongs to.

    Returns:
        A ShardedGraph of n_r rows; its ties, zeros and checks are those of all n samples.

    Raises:
        TypeError: features that are not real numbers in a dense tensor, a k that is not an integer; on all ranks,
            whichever rank finds it.
        ValueError: NaN or infinite features, k out of range, or k, the number of features or the kind of device differ
            between ranks; on all ranks likewise.
    """
    facts = gathered(lambda: _facts_of(features, k), group)
    ring = _ring_of(real_tensor(features.detach()), facts, group)
    n = sum(ring.counts)
    kept, checked, failed = min(n - 1, k + SPARE), 0, 0
    with full_precision(ring.rows.device):
        centre = _mean(ring)
        spread = max(gathered(lambda: _spread(ring, centre), group))
        if not math.isfinite(spread):
            raise ValueError("differences between these features exceed float32; scale the features down")
        if spread == 0:  # a dead layer
            everyone = torch.arange(kept, device=ring.rows.device).expand(len(ring.rows), -1)
            candidates = everyone + (everyone >= _ids_of(ring)[:, None])
            distances = torch.zeros(candidates.shape, device=candidates.device, dtype=torch.float32)
        else:
            candidates, distances = _neighbours(ring, centre, spread, k, kept)
            checked, failed = _wrong_rows(ring, candidates[:, :k])
            if failed:
                if ring.rank == 0:
                    warn(failed, checked, n, ring.rows.shape[1])
                candidates, distances = _in_double(
                    ring, centre, torch.arange(len(ring.rows), device=ring.rows.device), kept
                )
    own_sums = np.array(
        [
            float(torch.isinf(distances).any()),
            float((distances[:, k - 1] >= (1 - TIE_TOLERANCE) * distances[:, k]).sum()) if kept > k else 0.0,
            float((distances[:, 0] == 0).sum()),
        ]
    )
    overflows, ties, zeros = np.sum(gathered(lambda: own_sums, group), axis=0)
    if overflows:
        raise ValueError("distances between these features exceed float32; scale the features down")
    return ShardedGraph(
        indices=candidates[:, :k].int().cpu().numpy(),
        distances=distances[:, :k].cpu().numpy(),
        offset=ring.offset,
        total=n,
        group=group,
        ties=float(ties / n),
        zeros=float(zeros / n),
        checked=checked,
        failed=failed,
    )


def _facts_of(features: torch.Tensor, k: int) -> dict[str, Any]:
    """The facts that the ranks must know of each other before they begin, or an error."""
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)):
        raise TypeError(f"k must be an integer, got {k!r}")
    if not isinstance(features, torch.Tensor):
        raise TypeError(f"features are of type {type(features).__name__}, expected a torch.Tensor of this rank's rows")
    features = real_tensor(features.detach())
    if features.ndim < 2:
        raise ValueError(f"features of shape {tuple(features.shape)}; expected (n_r, …), also (0, …) for no sample")
    dim = math.prod(features.shape[1:])
    if dim == 0:
        raise ValueError(f"features of shape {tuple(features.shape)} are empty: no feature per sample")
    broken = torch.zeros(len(features), dtype=torch.bool, device=features.device)
    if features.is_floating_point():
        for here in _tiles(len(features), dim):
            broken[here] = ~torch.isfinite(features[here]).flatten(1).all(dim=1)
    if count := int(broken.sum()):
        raise ValueError(
            f"{count} of {len(features)} samples have NaN or infinite features (the first is the rank's sample "
            f"{int(broken.nonzero()[0, 0])}). Has the training diverged, or does this layer overflow in half precision?"
        )
    return {"n": len(features), "k": k, "d": dim, "type": features.dtype, "device": features.device.type}


def _ring_of(features: torch.Tensor, facts: list[dict[str, Any]], group: ProcessGroup) -> Ring:
    """The ring, if the facts of the ranks agree; all ranks know all facts, so all raise the same error."""
    for name in ("k", "d", "device"):
        values = [fact[name] for fact in facts]
        if len(set(values)) > 1:
            raise ValueError(f"{name} differs between ranks: {values} by rank; pass the same on every rank")
    counts, k = [fact["n"] for fact in facts], facts[0]["k"]
    n = sum(counts)
    if not 1 <= k < n:
        raise ValueError(
            f"k={k} for n={n} samples on {len(counts)} ranks: each has {n - 1} others, so k must lie in 1 to {n - 1}. "
            "Lower k, or take more samples"
        )
    types = {fact["type"] for fact in facts}
    # On a GPU half precision travels as such, at half the cost.
    half = features.device.type != "cpu" and (types == {torch.float16} or types == {torch.bfloat16})
    rows = features.reshape(len(features), facts[0]["d"]).contiguous()
    return Ring(rows if half else rows.float(), counts, dist.get_rank(group), group)


def _mean(ring: Ring) -> torch.Tensor:
    """(d,) float64 mean of the samples of all ranks."""
    total = torch.zeros(ring.rows.shape[1], dtype=torch.float64, device=ring.rows.device)
    for here in _tiles(*ring.rows.shape):
        total += ring.rows[here].sum(dim=0, dtype=torch.float64)
    total = total.to(wire_of(total.device, ring.group))
    dist.all_reduce(total, group=ring.group)
    held(total)
    return total.to(ring.rows.device) / sum(ring.counts)


def _spread(ring: Ring, centre: torch.Tensor) -> float:
    """The largest feature of this rank's samples, centred; infinite where float32 overflows."""
    largest = 0.0
    for here in _tiles(*ring.rows.shape):
        value = float((ring.rows[here].float() - centre.float()).abs().max())
        largest = max(largest, value if math.isfinite(value) else math.inf)
    return largest


def _neighbours(
    ring: Ring, centre: torch.Tensor, spread: float, k: int, kept: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Candidates and their float32 distances (n_r, kept), ascending, equal distances by index."""
    scale = float(np.ldexp(1.0, math.frexp(spread)[1]))  # a power of two: dividing by it is exact
    candidates, last, norms = _shortlist(ring, centre, scale, kept)
    squared = _measured(ring, candidates)
    distances = squared.sqrt().float()
    if kept < sum(ring.counts) - 1:
        thin = _thin(squared, last, norms, k, scale, ring.rows.shape[1])
        if sum(gathered(lambda: len(thin), ring.group)):
            candidates[thin], distances[thin] = _in_double(ring, centre, thin, kept)
    return _in_order(candidates, distances)


def _wrong_rows(ring: Ring, candidates: torch.Tensor) -> tuple[int, int]:
    """The number of rows of all ranks that were compared with float64, and the number of these that are wrong."""
    neighbours = candidates.cpu().numpy()
    rows = rows_to_check(neighbours, len(neighbours))
    own = ring.rows[torch.from_numpy(rows).to(ring.rows.device)]
    squared = np.empty((len(rows), sum(ring.counts)))
    with Workers() as workers:
        for first, block in ring.blocks():
            squared[:, first : first + len(block)] = squares(own, block, workers)
    squared[np.arange(len(rows)), rows + ring.offset] = np.inf
    counts = np.array([len(rows), count_wrong(squared, neighbours[rows]) if len(rows) else 0])
    checked, failed = np.sum(gathered(lambda: counts, ring.group), axis=0)
    return int(checked), int(failed)


def _shortlist(
    ring: Ring, centre: torch.Tensor, scale: float, kept: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """By float32 products: the nearest others (n_r, kept), the last one's squared distance and squared norms (n_r,).

    The latter two are in units of the scale.
    """
    own = ring.rows
    values = torch.full((len(own), kept), math.inf, device=own.device, dtype=torch.float32)
    candidates = torch.zeros((len(own), kept), dtype=torch.int64, device=own.device)
    norms = torch.zeros(len(own), device=own.device, dtype=torch.float32)
    centre = centre.float()
    for first, block in ring.blocks():
        others = block.float().sub(centre).div_(scale)
        other_norms = others.square().sum(dim=1, dtype=torch.float64).float()
        for here in _tiles(len(own), max(own.shape[1], len(block)), ring.block_bytes):
            rows = own[here].float().sub(centre).div_(scale)
            norms[here] = rows.square().sum(dim=1, dtype=torch.float64).float()
            products = torch.addmm(other_norms, rows, others.T, alpha=-2)
            products.diagonal(ring.offset + here.start - first).fill_(math.inf)  # no sample is its own neighbour
            values[here], candidates[here] = _merged(values[here], candidates[here], products, first)
    return candidates, values.amax(dim=1) + norms, norms


def _merged(
    values: torch.Tensor, candidates: torch.Tensor, block: torch.Tensor, first: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The smallest of the values so far and of a block of new ones, with their ids; in no order."""
    kept = values.shape[1]
    new, columns = block.topk(min(kept, block.shape[1]), largest=False, sorted=False)
    smallest, places = torch.cat([values, new], dim=1).topk(kept, largest=False, sorted=False)
    return smallest, torch.cat([candidates, columns + first], dim=1).gather(1, places)


def _measured(ring: Ring, candidates: torch.Tensor) -> torch.Tensor:
    """Squared distances (n_r, kept) of the candidates in float64, by difference while their block is here."""
    squared = torch.empty(candidates.shape, dtype=torch.float64, device=candidates.device)
    for first, block in ring.blocks():
        rows, places = ((candidates >= first) & (candidates < first + len(block))).nonzero(as_tuple=True)
        squared[rows, places] = pair_differences(ring.rows, block, rows, candidates[rows, places] - first)
    return squared


def _thin(
    squared: torch.Tensor, last: torch.Tensor, norms: torch.Tensor, k: int, scale: float, dim: int
) -> torch.Tensor:
    """The rows in which, given the product's error, a sample outside the shortlist may be as near as the k-th.

    Such a sample's product is at least that of the last candidate. If it is as near as the k-th neighbour, its norm is
    at most the sum of the own norm and that distance, which bounds the error.
    """
    if not len(squared):
        return torch.zeros(0, dtype=torch.int64, device=squared.device)
    kth = squared.kthvalue(k, dim=1).values / scale**2
    norms = norms.double()
    error = squared_error(dim, torch.float32) * (norms + (norms.sqrt() + kth.sqrt()).square())
    error += vanishing(dim)  # squares far below the scale vanish
    return (last.double() - error <= kth).nonzero()[:, 0]


def _in_double(ring: Ring, centre: torch.Tensor, thin: torch.Tensor, kept: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Candidates and float32 distances (thin, kept) of some rows, among all samples.

    From float64 products, and from differences for the pairs in which even these cancel. Equal distances are equal in
    float32, so that the lower indices can win.
    """
    own, least = ring.rows, cancelling(ring.rows.shape[1])
    distances = torch.full((len(thin), kept), math.inf, device=own.device, dtype=torch.float32)
    candidates = torch.zeros((len(thin), kept), dtype=torch.int64, device=own.device)
    for first, block in ring.blocks():
        others = block.double() - centre
        other_norms = others.square().sum(dim=1)
        columns = torch.arange(first, first + len(block), device=own.device)
        for here in _tiles(len(thin), 2 * max(own.shape[1], len(block)), ring.block_bytes):
            rows = own[thin[here]].double() - centre
            norms = rows.square().sum(dim=1, keepdim=True) + other_norms
            squared = torch.addmm(norms, rows, others.T, alpha=-2)
            squared[columns == thin[here, None] + ring.offset] = math.inf
            cancelled, columns_there = (squared <= least * norms).nonzero(as_tuple=True)
            squared[cancelled, columns_there] = pair_differences(own, block, thin[here][cancelled], columns_there)
            new, order = squared.sqrt().float().sort(dim=1, stable=True)
            both = torch.cat([candidates[here], order[:, :kept] + first], dim=1)
            ordered, nearest = _in_order(both, torch.cat([distances[here], new[:, :kept]], dim=1))
            candidates[here], distances[here] = ordered[:, :kept], nearest[:, :kept]
    return candidates, distances


def _in_order(candidates: torch.Tensor, distances: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both ascending by distance, equal distances by index."""
    candidates, by_index = candidates.sort(dim=1)
    distances, by_distance = distances.gather(1, by_index).sort(dim=1, stable=True)
    return candidates.gather(1, by_distance), distances


def _ids_of(ring: Ring) -> torch.Tensor:
    return torch.arange(ring.offset, ring.offset + len(ring.rows), device=ring.rows.device)


def _tiles(rows: int, width: int, limit: int = 64 << 20) -> Iterator[slice]:
    """Slices of consecutive rows that hold at most `limit` bytes of float32, `width` to a row; at least a row each."""
    height = max(1, limit // (4 * width))
    return (slice(top, min(top + height, rows)) for top in range(0, rows, height))
