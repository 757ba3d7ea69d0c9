"""Exact neighbours by blocked matrix products, in single precision where that is enough and double where it is not.

Three steps: a shortlist of candidates from products of centred features; the nearest of them measured again by direct
difference; and for samples whose neighbours are too close for a product to tell apart, both again in double precision.
"""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from rra_monitor.graph.knn import TIE_TOLERANCE, KnnGraph
from rra_monitor.graph.precision import full_precision
from rra_monitor.graph.select import Shortlist, squared_differences

SETTLED = 8
"""This many nearest candidates of each sample are measured by direct difference: r1 and r2 decide the ID."""

TILE = 1024
"""Samples of a side of a tile on the CPU: its products stay in the cache for the selection, and the tiles on the
diagonal, which compute each pair twice, are few."""

BLOCK_BYTES = 128 << 20
"""Bound on a temporary block."""

CANCELLATION = 0.03
"""Where a squared distance falls below this share of the squared norms it comes from, the float32 product is not
trusted. Above it, distances of real feature maps (10 to 16,384 features) were within 1e-5 of float64."""

ROUNDING = 2e-6
"""Relative difference below which rounding of a float32 product may have swapped two distances."""

DOUBLE_CANCELLATION = 1e-9
"""The same share for a float64 product, below which every other sample is measured by direct difference."""


def exact_graph(features: torch.Tensor, k: int) -> KnnGraph:
    """The exact graph of (n, d) real, finite features, on their device."""
    if features.device.type == "mps":  # has no double precision
        features = features.cpu()
    n = len(features)
    # One more than k tells whether the k-th is tied, the rest that rounding cost no candidate its place.
    found = min(n - 1, k + SETTLED)
    with full_precision(features.device):
        raw = features.float()
        mean = raw.mean(dim=0, dtype=torch.float64)
        centred = raw - mean.float()
        scale = _scale_of(centred)
        centred = centred.div_(scale)
        on_cpu = raw.device.type == "cpu"
        squared, candidates, norms = (_shortlist if on_cpu else _shortlist_on_device)(centred, found)
        everyone = torch.arange(n, device=raw.device)
        squared[:, :SETTLED] = _direct(raw, everyone, candidates[:, :SETTLED], scale)
        thin = _thin(squared, candidates, norms, k)
        del centred
        if thin.numel():
            squared[thin], candidates[thin] = _in_double(raw, mean, thin, found, scale)
        squared, candidates = _in_order(squared, candidates)
        if found > k:
            # Measured directly, equal distances are equal, and the last neighbour does not depend on rounding.
            tied = _tied(squared, k, ROUNDING).nonzero()[:, 0]
            squared[tied] = _direct(raw, tied, candidates[tied], scale)
            squared, candidates = _in_order(squared, candidates)
        distances = squared[:, :k].double().sqrt().mul(scale).float()
    if not torch.isfinite(distances).all():
        raise ValueError("distances between these features exceed float32; scale the features down")
    return KnnGraph(
        indices=candidates[:, :k].int().cpu().numpy(),
        distances=distances.cpu().numpy(),
        ties=float(_tied(squared, k, TIE_TOLERANCE).float().mean()) if found > k else 0.0,
        zeros=float((distances[:, 0] == 0).float().mean()),
    )


