"""The bytes that a graph of parts of features takes, and the sweeps over the parts that it needs within a budget."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from rra_monitor.graph.pairs import SEGMENT_BYTES, WIDTH, pair_bytes
from rra_monitor.graph.points import below_one_block

WIDTHS = (2048, 1024, 512, 256, 128, 64, 32, 16)
"""Features multiplied together: the more, the seldomer products are added in float64, and the wider is their bound."""

SIDES = (1024, 512, 256, 128, 64, 32, 16, 8)
"""Samples on a side of a block of products."""

BLOCKS = ((256, 256, 16), (64, 64, 4), (WIDTHS[-1], SIDES[-1], 1))
"""Width, side and height of the least blocks, small ones only where there is no room for others: they take time."""

STRIP = 128
"""Bytes of what is computed from a strip of the table of all pairs, for each number of it."""

LONGEST_STRIP = 32 << 20
"""Bound on the bytes of a strip, but for a row."""

SUMMED = 1 << 18
"""Features of all samples together that are converted to float64 at once."""

DRAWN = 1023
"""Largest number of samples whose mean is the centre."""

CONVERTED = 1 << 19
"""Distances that are converted at once."""

FURTHER_PASSES = 1.3
"""How many times as many passes as with the smallest blocks are accepted for larger ones."""

WORK_SHARE = 20
"""A budget's part that may be spent on larger blocks: they save less time than a further pass of a network takes."""


