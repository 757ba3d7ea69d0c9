"""Using someone's network in the middle of their training without leaving a trace."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn

from rra_monitor.rng import preserved_rng


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; on leaving, flags, buffers, random streams and grad mode are as before.

    `no_grad`, not `inference_mode`: a tensor that a module caches here may meet a backward pass later. Each module's
    `training` flag is set by itself, not by `model.eval()`, which some networks override with side effects (merging
    adapters, for one). Compiled modules run eagerly, since hooks added after a first compiled call are skipped.
    """
    flags = {module: module.training for module in model.modules()}
    buffers = {id(buffer): (buffer, buffer.detach().clone()) for buffer in model.buffers()}
    with preserved_rng(), torch.no_grad(), _eagerly():
        try:
            for module in flags:
                module.training = False
            yield
        finally:
            for module, training in flags.items():
                module.training = training
            for buffer, before in buffers.values():
                if not torch.equal(buffer, before):
                    buffer.copy_(before)


def _eagerly() -> AbstractContextManager[object]:
    # Where the compiler was never imported nothing is compiled, and importing it takes seconds.
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
