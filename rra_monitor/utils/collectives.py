"""Communication between the ranks of a process group: calls that fail on all ranks or on none."""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch
    from torch.distributed import ProcessGroup

T = TypeVar("T")

HELD_BYTES = 1 << 20
"""Most bytes of the tensors of one call that are held; after larger ones unpacking takes longer than the thread."""

FIRST_BYTES = 1 << 10
"""Bytes of a value that are exchanged together with its size; only longer ones need a second exchange."""

_held: deque[tuple[torch.Tensor, ...]] = deque(maxlen=4)


class RankError(RuntimeError):
    """An error of some rank, other than a TypeError or ValueError, raised on all ranks of the group.

    Its text names the rank and the kind of error. On the rank where it happened its cause is the error itself.
    """


def gathered(find: Callable[[], T], group: ProcessGroup) -> list[T]:
    """What `find` returns on each rank, by rank, on every rank; a collective call.

    An exception of `find` on any rank is raised on all, so that no rank waits for one that failed. With NCCL each
    process must have chosen its device (`torch.cuda.set_device`), as torchrun scripts and Lightning do.

    Args:
        find: function that returns a small value that can be pickled.
        group: torch.distributed process group that this process belongs to.

    Raises:
        TypeError: `find` raised it on some rank; the text names each such rank.
        ValueError: likewise; a kind of this package stays what it is.
        RankError: `find` raised any other Exception on some rank. The text of one for lack of memory says "out of
            memory" on all ranks.
    """
    import torch.distributed as dist

    if dist.get_rank(group) < 0:
        raise ValueError("this process is no rank of the given group; call on the group's members alone")
    cause: Exception | None = None
    try:
        mine = pickle.dumps((find(), None))
    except Exception as error:  # whatever it is, the others must not wait for this rank
        cause = error
        mine = pickle.dumps((_said(error), _kind(error)))
    everyone = [pickle.loads(data) for data in _exchanged(mine, group)]
    failed: dict[str, list[str]] = {}
    for rank, (text, kind) in enumerate(everyone):
        if kind is not None:
            failed.setdefault(text, []).append(str(rank))
    if failed:
        first = next(kind for _, kind in everyone if kind is not None)
        try:
            raise first("; ".join(f"rank {', '.join(where)}: {text}" for text, where in failed.items())) from cause
        finally:
            cause = None  # it holds this frame, which would hold it and what it could not allocate
    return [value for value, _ in everyone]


def agreed(find: Callable[[], T], group: ProcessGroup) -> T:
    """What `find` returns on this rank, once it has returned on all; a collective call with the errors of `gathered`.

    For work between two collective calls, whatever it returns.
    """
    found: list[T] = []
    gathered(lambda: found.append(find()), group)
    return found[0]


def sent_from(rank: int, tensor: torch.Tensor, group: ProcessGroup) -> None:
    """Fill a contiguous tensor, of one size on all ranks, with that of one of them; a collective call."""
    import torch
    import torch.distributed as dist

    # As bytes: gloo does not know all types of numbers.
    dist.broadcast(tensor.view(-1).view(torch.uint8), dist.get_global_rank(group, rank), group)


def held(*tensors: torch.Tensor) -> None:
    """Keep the tensors of a call over the group until some calls later, if they are small.

    A thread of gloo lets go of them a moment after the call has returned. If it is then the last to hold a tensor that
    Python has seen, it waits for the interpreter, while `destroy_process_group` holds the interpreter and waits for the
    thread: in torch 2.6 three of some twenty groups that ended right after a call never did.
    """
    if sum(tensor.nbytes for tensor in tensors) <= HELD_BYTES:
        _held.append(tensors)


def _kind(error: Exception) -> type[Exception]:
    """The kind of error that is raised on all ranks; those of this package are made from a text, as TypeError is."""
    for kind in (TypeError, ValueError):
        if isinstance(error, kind):
            return type(error) if type(error).__module__.startswith("rra_monitor.") else kind
    return RankError


def _said(error: Exception) -> str:
    """The text of an error; of one that is raised as another kind, with its own kind before it."""
    if _kind(error) is not RankError:
        return str(error)
    words = "out of memory: " if isinstance(error, MemoryError) else ""  # whose texts do not say so
    return f"{type(error).__name__}: {words}{error}"


def _exchanged(mine: bytes, group: ProcessGroup) -> list[bytes]:
    """The bytes of all ranks, by rank: as `all_gather_object`, but at once if all are short, and `held`."""
    sent = len(mine).to_bytes(8, "little") + mine
    parts = _gathered_bytes(sent[:FIRST_BYTES].ljust(FIRST_BYTES), group)
    sizes = [8 + int.from_bytes(part[:8], "little") for part in parts]
    if (longest := max(sizes)) > FIRST_BYTES:
        rest = _gathered_bytes(sent[FIRST_BYTES:].ljust(longest - FIRST_BYTES), group)
        parts = [first + further for first, further in zip(parts, rest, strict=True)]
    return [part[8:size] for part, size in zip(parts, sizes, strict=True)]


def _gathered_bytes(mine: bytes, group: ProcessGroup) -> list[bytes]:
    """The bytes of all ranks, of as many on each."""
    import torch
    import torch.distributed as dist

    on_gpu = dist.get_backend(group) == "nccl"
    device = torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")
    data = torch.frombuffer(bytearray(mine), dtype=torch.uint8).to(device)
    parts = [torch.empty_like(data) for _ in range(dist.get_world_size(group))]
    dist.all_gather(parts, data, group=group)
    held(data, *parts)
    return [part.cpu().numpy().tobytes() for part in parts]
