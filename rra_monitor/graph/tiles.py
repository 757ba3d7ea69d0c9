"""Inner products of all samples with some of them, added up over chunks of features in float64, each pair once."""

import torch


class Tiles:
    """Square blocks of a table of inner products, in float64.

    Of two blocks that mirror each other one is kept, so the products of all n samples take n²/2 numbers.

    Args:
        n: number of samples.
        first: first of the samples whose rows are wanted.
        stop: end of these.
        side: samples on a side of a block.
        device: device of the samples.
    """

    def __init__(self, n: int, first: int, stop: int, side: int, device: torch.device) -> None:
        self._first, self._side = first, side
        before = [slice(left, min(left + side, first)) for left in range(0, first, side)]
        after = [slice(left, min(left + side, n)) for left in range(first, n, side)]
        self._columns = before + after
        self._rows = [slice(top, min(top + side, stop)) for top in range(first, stop, side)]
        self._tiles = {
            (rows.start, columns.start): torch.zeros(
                (rows.stop - rows.start, columns.stop - columns.start), dtype=torch.float64, device=device
            )
            for rows in self._rows
            for columns in self._columns
            if columns.start < first or columns.start >= rows.start
        }

    def add(self, samples: torch.Tensor, unit: float) -> None:
        """Add the inner products of (n, features) samples, which are given in that unit; summed in their own type."""
        for (top, left), tile in self._tiles.items():
            own, others = samples[top : top + len(tile)], samples[left : left + tile.shape[1]]
            if samples.dtype == tile.dtype:
                tile.addmm_(own, others.T, alpha=unit**2)
            else:
                tile.add_(torch.mm(own, others.T), alpha=unit**2)

    def rows(self, top: int, bottom: int) -> torch.Tensor:
        """(bottom - top, n) inner products of samples that lie in one block of rows, a new tensor."""
        block = self._first + (top - self._first) // self._side * self._side
        inside = slice(top - block, bottom - block)
        parts = [
            self._tiles[block, columns.start][inside]
            if (block, columns.start) in self._tiles
            else self._tiles[columns.start, block][:, inside].T
            for columns in self._columns
        ]
        return torch.cat(parts, dim=1)

    def strips(self, height: int) -> list[tuple[int, int]]:
        """The rows as (top, bottom), at most `height` of one block at a time."""
        return [
            (top, min(top + height, rows.stop)) for rows in self._rows for top in range(rows.start, rows.stop, height)
        ]
