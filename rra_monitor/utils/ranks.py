"""The processes that measure together: the ranks of a process group, or one process alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from rra_monitor.utils.collectives import agreed, gathered
from rra_monitor.utils.text import brief

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """The ranks of a group, one of which is this process; without a group it is alone.

    Attributes:
        group: process group; None for one process.
        rank: rank of this process within it.
        size: number of ranks.
    """

    group: ProcessGroup | None = None
    rank: int = 0
    size: int = 1

    @classmethod
    def of(cls, group: ProcessGroup | None) -> Ranks:
        """The ranks of a process group.

        Raises:
            TypeError: no process group.
            ValueError: this process is none of its ranks.
        """
        if group is None:
            return ALONE
        import torch.distributed as dist

        if not isinstance(group, dist.ProcessGroup):
            raise TypeError(f"group={brief(group)}; expected a process group of torch, or None for one process")
        if dist.get_rank(group) < 0:
            raise ValueError("this process is no rank of the given group; call on the group's members alone")
        return cls(group, dist.get_rank(group), dist.get_world_size(group))

    def rows(self, n: int, rank: int | None = None) -> range:
        """The share of n samples of a rank, this one if None; the shares differ by one at most."""
        rank = self.rank if rank is None else rank
        return range(rank * n // self.size, (rank + 1) * n // self.size)

    def most_rows(self, n: int) -> int:
        """The number of samples in the largest share of n."""
        return most_rows(n, self.size)

    def values(self, find: Callable[[], T]) -> list[T]:
        """What `find` returns on each rank, by rank; its error on any rank is raised on all."""
        return [find()] if self.group is None else gathered(find, self.group)

    def agreed(self, act: Callable[[], T]) -> T:
        """What `act` returns on this rank, once it has returned on all; its error on any rank is raised on all."""
        return act() if self.group is None else agreed(act, self.group)

    def first(self, act: Callable[[], T]) -> T | None:
        """What `act` returns on the first rank, which alone calls it; its error is raised on all."""
        return self.agreed(lambda: act() if self.rank == 0 else None)

    def agree(self, facts: Mapping[str, Any]) -> None:
        """Refuse what differs between ranks.

        Args:
            facts: name to a value that can be compared and pickled; a text is shown as it is.

        Raises:
            ValueError: the first that differs, with two values and their ranks; on all ranks.
        """
        found = self.values(lambda: dict(facts))
        for name, expected in found[0].items():
            for rank, each in enumerate(found):
                if each.get(name) != expected:
                    raise ValueError(
                        f"{name} differs between ranks: {_shown(expected)} on rank 0, {_shown(each.get(name))} on rank "
                        f"{rank}; pass the same on every rank"
                    )


ALONE = Ranks()


def most_rows(n: int, ranks: int) -> int:
    """The number of samples in the largest of the shares of n."""
    return -(-n // ranks)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else brief(value)
