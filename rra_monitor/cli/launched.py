"""The ranks that `torchrun` has started to run one command together."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
import torch.distributed as dist

from rra_monitor.utils.ranks import ALONE, Ranks

REFUSALS = (ValueError, TypeError, OSError)
"""Errors of which a command says one sentence."""


@contextmanager
def launched_ranks() -> Iterator[Ranks]:
    """The ranks of this command, on a device each; this process alone where torchrun did not start it.

    A refusal, which all ranks raise, is said by the first.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "LOCAL_RANK" not in os.environ:
        yield ALONE
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Ranks.of(dist.group.WORLD)
    except REFUSALS as error:
        if dist.get_rank():
            raise SystemExit(1) from error
        raise
    finally:
        dist.destroy_process_group()


@contextmanager
def shared_folder(ranks: Ranks) -> Iterator[str | None]:
    """A temporary folder of the first rank, which those on the same machine read; None for one process."""
    if ranks.group is None:
        yield None
        return
    with tempfile.TemporaryDirectory() if ranks.rank == 0 else nullcontext("") as own:
        yield ranks.values(lambda: own)[0]
        ranks.values(lambda: None)  # until all have read
