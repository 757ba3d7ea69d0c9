"""Communication between the ranks of a process group: checks that fail on all ranks or on none, and sums."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

T = TypeVar("T")


def gathered(find: Callable[[], T], group: ProcessGroup) -> list[T]:
    """What `find` returns on each rank, by rank, on every rank; a collective call.

    A TypeError or ValueError of `find` on any rank is raised on all, so that no rank waits for one that failed. With
    NCCL each process must have chosen its device (`torch.cuda.set_device`), as torchrun scripts and Lightning do.

    Args:
        find: function that returns a small value that can be pickled.
        group: torch.distributed process group that this process belongs to.

    Raises:
        TypeError: `find` raised it on some rank; the text names each such rank.
        ValueError: likewise.
    """
    import torch.distributed as dist

    if dist.get_rank(group) < 0:
        raise ValueError("this process is no rank of the given group; call on the group's members alone")
    mine: tuple[Any, type[Exception] | None] = (None, None)
    try:
        mine = (find(), None)
    except (TypeError, ValueError) as error:
        mine = (str(error), TypeError if isinstance(error, TypeError) else ValueError)
    everyone: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(everyone, mine, group=group)
    failed: dict[str, list[str]] = {}
    for rank, (text, kind) in enumerate(everyone):
        if kind is not None:
            failed.setdefault(text, []).append(str(rank))
    if failed:
        first = next(kind for _, kind in everyone if kind is not None)
        raise first("; ".join(f"rank {', '.join(where)}: {text}" for text, where in failed.items()))
    return [value for value, _ in everyone]


def summed(find: Callable[[], npt.NDArray[Any]], group: ProcessGroup | None) -> npt.NDArray[np.float64]:
    """The sum over ranks of the arrays that `find` returns, in float64 and in the order of the ranks.

    Every rank gets the same bits. Without a group it is this process's array.

    Raises:
        ValueError: arrays of different shapes, or any error of `find`, on all ranks.
    """
    if group is None:
        return np.asarray(find(), dtype=np.float64)
    parts = gathered(lambda: np.asarray(find(), dtype=np.float64), group)
    for rank, part in enumerate(parts):
        if part.shape != parts[0].shape:
            raise ValueError(
                f"rank {rank} has values of shape {part.shape}, rank 0 of {parts[0].shape}; "
                "call with the same number of graphs on every rank"
            )
    return np.asarray(np.sum(parts, axis=0), dtype=np.float64)
