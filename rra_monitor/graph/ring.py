"""Blocks of samples that are passed around the ranks of a process group, so that each rank sees every sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
import torch.distributed as dist

from rra_monitor.graph.ring_sizes import RingSizes
from rra_monitor.utils.collectives import agreed

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


class Visitor(Protocol):
    """What a rank does with the samples of all ranks."""

    def take(self, first: int, block: torch.Tensor) -> None:
        """Use the next block, before it is overwritten.

        Args:
            first: global index of the block's first sample.
            block: (b, d) samples, on the device of the rank's own.
        """


V = TypeVar("V", bound=Visitor)


@dataclass(frozen=True)
class Ring:
    """The samples of all ranks, of which this one holds `rows`.

    Attributes:
        rows: (n_r, d) this rank's samples, n_r = counts[rank].
        counts: numbers of samples, by rank.
        group: process group whose ranks hold the samples.
        sizes: number of samples in a block, and what is computed from one at once.
        room: (0 to 2, b, d) blocks that are received, where the group needs them. They are allocated before anything
            is passed, because a rank that finds no memory for them cannot pass them on.
        sent: (b, d) a block of this rank's samples where the group needs it; None if they lie there.
    """

    rows: torch.Tensor
    counts: Sequence[int]
    group: ProcessGroup
    sizes: RingSizes
    room: torch.Tensor
    sent: torch.Tensor | None

    @classmethod
    def over(cls, rows: torch.Tensor, counts: Sequence[int], group: ProcessGroup, sizes: RingSizes) -> Ring:
        """The ring of a group, with room for its blocks."""
        wire = wire_of(rows.device, group)
        room = rows.new_empty((min(len(counts) - 1, 2), sizes.block, rows.shape[1]), device=wire)
        lies_there = wire == rows.device or len(counts) == 1
        return cls(rows, counts, group, sizes, room, None if lies_there else torch.empty_like(room[0]))

    @property
    def rank(self) -> int:
        """Rank of this process within the group."""
        return dist.get_rank(self.group)

    @property
    def offset(self) -> int:
        """Global index of this rank's first sample."""
        return sum(self.counts[: self.rank])

    def visit(self, begin: Callable[[], V]) -> V:
        """What `begin` returns, after it has taken every rank's samples; a collective call.

        All ranks must go through the whole ring together. So one that fails goes on passing blocks, and all raise its
        error at the end.

        Raises:
            Exception: of `begin` or `take` on any rank, on all, see `gathered`.
        """
        visitors: list[V] = []
        failures: list[Exception] = []

        def attempt(work: Callable[..., object], *given: object) -> None:
            if not failures:
                try:
                    work(*given)
                except Exception as error:  # whatever it is, the others need the blocks that pass through here
                    failures.append(error)

        def take(first: int, block: torch.Tensor) -> None:
            visitors[0].take(first, block.to(self.rows.device))

        def outcome() -> V:
            for failure in failures:
                raise failure
            return visitors[0]

        attempt(lambda: visitors.append(begin()))
        for first, block in self._blocks():
            attempt(take, first, block)
        try:
            return agreed(outcome, self.group)
        finally:
            failures.clear()  # an error holds this frame, which would hold it and what it could not allocate

    def _blocks(self) -> Iterator[tuple[int, torch.Tensor]]:
        """Every rank's samples in blocks: the global index of the first, and (b, d) samples where they arrived.

        While a block is processed, the next one is transferred. A rank sends (n - n_next) d values in all, n_next being
        the samples of the rank that it sends to.
        """
        ranks = len(self.counts)
        for top in range(0, max(self.counts), self.sizes.block):
            sizes = [min(max(count - top, 0), self.sizes.block) for count in self.counts]
            block = self.rows[top : top + self.sizes.block]
            if self.sent is not None:
                block = self.sent[: len(block)].copy_(block)
            for hop in range(ranks):
                source = (self.rank - hop) % ranks
                following, transfers = block, []
                if hop + 1 < ranks:
                    following = self.room[hop % 2, : sizes[(source - 1) % ranks]]
                    transfers = self._passed_on(block, following)
                if len(block):
                    yield sum(self.counts[:source]) + top, block
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
