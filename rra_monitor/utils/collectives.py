"""Communication between the ranks of a process group: checks that fail on all ranks or on none, and sums."""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch
    from torch.distributed import ProcessGroup

T = TypeVar("T")

HELD_BYTES = 1 << 20
"""Most bytes of the tensors of one call that are held; after larger ones unpacking takes longer than the thread."""

_held: deque[tuple[torch.Tensor, ...]] = deque(maxlen=4)


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
    everyone = _exchanged(mine, group)
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


def held(*tensors: torch.Tensor) -> None:
    """Keep the tensors of a call over the group until some calls later, if they are small.

    A thread of gloo lets go of them a moment after the call has returned. If it is then the last to hold a tensor that
    Python has seen, it waits for the interpreter, while `destroy_process_group` holds the interpreter and waits for the
    thread: in torch 2.6 three of some twenty groups that ended right after a call never did.
    """
    if sum(tensor.nbytes for tensor in tensors) <= HELD_BYTES:
        _held.append(tensors)


def _exchanged(value: Any, group: ProcessGroup) -> list[Any]:
    """The values of all ranks, by rank, as `all_gather_object` but with its tensors `held`."""
    import torch
    import torch.distributed as dist

    on_gpu = dist.get_backend(group) == "nccl"
    device = torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")
    data = torch.frombuffer(bytearray(pickle.dumps(value)), dtype=torch.uint8).to(device)
    size = torch.tensor([len(data)], device=device)
    sizes = [torch.empty_like(size) for _ in range(dist.get_world_size(group))]
    dist.all_gather(sizes, size, group=group)
    mine = torch.zeros(int(max(sizes)), dtype=torch.uint8, device=device)
    mine[: len(data)] = data
    parts = [torch.empty_like(mine) for _ in sizes]
    dist.all_gather(parts, mine, group=group)
    held(size, *sizes, mine, *parts)
    return [pickle.loads(part[: int(n)].cpu().numpy().tobytes()) for part, n in zip(parts, sizes, strict=True)]
