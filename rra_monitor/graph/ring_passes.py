"""What a rank does with the samples of all ranks while their blocks pass: shortlists, distances, a check."""

from __future__ import annotations

import math

import numpy as np
import torch

from rra_monitor.graph.bounds import cancelling
from rra_monitor.graph.distances import pair_differences
from rra_monitor.graph.ring import Ring
from rra_monitor.graph.ring_sizes import RingSizes
from rra_monitor.graph.spot_check import count_wrong, rows_to_check, squares
from rra_monitor.graph.workers import Workers


class Shortlist:
    """By float32 products: the nearest others of this rank's samples.

    Args:
        ring: samples of all ranks.
        centre: (d,) their mean.
        scale: power of two that centred features are divided by.
        kept: number of candidates of each sample.

    Attributes:
        values: (n_r, kept) squared distances of the candidates less the own squared norms, in units of the scale.
        candidates: (n_r, kept) global indices, in no order.
        norms: (n_r,) squared norms, in units of the scale.
    """

    def __init__(self, ring: Ring, centre: torch.Tensor, scale: float, kept: int) -> None:
        own = ring.rows
        self._ring, self._centre, self._scale = ring, centre.float(), scale
        self.values = torch.full((len(own), kept), math.inf, device=own.device, dtype=torch.float32)
        self.candidates = torch.zeros((len(own), kept), dtype=torch.int64, device=own.device)
        self.norms = torch.zeros(len(own), device=own.device, dtype=torch.float32)

    def take(self, first: int, block: torch.Tensor) -> None:
        """Merge the nearest of a block into the shortlists."""
        own, sizes = self._ring.rows, self._ring.sizes
        others = self._centred(block)
        other_norms = squared_norms(others, sizes).float()
        for here in sizes.tiles(len(own), max(4 * own.shape[1], 4 * len(block), 48 * self.values.shape[1])):
            rows = self._centred(own[here])
            self.norms[here] = squared_norms(rows, sizes).float()
            products = torch.addmm(other_norms, rows, others.T, alpha=-2)
            # No sample is its own neighbour.
            products.diagonal(self._ring.offset + here.start - first).fill_(math.inf)
            self.values[here], self.candidates[here] = merged(self.values[here], self.candidates[here], products, first)

    def _centred(self, rows: torch.Tensor) -> torch.Tensor:
        return rows.float().sub(self._centre).div_(self._scale)


def squared_norms(rows: torch.Tensor, sizes: RingSizes) -> torch.Tensor:
    """(r,) float64 squared norms of (r, d) samples, of squares in their own precision."""
    found = torch.empty(len(rows), dtype=torch.float64, device=rows.device)
    for here in sizes.tiles(len(rows), 12 * rows.shape[1]):
        found[here] = rows[here].square().sum(dim=1, dtype=torch.float64)
    return found


