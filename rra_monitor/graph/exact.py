"""Exact neighbours by blocked matrix products, in single precision where that is enough and double where it is not."""

import math

import numpy as np
import torch

from rra_monitor.graph.knn import TIE_TOLERANCE, KnnGraph
from rra_monitor.graph.precision import full_precision

SETTLED = 8
"""This many nearest candidates of each sample are measured by direct difference: r1 and r2 decide the ID."""

BLOCK_BYTES = 128 << 20
"""Bound on a block of distances."""

DIFFERENCE_BYTES = 4 << 20
"""Bound on a block of differences: small enough to stay in the cache between gathering, subtracting and summing."""

CANCELLATION = 0.03
"""Where a squared distance falls below this share of the squared norms it comes from, the float32 product is not
trusted. Above it, distances of real feature maps (10 to 16,384 features) were within 1e-5 of float64."""


def exact_graph(features: torch.Tensor, k: int) -> KnnGraph:
    """The exact graph of (n, d) real, finite features on their device."""
    n = len(features)
    scale = _scale_of(features)
    with full_precision(features.device):
        raw = features.float() if scale == 1.0 else (features.double() / scale).float()
        indices = torch.empty((n, k), dtype=torch.int64)
        distances = torch.empty((n, k), dtype=torch.float32)
        centred = raw - raw.mean(dim=0)
        norms = centred.square().sum(dim=1)
        # One more than k tells whether the k-th is tied, the rest that rounding cost no candidate its place.
        found = min(n - 1, k + SETTLED)
        tied = torch.zeros(n, dtype=torch.bool)
        rows = max(1, BLOCK_BYTES // (4 * n))
        for start in range(0, n, rows):
            block = torch.arange(start, min(start + rows, n), device=raw.device)
            squared, candidates = _nearest(raw, centred, norms, block, found)
            squared, candidates = _in_order(squared, candidates)
            here = slice(start, start + len(block))
            indices[here] = candidates[:, :k].cpu()
            distances[here] = squared[:, :k].sqrt().cpu()
            if found > k:
                limit = (1 - TIE_TOLERANCE) ** 2 * squared[:, k]
                tied[here] = (squared[:, k - 1] >= limit).cpu()
    values = distances.double().mul_(scale).float() if scale != 1.0 else distances
    if not torch.isfinite(values).all():
        raise ValueError("distances between these features exceed float32; scale the features down")
    return KnnGraph(
        indices=indices.int().numpy(),
        distances=values.numpy(),
        ties=float(tied.float().mean()),
        zeros=float((distances[:, 0] == 0).float().mean()),
    )


def _nearest(
    raw: torch.Tensor, centred: torch.Tensor, norms: torch.Tensor, block: torch.Tensor, found: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared distances and indices, (rows, found), of the nearest others of the samples in `block`."""
    squared = torch.addmm(norms, centred[block], centred.T, alpha=-2).add_(norms[block, None])
    squared[torch.arange(len(block), device=block.device), block] = math.inf
    nearest, candidates = torch.topk(squared, found, largest=False)
    nearest.clamp_(min=0)
    settled = candidates[:, :SETTLED]
    nearest[:, :SETTLED] = _direct(raw, block, settled)
    if found > SETTLED:
        # The nearest that was not settled shows whether the product was precise enough for this row.
        thin = nearest[:, SETTLED] < CANCELLATION * (norms[block] + norms[candidates[:, SETTLED]])
        if thin.any():
            nearest[thin], candidates[thin] = _nearest_in_double(raw, centred, block[thin], found)
    return nearest, candidates


def _nearest_in_double(
    raw: torch.Tensor, centred: torch.Tensor, rows: torch.Tensor, found: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same for rows whose neighbours are close compared with their norms: clusters, duplicates, a collapsed layer.

    Candidates come from a product in float64, equal ones in the order of their index, distances from differences.
    """
    n, dim = centred.shape
    own = centred[rows].double()
    squared = torch.empty((len(rows), n), dtype=torch.float64, device=raw.device)
    width = max(1, BLOCK_BYTES // (8 * dim))
    norms = own.square().sum(dim=1, keepdim=True)
    for start in range(0, n, width):
        others = centred[start : start + width].double()
        sums = norms + others.square().sum(dim=1)
        part = torch.addmm(sums, own, others.T, alpha=-2)
        # What rounding leaves of a difference of equals is no distance.
        part[part < 1e-13 * sums] = 0
        squared[:, start : start + width] = part
    squared[torch.arange(len(rows), device=rows.device), rows] = math.inf
    candidates = squared.sort(dim=1, stable=True).indices[:, :found]
    return _direct(raw, rows, candidates), candidates


def _direct(raw: torch.Tensor, rows: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
    """Squared distances (rows, candidates) by difference, which loses nothing to cancellation."""
    squared = torch.empty(candidates.shape, dtype=torch.float32, device=raw.device)
    bound = DIFFERENCE_BYTES if raw.device.type == "cpu" else BLOCK_BYTES
    step = max(1, bound // (4 * raw.shape[1] * candidates.shape[1]))
    for start in range(0, len(rows), step):
        here = slice(start, start + step)
        squared[here] = raw[candidates[here]].sub_(raw[rows[here], None]).square_().sum(dim=2)
    return squared


def _in_order(squared: torch.Tensor, candidates: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both ascending by distance, equal distances by index."""
    candidates, by_index = candidates.sort(dim=1)
    squared, by_distance = squared.gather(1, by_index).sort(dim=1, stable=True)
    return squared, candidates.gather(1, by_distance)


def _scale_of(features: torch.Tensor) -> float:
    """A power of two near the largest value, so that squares neither overflow nor vanish; dividing by it is exact."""
    low, high = torch.aminmax(features)
    largest = max(-float(low), float(high))
    exponent = math.frexp(largest)[1] if largest else 0
    # Within this range squares of differences are safe as they are.
    return 1.0 if -20 <= exponent <= 40 else float(np.ldexp(1.0, exponent))