@dataclass(frozen=True)
class Sizes:
    """The sizes of what a graph of parts is computed with.

    Attributes:
        n: number of samples.
        dim: number of features of all parts together.
        k: number of neighbours.
        gram: whether the Gram matrix is wanted, too.
        rows: samples whose neighbours are found in two sweeps, at least one.
        width: features multiplied together.
        side: samples on a side of a block of products.
        height: rows of the table of all pairs that are looked at together.
    """

    n: int
    dim: int
    k: int
    gram: bool
    rows: int
    width: int
    side: int
    height: int

    @property
    def sweeps(self) -> int:
        """Sweeps over the parts: two for each group of rows."""
        return 2 * math.ceil(self.n / self.rows)

    @property
    def segments(self) -> int:
        """Segments of pairs, at most: all pairs of the rows, of which one sample of a group has each."""
        pairs = self.rows * (self.n - 1) - self.rows * (self.rows - 1) // 2
        return pairs // WIDTH + self.rows

    @property
    def products(self) -> int:
        """Bytes of the accumulated products."""
        last = self.n - self.rows
        return 8 * self.rows * last + 4 * self.rows * (self.rows + self.side)

    @property
    def results(self) -> int:
        """Bytes of the neighbours found."""
        return 16 * self.n * min(self.k + 1, self.n - 1) + 80 * self.n

    @property
    def held(self) -> int:
        """Bytes that are held from one part to the next, at most: where all pairs of samples may be near."""
        lists = self.segments * SEGMENT_BYTES
        if not self.gram:
            return self.results + max(lists, self.products + self.segments * (8 + 4 * WIDTH))
        return self.results + max(self.products + lists, self.products + 8 * self.n**2)

    def held_in(self, sweep: int) -> int:
        """Bytes that are held in the first (0) or a later sweep of a graph whose lists of pairs are short, as most."""
        segments = self.rows * (2 * (self.k + 1) // WIDTH + 2)
        lists = min(segments, self.segments) * SEGMENT_BYTES
        products = self.products if self.gram or sweep % 2 == 0 else 0
        return self.results + products + (lists if sweep % 2 else 0)

    @property
    def work(self) -> int:
        """Bytes that are taken in addition while a part is added or a sweep ended."""
        chunk = self.width * (self.n * (12 if self.gram else 4) + 8 * min(self.n, DRAWN) + 64)
        chunk += 16 * min(SUMMED + self.width, self.n * self.width) + (0 if self.gram else 12 * self.side**2)
        strip = STRIP * self.n * self.height + pair_bytes(self.segments)
        return max(chunk, strip, 16 * min(CONVERTED, self.n * min(self.k + 1, self.n - 1)))

    @property
    def bytes(self) -> int:
        """Bytes beyond the part that is added."""
        return self.held + self.work


def sizes_within(n: int, dim: int, k: int, memory_budget: int, gram: bool = False) -> Sizes:
    """The sizes that need the fewest sweeps within a budget beyond the parts, and of these the largest.

    Raises:
        ValueError: a budget below what one row needs, or, for the Gram matrix, all rows.
    """
    for blocks in BLOCKS:
        if (sizes := _with_blocks(n, dim, k, gram, n, blocks)).bytes <= memory_budget:
            return _enlarged(sizes, memory_budget)
    if (least := least_bytes(n, dim, k, gram)) > memory_budget:
        raise ValueError(below_one_block(n, dim, memory_budget, least))
    grouped = [_most_rows(n, dim, k, blocks, memory_budget) for blocks in BLOCKS]
    fewest = min(sizes.sweeps for sizes in grouped if sizes)
    return _enlarged(next(sizes for sizes in grouped if sizes and sizes.sweeps <= 1.5 * fewest), memory_budget)


def _with_blocks(n: int, dim: int, k: int, gram: bool, rows: int, blocks: tuple[int, int, int]) -> Sizes:
    width, side, height = blocks
    return Sizes(n, dim, k, gram, rows, min(dim, width), min(rows, side), min(rows, height))


def _most_rows(n: int, dim: int, k: int, blocks: tuple[int, int, int], memory_budget: int) -> Sizes | None:
    """The largest groups of samples that fit, with blocks of that size; None if no sample does."""
    low, high = 0, n  # more rows never take less
    while high - low > 1:
        middle = (low + high) // 2
        fits = _with_blocks(n, dim, k, False, middle, blocks).bytes <= memory_budget
        low, high = (middle, high) if fits else (low, middle)
    return _with_blocks(n, dim, k, False, low, blocks) if low else None


def in_two_sweeps(n: int, dim: int, k: int, memory_budget: int) -> bool:
    """Whether two sweeps find the neighbours of all samples within a budget."""
    return two_sweep_bytes(n, dim, k) <= memory_budget


def two_sweep_bytes(n: int, dim: int, k: int) -> int:
    """Bytes beyond the features with which two sweeps find the neighbours of all samples, in blocks of some size."""
    return _with_blocks(n, dim, k, False, n, BLOCKS[0]).bytes


def least_bytes(n: int, dim: int, k: int, gram: bool = False) -> int:
    """Bytes beyond the features with which a graph can be built at all, however many sweeps that takes."""
    return _with_blocks(n, dim, k, gram, n if gram else 1, BLOCKS[-1]).bytes


def _enlarged(sizes: Sizes, memory_budget: int) -> Sizes:
    """The same with the largest blocks that fit."""
    for side in SIDES:
        larger = replace(sizes, side=min(side, sizes.rows))
        if larger.bytes <= memory_budget:
            sizes = larger
            break
    for width in WIDTHS:
        larger = replace(sizes, width=min(width, sizes.dim))
        if larger.bytes <= memory_budget:
            sizes = larger
            break
    spare = min(LONGEST_STRIP, memory_budget - sizes.held - pair_bytes(sizes.segments))
    return replace(sizes, height=max(1, min(sizes.side, spare // (STRIP * sizes.n))))


@dataclass(frozen=True)
class PartsPlan:
    """How a layer's features are captured in parts within a budget.

    Attributes:
        width: features of a part, but for the last.
        parts: number of parts.
        sweeps: how often all parts are needed.
        part_bytes: bytes of a part.
        memory_budget: bytes beyond the part, for `GraphOfParts`.
        held: bytes of these that are held from one part to the next.
    """

    width: int
    parts: int
    sweeps: int
    part_bytes: int
    memory_budget: int
    held: int

    @property
    def passes(self) -> int:
        """How many parts are captured, in all sweeps together."""
        return self.parts * self.sweeps


def parts_plan(n: int, dim: int, k: int, memory_budget: int, itemsize: int = 4, gram: bool = False) -> PartsPlan:
    """The parts in which features are captured so that one of them and its graph fit a budget, in the fewest passes.

    Args:
        n: number of samples.
        dim: number of features.
        k: number of neighbours.
        memory_budget: bytes for a part and all that its graph takes beyond it.
        itemsize: bytes of a feature: 2 in half precision.
        gram: whether the Gram matrix is wanted, too.

    Raises:
        ValueError: a budget below what the least part needs.
    """
    groups = [1] if gram else [*(1 << power for power in range(n.bit_length())), n]
    best: list[PartsPlan] = []
    for blocks in BLOCKS:
        sizes = [_with_blocks(n, dim, k, gram, math.ceil(n / number), blocks) for number in groups]
        plans = [plan for least in sizes for plan in _plans(least, memory_budget, itemsize)]
        best += [min(plans, key=lambda plan: plan.passes)] if plans else []
    if not best:
        raise ValueError(below_one_block(n, dim, memory_budget, sizes[-1].bytes + n * itemsize))
    # Large blocks save time, but a pass of the network takes some, too.
    fewest = min(plan.passes for plan in best)
    return next(plan for plan in best if plan.passes <= FURTHER_PASSES * fewest)


def _plans(least: Sizes, memory_budget: int, itemsize: int) -> list[PartsPlan]:
    """The plans with blocks of at least these sizes, and a share of the budget for larger ones if it has room."""
    plans = []
    for beyond in {max(least.bytes, least.held + memory_budget // WORK_SHARE), least.bytes}:
        if beyond + least.n * itemsize <= memory_budget:
            parts = math.ceil(least.dim / min(least.dim, (memory_budget - beyond) // (least.n * itemsize)))
            width = math.ceil(least.dim / parts)
            part_bytes = least.n * itemsize * width
            plans.append(PartsPlan(width, parts, least.sweeps, part_bytes, beyond, least.held))
    return plans