def _shortlist(centred: torch.Tensor, found: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Squared distances and indices (n, found) of the nearest others, and squared norms. Each product serves twice."""
    n = len(centred)
    norms = centred.square().sum(dim=1)
    threads = torch.get_num_threads()
    room = torch.empty(TILE * TILE)
    with ThreadPoolExecutor(threads) as pool:
        shortlist = Shortlist(norms.numpy(), found, pool, threads)
        for row in range(0, n, TILE):
            rows = centred[row : row + TILE]
            for column in range(row, n, TILE):
                columns = centred[column : column + TILE]
                products = room[: len(rows) * len(columns)].view(len(rows), len(columns))
                torch.mm(rows, columns.T, out=products)
                shortlist.add(products.numpy(), row, column)
        squared, candidates = shortlist.nearest()
    return torch.from_numpy(squared), torch.from_numpy(candidates).long(), norms


def _shortlist_on_device(centred: torch.Tensor, found: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The same where a full row of products and its selection cost less than bookkeeping."""
    n = len(centred)
    norms = centred.square().sum(dim=1)
    squared = centred.new_empty((n, found))
    candidates = torch.empty((n, found), dtype=torch.int64, device=centred.device)
    rows = max(1, BLOCK_BYTES // (4 * n))
    for start in range(0, n, rows):
        here = slice(start, min(start + rows, n))
        block = torch.addmm(norms, centred[here], centred.T, alpha=-2).add_(norms[here, None])
        block.diagonal(start).fill_(math.inf)
        squared[here], candidates[here] = torch.topk(block, found, largest=False)
    return squared.clamp_(min=0), candidates, norms


def _thin(squared: torch.Tensor, candidates: torch.Tensor, norms: torch.Tensor, k: int) -> torch.Tensor:
    """The rows that float32 products do not settle.

    Either the nearest that was not measured directly is small compared with the norms, or the shortlist ends within
    a tie that begins at the k-th, so that the product's rounding chose among equals.
    """
    found = squared.shape[1]
    thin = torch.zeros(len(squared), dtype=torch.bool, device=squared.device)
    if found > SETTLED:
        thin |= squared[:, SETTLED] <= CANCELLATION * (norms + norms[candidates[:, SETTLED]])
    if found > k and found < len(squared) - 1:
        thin |= squared[:, -1] * (1 - TIE_TOLERANCE) ** 2 <= squared[:, k - 1]
    return thin.nonzero()[:, 0]


def _tied(squared: torch.Tensor, k: int, tolerance: float) -> torch.Tensor:
    """(n,) whether the k-th and the next distance agree within a relative tolerance."""
    return squared[:, k - 1] >= (1 - tolerance) ** 2 * squared[:, k]


def _in_double(
    raw: torch.Tensor, mean: torch.Tensor, rows: torch.Tensor, found: int, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared distances and candidates (rows, found) from a float64 product, distances from differences.

    Rows that even this does not settle (duplicates, clusters in the last digits) are compared with every sample.
    """
    n, dim = raw.shape
    squared = raw.new_empty((len(rows), found))
    candidates = torch.empty((len(rows), found), dtype=torch.int64, device=raw.device)
    width, height = max(1, BLOCK_BYTES // (8 * dim)), max(1, BLOCK_BYTES // (8 * n))
    for top in range(0, len(rows), height):
        here = rows[top : top + height]
        own = (raw[here].double() - mean) / scale
        norms = own.square().sum(dim=1, keepdim=True)
        table = torch.empty((len(here), n), dtype=torch.float64, device=raw.device)
        floor = torch.empty_like(table)
        for start in range(0, n, width):
            others = (raw[start : start + width].double() - mean) / scale
            sums = norms + others.square().sum(dim=1)
            table[:, start : start + width] = torch.addmm(sums, own, others.T, alpha=-2)
            floor[:, start : start + width] = DOUBLE_CANCELLATION * sums
        table[torch.arange(len(here), device=raw.device), here] = math.inf
        unsettled = (table < floor).any(dim=1).nonzero()[:, 0]
        if unsettled.numel():
            table[unsettled] = _all_direct(raw, here[unsettled], scale)
        # In float32 equal distances are equal again, and a stable sort leaves them in the order of their index.
        nearest = table.float().sort(dim=1, stable=True).indices[:, :found]
        candidates[top : top + height] = nearest
        squared[top : top + height] = _direct(raw, here, nearest, scale)
    return squared, candidates


def _all_direct(raw: torch.Tensor, rows: torch.Tensor, scale: float) -> torch.Tensor:
    """Squared distances (rows, n) of some samples to all others by difference; infinite to themselves."""
    if bool((raw == raw[0]).all()):  # a dead layer: common enough to be spared the arithmetic
        squared = torch.zeros((len(rows), len(raw)), dtype=torch.float64, device=raw.device)
    else:
        everyone = torch.arange(len(raw), device=raw.device).expand(len(rows), -1)
        squared = _direct(raw, rows, everyone, scale).double()
    squared[torch.arange(len(rows), device=raw.device), rows] = math.inf
    return squared


def _direct(raw: torch.Tensor, rows: torch.Tensor, candidates: torch.Tensor, scale: float) -> torch.Tensor:
    """Squared distances (rows, candidates) by difference, in units of the scale: nothing is lost to cancellation."""
    squared = torch.empty(candidates.shape, dtype=torch.float32, device=raw.device)
    if raw.device.type == "cpu":
        threads = torch.get_num_threads()
        arguments = (
            raw.contiguous().numpy(),
            rows.numpy(),
            candidates.contiguous().numpy(),
            1 / scale,
            squared.numpy(),
        )
        cuts = np.linspace(0, len(rows), threads + 1).astype(int)
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda start, stop: squared_differences(*arguments, start, stop), cuts[:-1], cuts[1:]))
        return squared
    step = max(1, BLOCK_BYTES // (4 * raw.shape[1] * candidates.shape[1]))
    for start in range(0, len(rows), step):
        here = slice(start, start + step)
        squared[here] = raw[candidates[here]].sub_(raw[rows[here], None]).div_(scale).square_().sum(dim=2)
    return squared


def _in_order(squared: torch.Tensor, candidates: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both ascending by distance, equal distances by index."""
    candidates, by_index = candidates.sort(dim=1)
    squared, by_distance = squared.gather(1, by_index).sort(dim=1, stable=True)
    return squared, candidates.gather(1, by_distance)


def _scale_of(centred: torch.Tensor) -> float:
    """A power of two near the largest value, so that squares neither overflow nor vanish; dividing by it is exact."""
    low, high = torch.aminmax(centred)
    largest = max(-float(low), float(high))
    if not math.isfinite(largest):
        raise ValueError("differences between these features exceed float32; scale the features down")
    return float(np.ldexp(1.0, math.frexp(largest)[1])) if largest else 1.0
