"""How many samples are passed around a ring at once, so that a graph over ranks keeps a memory budget."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rra_monitor.graph.distances import PAIR_BYTES
from rra_monitor.graph.points import MEMORY_BUDGET
from rra_monitor.utils.ranks import most_rows

SPARE = 8
"""Candidates beyond k: their distances tell whether rounding can have replaced a neighbour."""

BLOCK_BYTES = {"cpu": 64 << 20, "cuda": 1 << 30}
"""Largest block in bytes, by the kind of device. On a GPU small blocks would slow down the products."""


@dataclass(frozen=True)
class RingSizes:
    """What a rank works on at once.

    Attributes:
        block: number of samples that are passed on together.
        tile_bytes: bound on each of the arrays that are computed from a block, of which there are three.
    """

    block: int
    tile_bytes: int

    def tiles(self, rows: int, row_bytes: int) -> Iterator[slice]:
        """Slices of consecutive rows that take at most a tile's bytes, but at least a row each."""
        return slices(rows, row_bytes, self.tile_bytes)


def slices(rows: int, row_bytes: int, limit: int) -> Iterator[slice]:
    """Slices of consecutive rows that take at most `limit` bytes, but at least a row each."""
    height = max(1, limit // row_bytes)
    return (slice(top, min(top + height, rows)) for top in range(0, rows, height))


def ring_sizes(
    counts: Sequence[int], dim: int, kept: int, copied: int, device: str, memory_budget: int | None
) -> RingSizes:
    """The sizes of the largest blocks that keep the budget on every rank, at most those of BLOCK_BYTES.

    Args:
        counts: numbers of samples, by rank.
        dim: number of features.
        kept: number of candidates that each sample keeps.
        copied: bytes of the copies of the features that a rank makes to compute with them, at most.
        device: kind of device.
        memory_budget: bytes that a rank may take beyond its features; None for MEMORY_BUDGET on the CPU, and for blocks
            of BLOCK_BYTES on other devices.

    Raises:
        ValueError: a budget below the need of blocks of one sample.
    """
    most = _largest_block(max(counts), dim, device)
    if memory_budget is None and device != "cpu":
        return RingSizes(most, _tile_bytes(most, dim, kept))
    budget = MEMORY_BUDGET if memory_budget is None else memory_budget

    def needed(block: int) -> int:
        return copied + _bytes(counts, dim, kept, device, block)

    block = bisect_right(range(1, most + 1), budget, key=needed)
    if block == 0:
        raise ValueError(
            f"memory_budget={budget:,} bytes is below blocks of one sample: {max(counts):,} of {sum(counts):,} samples "
            f"of {dim:,} features on a rank need at least {needed(1):,} beyond the features. Raise it, or spread the "
            "samples over more ranks"
        )
    return RingSizes(block, _tile_bytes(block, dim, kept))


def ring_bytes(n: int, ranks: int, dim: int, k: int, device: str) -> tuple[int, int]:
    """Bytes beyond the features that a graph over ranks takes with the smallest blocks, and with the largest.

    Args:
        n: number of samples of all ranks, about as many on each.
        ranks: number of ranks.
        dim: number of features.
        k: number of neighbours.
        device: kind of device.
    """
    counts = [most_rows(n, ranks)] * ranks
    kept = min(n - 1, k + SPARE)
    most = _largest_block(counts[0], dim, device)
    return _bytes(counts, dim, kept, device, 1), _bytes(counts, dim, kept, device, most)


def _largest_block(rows: int, dim: int, device: str) -> int:
    return max(1, min(rows, BLOCK_BYTES.get(device, BLOCK_BYTES["cpu"]) // (4 * dim)))


def _bytes(counts: Sequence[int], dim: int, kept: int, device: str, block: int) -> int:
    """Bytes beyond the features and their copies that a rank takes with blocks of some samples."""
    # The shortlists and the graph made of them; the mean; the rows that are checked.
    held = 40 * max(counts) * kept + 96 * dim + 64 * sum(counts) + (0 if device == "cpu" else 3 * PAIR_BYTES)
    received = min(len(counts) - 1, 2)
    # Beside the blocks that are received: one in float32, three tiles, and one for what the allocator keeps.
    return held + (received + 1) * 4 * dim * block + 4 * _tile_bytes(block, dim, kept)


def _tile_bytes(block: int, dim: int, kept: int) -> int:
    """Bytes of a block in float32, or of what a single row takes against it in the pass that takes most."""
    return max(4 * dim * block, 20 * dim, 64 * block, 72 * kept)
