"""Using a network in the middle of its training without changing it."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from rra_monitor.utils.rng import preserved_rng


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; on leaving, flags, buffers, random streams and grad mode are as before.

    `no_grad`, not `inference_mode`: a tensor that a module caches here may be part of a backward pass later. Each
    module's `training` flag is set directly, not by `model.eval()`, which some networks override with side effects
    (merging adapters, for example). Compiled modules run eagerly, because hooks added after the first compiled call are
    skipped.

    Raises:
        ValueError: the network has lazy modules that have not seen a batch; initialising them is left to the training.
    """
    modules = list(model.modules())
    for module in modules:
        if any(map(is_lazy, (*module.parameters(recurse=False), *module.buffers(recurse=False)))):
            raise ValueError(
                f"{type(module).__name__} is not initialised yet; pass one batch through the network first"
            )
    flags = [module.training for module in modules]
    # The dictionaries as well as the contents: a forward pass may put another tensor in a buffer's place.
    buffers = [dict(module._buffers) for module in modules]
    contents = {
        id(buffer): buffer.detach().clone() for held in buffers for buffer in held.values() if buffer is not None
    }
    with preserved_rng(), torch.inference_mode(False), torch.no_grad(), _eagerly():
        try:
            for module in modules:
                module.training = False
            yield
        finally:
            for module, training, held in zip(modules, flags, buffers, strict=True):
                module.training = training
                if isinstance(module._buffers, dict):  # TorchScript's is none, and its forward cannot rebind
                    module._buffers.clear()
                    module._buffers.update(held)
                for buffer in held.values():
                    if buffer is not None and not _same(buffer, contents[id(buffer)]):
                        buffer.copy_(contents[id(buffer)])


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal in every element, NaN included."""
    return bool(((a == b) | ((a != a) & (b != b))).all())


def _eagerly() -> AbstractContextManager[object]:
    # Where the compiler was never imported nothing is compiled, and importing it takes seconds.
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
