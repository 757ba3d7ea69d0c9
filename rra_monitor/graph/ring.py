"""Blocks of samples that are passed around the ranks of a process group, so that each rank sees every sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

BLOCK_BYTES = {"cpu": 64 << 20, "cuda": 1 << 30}
"""Largest block in bytes, by the kind of device. On a GPU small blocks would slow down the products."""


@dataclass(frozen=True)
class Ring:
    """The samples of all ranks, of which this one holds `rows`.

    Attributes:
        rows: (n_r, d) this rank's samples, n_r = counts[rank].
        counts: numbers of samples, by rank.
        rank: rank of this process within the group.
        group: process group whose ranks hold the samples.
    """

    rows: torch.Tensor
    counts: Sequence[int]
    rank: int
    group: ProcessGroup

    @property
    def offset(self) -> int:
        """Global index of this rank's first sample."""
        return sum(self.counts[: self.rank])

    @property
    def block_bytes(self) -> int:
        """Bound on a block, also for temporary ones."""
        return BLOCK_BYTES.get(self.rows.device.type, BLOCK_BYTES["cpu"])

    def blocks(self) -> Iterator[tuple[int, torch.Tensor]]:
        """Every rank's samples in blocks: the global index of the first, and (b, d) samples on this rank's device.

        All ranks must go through the whole ring together. While a block is processed, the next one is transferred; a
        rank holds two. It sends (n - n_next) d values in all, n_next being the samples of the rank that it sends to.
        """
        ranks = len(self.counts)
        size = max(1, self.block_bytes // (self.rows.element_size() * self.rows.shape[1]))
        wire = wire_of(self.rows.device, self.group)
        for top in range(0, max(self.counts), size):
            sizes = [min(max(count - top, 0), size) for count in self.counts]
            block = self.rows[top : top + size].contiguous()
            block = block.to(wire) if ranks > 1 else block
            for hop in range(ranks):
                source = (self.rank - hop) % ranks
                following, transfers = block, []
                if hop + 1 < ranks:
                    following = block.new_empty((sizes[(source - 1) % ranks], block.shape[1]))
                    transfers = self._passed_on(block, following)
                if len(block):
                    yield sum(self.counts[:source]) + top, block.to(self.rows.device)
                for transfer in transfers:
                    transfer.wait()
                block = following

    def _passed_on(self, block: torch.Tensor, following: torch.Tensor) -> list[Any]:
        """Begin to send one block to the next rank and to receive one from the previous; empty ones are not sent."""
        after, before = (dist.get_global_rank(self.group, (self.rank + step) % len(self.counts)) for step in (1, -1))
        operations = [dist.P2POp(dist.isend, block, after, self.group)] if len(block) else []
        operations += [dist.P2POp(dist.irecv, following, before, self.group)] if len(following) else []
        return list(dist.batch_isend_irecv(operations)) if operations else []


def wire_of(device: torch.device, group: ProcessGroup) -> torch.device:
    """Where a tensor must lie for the group to send it: in place, in main memory for gloo, on the GPU for NCCL."""
    backends = dict(pair.split(":") for pair in dist.get_backend_config(group).split(","))
    if backends.get(device.type) == "nccl" and device.type == "cuda":
        return device
    return torch.device("cpu") if "gloo" in backends.values() else torch.device("cuda", torch.cuda.current_device())
