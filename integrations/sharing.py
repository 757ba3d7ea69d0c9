"""The ranks of a trainer as a process group of the monitor's own, so that the order of its collectives cannot mix with
the training's."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import torch.distributed as dist
from lightning.pytorch import Trainer
from torch import nn

from rra_monitor.capture.spread import is_tensor_parallel

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


def sharing_group(trainer: Trainer, module: nn.Module) -> ProcessGroup | None:
    """A new process group of all ranks that share the work of each snapshot; a collective call.

    None for one process, and where ranks hold parts of the same layers (tensor parallel): these have to pass the same
    samples together, so each measures all of them.

    Args:
        trainer: trainer within a fit.
        module: module that is trained.
    """
    if trainer.world_size < 2 or not dist.is_available() or not dist.is_initialized():
        return None
    if dist.get_world_size() != trainer.world_size or _is_of_its_own(trainer.strategy) or is_tensor_parallel(module):
        return None
    return cast("ProcessGroup", dist.new_group(timeout=getattr(trainer.strategy, "_timeout", None)))


def end_group(group: ProcessGroup | None) -> None:
    """Give up a group; one whose ranks have failed may have gone already."""
    if group is not None:
        with suppress(Exception):
            dist.destroy_process_group(group)


def _is_of_its_own(strategy: Any) -> bool:
    """Whether the strategy passes parameters between ranks in a way that `is_sharded` does not know."""
    return any(each.__name__ == "DeepSpeedStrategy" for each in type(strategy).__mro__)