def merged(
    values: torch.Tensor, candidates: torch.Tensor, block: torch.Tensor, first: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The smallest of the values so far and of a block of new ones, with their ids; in no order."""
    kept = values.shape[1]
    new, columns = block.topk(min(kept, block.shape[1]), largest=False, sorted=False)
    smallest, places = torch.cat([values, new], dim=1).topk(kept, largest=False, sorted=False)
    return smallest, torch.cat([candidates, columns + first], dim=1).gather(1, places)


class Differences:
    """Squared distances of the candidates in float64, by difference while their block is here.

    Args:
        ring: samples of all ranks.
        candidates: (n_r, kept) global indices.

    Attributes:
        squared: (n_r, kept) squared distances.
    """

    def __init__(self, ring: Ring, candidates: torch.Tensor) -> None:
        self._ring, self._candidates = ring, candidates
        self.squared = torch.empty(candidates.shape, dtype=torch.float64, device=candidates.device)

    def take(self, first: int, block: torch.Tensor) -> None:
        """Measure the candidates that lie in a block."""
        own = self._ring.rows
        block = block.float() if block.device.type == "cpu" else block
        copied = 0 if own.dtype == torch.float32 else 4 * own.shape[1]
        for here in self._ring.sizes.tiles(len(own), max(48 * self.squared.shape[1], copied)):
            near = self._candidates[here]
            rows, places = ((near >= first) & (near < first + len(block))).nonzero(as_tuple=True)
            self.squared[here][rows, places] = pair_differences(own[here], block, rows, near[rows, places] - first)


class InDouble:
    """Candidates and float32 distances of some samples, among all samples.

    From float64 products, and from differences for the pairs in which even these cancel. Equal distances are equal in
    float32, so that the lower indices can win.

    Args:
        ring: samples of all ranks.
        centre: (d,) their mean.
        thin: (t,) positions of the samples among this rank's.
        kept: number of candidates of each sample.

    Attributes:
        candidates: (t, kept) global indices, ascending by distance, equal distances by index.
        distances: (t, kept) float32 distances.
    """

    def __init__(self, ring: Ring, centre: torch.Tensor, thin: torch.Tensor, kept: int) -> None:
        device = ring.rows.device
        self._ring, self._centre, self._thin = ring, centre, thin
        self.distances = torch.full((len(thin), kept), math.inf, device=device, dtype=torch.float32)
        self.candidates = torch.zeros((len(thin), kept), dtype=torch.int64, device=device)

    def take(self, first: int, block: torch.Tensor) -> None:
        """Merge the nearest of a block, measured in float64."""
        own, kept, sizes = self._ring.rows, self.distances.shape[1], self._ring.sizes
        least = cancelling(own.shape[1])
        others = block.double().sub_(self._centre)
        other_norms = squared_norms(others, sizes)
        columns = torch.arange(first, first + len(block), device=own.device)
        for here in sizes.tiles(len(self._thin), max(20 * own.shape[1], 64 * len(block), 72 * kept)):
            mine = own[self._thin[here]]
            rows = mine.double().sub_(self._centre)
            norms = rows.square().sum(dim=1, keepdim=True) + other_norms
            squared = torch.addmm(norms, rows, others.T, alpha=-2)
            squared[columns == self._thin[here, None] + self._ring.offset] = math.inf
            cancelled, there = (squared <= least * norms).nonzero(as_tuple=True)
            squared[cancelled, there] = pair_differences(mine, block, cancelled, there)
            new, order = squared.sqrt().float().sort(dim=1, stable=True)
            both = torch.cat([self.candidates[here], order[:, :kept] + first], dim=1)
            ordered, nearest = in_order(both, torch.cat([self.distances[here], new[:, :kept]], dim=1))
            self.candidates[here], self.distances[here] = ordered[:, :kept], nearest[:, :kept]


def in_order(candidates: torch.Tensor, distances: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both ascending by distance, equal distances by index."""
    candidates, by_index = candidates.sort(dim=1)
    distances, by_distance = distances.gather(1, by_index).sort(dim=1, stable=True)
    return candidates.gather(1, by_distance), distances


class TrueRows:
    """A few rows of this rank's against float64.

    Args:
        ring: samples of all ranks.
        candidates: (n_r, k) global indices of the neighbours to check.
    """

    def __init__(self, ring: Ring, candidates: torch.Tensor) -> None:
        self._ring = ring
        neighbours = candidates.int().cpu().numpy()
        self._rows = rows_to_check(neighbours, len(neighbours))
        self._neighbours = neighbours[self._rows]
        self._own = ring.rows[torch.from_numpy(self._rows).to(ring.rows.device)]
        self._squared = np.empty((len(self._rows), sum(ring.counts)))

    def take(self, first: int, block: torch.Tensor) -> None:
        """Measure the rows against a block."""
        with Workers() as workers:
            self._squared[:, first : first + len(block)] = squares(self._own, block, workers)

    def counts(self) -> tuple[int, int]:
        """The number of rows that were compared, and the number of these that are wrong."""
        if not len(self._rows):
            return 0, 0
        self._squared[np.arange(len(self._rows)), self._rows + self._ring.offset] = np.inf
        return len(self._rows), count_wrong(self._squared, self._neighbours)
