"""The exact graph of features that are never there as a whole: parts come, each of some features of all samples.

Two sweeps over the parts. In the first, products of centred features are added up to a table of all pairs. By a bound
on their error it tells for each sample which others may be among its nearest: all of these pairs are measured in the
second sweep, by differences, which are added up in float64. So no sample is left open.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from rra_monitor.graph.bounds import squared_error, vanishing
from rra_monitor.graph.distances import VANISHING, vanished
from rra_monitor.graph.finished import constant_rows, finished_graph, in_units, ties_of
from rra_monitor.graph.knn import KnnGraph, checked_k
from rra_monitor.graph.pairs import SEGMENT_BYTES, Pairs
from rra_monitor.graph.part_sizes import SUMMED, sizes_within
from rra_monitor.graph.points import MEMORY_BUDGET, Points, as_matrix
from rra_monitor.graph.precision import full_precision
from rra_monitor.graph.shells import all_pairs, misses, wanted_pairs
from rra_monitor.graph.spot_check import CHECKED, warn
from rra_monitor.graph.tiles import Tiles

DIFFERENT = 0.05
"""Of the norm of all samples: by so much the sums of their features may differ from one sweep to another. Passes on a
GPU differ by 1e-3 of it at most, by dropout of a tenth of the features by a third."""


class GraphOfParts:
    """Builds the graph of the k nearest neighbours, and the Gram matrix, of features that come in parts.

    A part holds some features of all samples, in the same order in every part. All parts together are a sweep; how they
    are cut, and their types, may differ from sweep to sweep. The graph is that of `knn_graph` of all features.

        build = GraphOfParts(n, dim, k)
        while build.wants_sweep:
            for part in parts():
                build.add(part)
            build.end_sweep()
        graph = build.graph()

    Args:
        n: number of samples.
        dim: number of features of all parts together.
        k: number of neighbours of each sample, 1 to n-1.
        memory_budget: bytes that may be taken beyond the part that is added, on its device. `parts_plan` divides a
            budget between the two. Two sweeps take some 6 n² bytes, with the Gram matrix 12 n²; with fewer there are
            two for each group of samples.
        gram: whether the Gram matrix is wanted, too: products are then in float64, which takes twice the time.

    Attributes:
        sizes: the sizes of blocks and groups, with the bytes and sweeps that they lead to.

    Raises:
        TypeError: a k that is not an integer.
        ValueError: a k out of range; a budget below what one block needs.
    """

    def __init__(self, n: int, dim: int, k: int, memory_budget: int = MEMORY_BUDGET, gram: bool = False) -> None:
        self.k = checked_k(k, n)
        self.sizes = sizes_within(n, dim, self.k, memory_budget, gram)
        self._kept = min(self.k + 1, n - 1)
        self._squared, self._ids = np.empty((n, self._kept), np.float32), np.empty((n, self._kept), np.int32)
        self._device: torch.device | None = None
        self._norms = self._sums = self._first_sums = torch.zeros(n, dtype=torch.float64)
        self._first_sweep = True
        self._products: Tiles | None = None
        self._pairs: Pairs | None = None
        self._top, self._seen = 0, 0
        self._scale, self._floor, self._differ = 0.0, 0.0, False
        self._shells: dict[int, torch.Tensor] = {}
        self._checked = self._failed = 0

    @property
    def wants_sweep(self) -> bool:
        """Whether the parts are needed once more."""
        return self._top < self.sizes.n

    @property
    def held(self) -> int:
        """Bytes that are held until this sweep ends, no more than `sizes.held`."""
        sizes = self.sizes
        products = sizes.products if self.wants_sweep and (sizes.gram or self._pairs is None) else 0
        lists = 0 if self._pairs is None else self._pairs.segments * SEGMENT_BYTES
        return min(sizes.held, sizes.results + products + lists)

    def add(self, part: Any) -> None:
        """Take in a part.

        Args:
            part: (n, …) array or tensor; trailing axes are flattened. It is not kept.

        Raises:
            TypeError: features that are not real numbers.
            ValueError: another number of samples, another device than before, more features than announced, NaN or
                infinite values, values beyond float32; a part after the last sweep.
        """
        if not self.wants_sweep:
            raise ValueError("the graph is complete and wants no further part; call GraphOfParts.graph")
        matrix = as_matrix(part)
        with full_precision(matrix.device):
            self._check(matrix)
            for features in torch.split(matrix, self.sizes.width, dim=1):
                points = Points(features)
                # Rounded to float32 first, whatever the type of the products.
                samples = torch.empty(features.shape, dtype=torch.float32, device=matrix.device).copy_(features)
                self._sums += _sums(samples)
                if points.constant:
                    continue
                if self._pairs is not None:
                    self._pairs.add(samples)
                else:
                    self._multiply(points, samples)

    def end_sweep(self) -> None:
        """Say that all parts were added.

        Raises:
            ValueError: fewer features than announced; features that differ from those of the first sweep; distances
                that vanish beside others in float32.
        """
        n, dim = self.sizes.n, self.sizes.dim
        if self._seen != dim:
            raise ValueError(
                f"the parts of this sweep have {self._seen:,} features, expected dim={dim:,}; give every part once in "
                "each sweep"
            )
        self._compare_sweeps()
        with full_precision(self._norms.device):
            if not self._differ:  # a dead layer
                self._squared, self._ids = constant_rows(np.arange(n), self._kept)
                self._top = n
            elif self._pairs is None:
                self._pairs = self._pairs_in_shells()
            else:
                self._finish_group()
            self._seen, self._first_sweep = 0, False
            self._sums = torch.zeros_like(self._sums)

    def graph(self) -> KnnGraph:
        """The graph, when no further sweep is wanted.

        Raises:
            ValueError: a graph that is not complete; distances beyond float32.
        """
        self._refuse_incomplete()
        if self._failed:
            warn(self._failed, self._checked, self.sizes.n, self.sizes.dim)
        distances = in_units(self._squared[:, : self.k], self._scale or 1.0)
        return finished_graph(self._ids, distances, ties_of(self._squared, self.k), self._checked, self._failed)

    def gram(self) -> tuple[torch.Tensor, float]:
        """The (n, n) inner products of the centred features in float64, in units of a scale squared, and that scale.

        Raises:
            ValueError: a build that is not complete, or that was not told to keep the Gram matrix.
        """
        self._refuse_incomplete()
        if not self.sizes.gram:
            raise ValueError("the Gram matrix was not kept; build with gram=True")
        n, scale = self.sizes.n, self._scale or 1.0
        table = torch.zeros((n, n), dtype=torch.float64, device=self._norms.device)
        if self._products is not None:
            for top, bottom in self._products.strips(self.sizes.height):
                table[top:bottom] = self._products.rows(top, bottom).div_(scale).div_(scale)
            mean = table.mean(dim=0)  # features were centred by an approximate mean
            table.sub_(mean).sub_((mean - mean.mean())[:, None])
        return table, scale

    def _check(self, matrix: torch.Tensor) -> None:
        n, dim = self.sizes.n, self.sizes.dim
        if len(matrix) != n:
            raise ValueError(
                f"a part has {len(matrix):,} samples, expected {n:,}: each part holds some features of all samples"
            )
        if self._device is None:
            self._device = matrix.device
            self._norms, self._sums, self._first_sums = torch.zeros((3, n), dtype=torch.float64, device=matrix.device)
        if matrix.device != self._device:
            raise ValueError(f"a part lies on {matrix.device}, expected {self._device}, as the first; move it there")
        self._seen += matrix.shape[1]
        if self._seen > dim:
            raise ValueError(
                f"the parts have {self._seen:,} features so far, expected dim={dim:,} in a sweep; give every part "
                "once, then call GraphOfParts.end_sweep"
            )

    def _multiply(self, points: Points, samples: torch.Tensor) -> None:
        """Add the products of a chunk of features, which are centred in place."""
        if self._products is None:
            sizes = self.sizes
            stop = min(self._top + sizes.rows, sizes.n)
            self._products = Tiles(sizes.n, self._top, stop, sizes.side, samples.device)
        if self.sizes.gram:
            samples = samples.double()
        samples.sub_(points.centre).div_(points.scale)
        if self._first_sweep:
            self._differ = True
            self._scale = max(self._scale, points.scale)
            self._norms.add_(_sums(samples, squares=True), alpha=points.scale**2)
            # Products, sums and factors below the smallest normal number may be treated as 0.
            self._floor += 2 * vanishing(points.dim) * points.scale**2
        self._products.add(samples, points.scale)

    def _pairs_in_shells(self) -> Pairs:
        """The pairs of samples of this group that may be near, and all of a few samples."""
        assert self._products is not None
        error = squared_error(self.sizes.dim, torch.float64) if self.sizes.gram else self._error()
        pairs, self._shells = wanted_pairs(
            self._products, self._norms, (error, self._floor), self._kept, self._drawn_rows(), self.sizes.height
        )
        if not self.sizes.gram:
            self._products = None
        pairs.begin()
        return pairs

    def _error(self) -> float:
        """Bound on the error of a squared distance by products, as a fraction of the squared norms."""
        return squared_error(min(self.sizes.width, self.sizes.dim), torch.float32)

    def _drawn_rows(self) -> set[int]:
        """The rows to check: random, different for different features, the same for the same."""
        seed = int(self._norms.sum().view(torch.int64)) & 0xFFFFFFFF
        n = self.sizes.n
        return set(np.random.default_rng(seed).choice(n, min(CHECKED, n), replace=False).tolist())

    def _finish_group(self) -> None:
        """The nearest of this group's samples; a check of a few of them; then the next group, or all again."""
        assert self._pairs is not None
        n, scale = self.sizes.n, self._scale
        stop = min(self._top + self.sizes.rows, n)
        everyone = torch.arange(n, device=self._norms.device)
        wrong = 0
        for top, table in self._pairs.tables(self._top, stop, n, self.sizes.height):
            wrong += sum(
                misses(table[row - top], shell, self.k)
                for row, shell in self._shells.items()
                if top <= row < top + len(table)
            )
            # In float32 equal distances are equal. Bits of numbers from 0 on sort as the numbers do; then the index.
            order = table.div(scale).div_(scale).float().view(torch.int32).long().bitwise_left_shift_(32)
            order |= everyone
            order = order.topk(self._kept, dim=1, largest=False).values
            squared = (order >> 32).int().view(torch.float32)
            if bool(((squared[:, 0] < VANISHING) & (table.amin(dim=1) > 0)).any()):
                raise ValueError(vanished(scale))
            here = slice(top, top + len(table))
            self._squared[here] = squared.cpu().numpy()
            self._ids[here] = order.bitwise_and_(0xFFFFFFFF).int().cpu().numpy()
        self._checked += len(self._shells)
        self._shells, self._pairs, self._top = {}, None, stop
        if wrong and not self._failed:
            self._top = 0
        self._failed += wrong
        if self._failed and self.wants_sweep:
            stop = min(self._top + self.sizes.rows, n)
            self._pairs = all_pairs(self._top, stop, n, self.sizes.height, self._norms.device)

    def _compare_sweeps(self) -> None:
        """Refuse features that are not those of the first sweep."""
        if self._first_sweep:
            self._first_sums = self._sums
            return
        apart = float((self._sums - self._first_sums).square().sum())
        norm = float(self._norms.sum())
        if apart > DIFFERENT**2 * norm:
            share = math.sqrt(apart / norm) if norm else math.inf
            raise ValueError(
                f"the features differ from those of the first sweep, by {share:.1g} of their norm, expected the same. "
                "Do random layers of the network (dropout) act? Put it into evaluation mode"
            )

    def _refuse_incomplete(self) -> None:
        if self.wants_sweep:
            raise ValueError(
                "the graph is not complete; add all parts and call GraphOfParts.end_sweep while "
                "GraphOfParts.wants_sweep is true"
            )


def _sums(samples: torch.Tensor, squares: bool = False) -> torch.Tensor:
    """(n,) sums over the features, or of their squares, in float64, a strip of samples at a time."""
    strips = (strip.double() for strip in torch.split(samples, max(1, SUMMED // samples.shape[1])))
    return torch.cat([(strip.square() if squares else strip).sum(dim=1) for strip in strips])
