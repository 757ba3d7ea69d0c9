"""Pairs of samples whose squared distances are added up over chunks of features, from differences in float64."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numba
import numpy as np
import torch

from rra_monitor.graph.distances import CHUNK
from rra_monitor.graph.smallest import kernels_for
from rra_monitor.graph.workers import Workers

WIDTH = 16
"""Partners in a segment. Those of a sample are kept in segments of one length, the last of them filled up with -1."""

SEGMENT_BYTES = 8 + WIDTH * (4 + 8)
"""Bytes of a segment: the position of its sample, those of the partners, and the sums."""

SLAB = 1 << 15
"""Pairs that are kept together, at most: a thread's share of them takes longer than its start."""

PIECE = 1 << 13
"""Pairs that are looked at together, at most."""

PAIR_BYTES = 64
"""Bytes of what is computed from a piece, for each pair of it."""


def pair_bytes(segments: int) -> int:
    """Bytes that are taken while so many segments are put together and looked at."""
    pairs = segments * WIDTH
    return 5 * min(SLAB, pairs) + PAIR_BYTES * min(PIECE, pairs)


class Pairs:
    """Pairs of samples and their squared distances so far.

    Attributes:
        segments: number of segments.
    """

    def __init__(self) -> None:
        self.segments = 0
        self._new: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._ready: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._slabs: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def append(self, wanted: torch.Tensor, first: int) -> None:
        """Take in the pairs of some samples.

        Args:
            wanted: (r, n) whether the distance of a sample to another is wanted.
            first: position of the first of these r samples.
        """
        rows, others = wanted.nonzero(as_tuple=True)
        counts = wanted.sum(dim=1)
        lengths = segments_of(counts)
        place = torch.arange(len(rows), device=rows.device).sub_((counts.cumsum(0) - counts)[rows])
        segment = (lengths.cumsum(0) - lengths)[rows].add_(place.div(WIDTH, rounding_mode="floor"))
        owners = torch.repeat_interleave(torch.arange(len(wanted), device=rows.device), lengths).add_(first)
        partners = torch.full((len(owners), WIDTH), -1, dtype=torch.int32, device=rows.device)
        partners[segment, place.remainder_(WIDTH)] = others.int()
        self.segments += len(owners)
        height = SLAB // WIDTH
        for new in zip(torch.split(owners, height), torch.split(partners, height), strict=True):
            if sum(len(waiting) for waiting, _ in self._new) + len(new[0]) > height:
                self._close()
            self._new.append(new)

    def begin(self) -> None:
        """Set the squared distances of all pairs to 0."""
        self._close()
        self._slabs = [
            (owners, partners, torch.zeros(partners.shape, dtype=torch.float64, device=partners.device))
            for owners, partners in self._ready
        ]

    def _close(self) -> None:
        if self._new:
            owners, partners = (torch.cat(parts) for parts in zip(*self._new, strict=True))
            self._ready.append((owners, partners))
            self._new = []

    def add(self, samples: torch.Tensor) -> None:
        """Add the squared differences of (n, features) float32 samples."""
        kernels = kernels_for(samples.device)
        if kernels is not None:
            for owners, partners, sums in self._slabs:
                sums += kernels.squared_differences(samples, owners, partners, 0, samples.shape[1], True)
        elif samples.device.type != "cpu":
            for slab in self._slabs:
                _add_by_torch(samples, *slab)
        else:
            with Workers() as workers:
                for chunk in torch.split(samples, CHUNK, dim=1):
                    kept = chunk.contiguous().numpy()  # in the cache, while partners are read from it in any order
                    for owners, partners, sums in self._slabs:
                        add = partial(_add_squares, kept, owners.numpy(), partners.numpy(), sums.numpy())
                        workers.split(add, 0, len(owners))

    def tables(self, first: int, stop: int, n: int, height: int) -> Iterator[tuple[int, torch.Tensor]]:
        """Strips of the symmetric table of squared distances, of samples first to stop: (top, (rows, n) float64).

        Infinite where a distance was not wanted.
        """
        for top in range(first, stop, height):
            bottom = min(top + height, stop)
            device = self._slabs[0][0].device
            table = torch.full((bottom - top, n), torch.inf, dtype=torch.float64, device=device)
            for slab in self._slabs:
                for owners, partners, sums in zip(*(torch.split(part, PIECE // WIDTH) for part in slab), strict=True):
                    rows = owners[:, None].expand_as(partners)
                    here = (partners >= 0) & ((owners >= top) & (owners < bottom))[:, None]
                    table[rows[here] - top, partners[here].long()] = sums[here]
                    there = (partners >= max(0, top)) & (partners < bottom)
                    table[partners[there].long() - top, rows[there]] = sums[there]
            yield top, table


def segments_of(counts: torch.Tensor) -> torch.Tensor:
    """Number of segments that hold so many partners."""
    return (counts + (WIDTH - 1)).div(WIDTH, rounding_mode="floor")


def _add_by_torch(samples: torch.Tensor, owners: torch.Tensor, partners: torch.Tensor, sums: torch.Tensor) -> None:
    """As the kernel, where none can be compiled."""
    width = min(CHUNK, samples.shape[1])
    step = max(1, PIECE * PAIR_BYTES // (48 * WIDTH * width))
    for top in range(0, len(owners), step):
        here = slice(top, top + step)
        for chunk in torch.split(samples, width, dim=1):
            apart = chunk[partners[here].clamp(min=0)].double().sub_(chunk[owners[here]][:, None])
            sums[here] += apart.square_().sum(dim=2)


@numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def _add_squares(chunk: Any, owners: Any, partners: Any, sums: Any, start: int, stop: int) -> None:
    for s in range(start, stop):
        own = chunk[owners[s]]
        for c in range(partners.shape[1]):
            if partners[s, c] < 0:
                break
            other = chunk[partners[s, c]]
            total = 0.0
            for d in range(len(own)):
                difference = np.float64(own[d]) - np.float64(other[d])
                total += difference * difference
            sums[s, c] += total
