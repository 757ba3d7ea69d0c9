"""Using a network in the middle of its training without changing it."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from rra_monitor.capture.flags import preserved_flags
from rra_monitor.capture.state import recorded
from rra_monitor.utils.rng import preserved_rng


class NotInitialisedError(ValueError):
    """A lazy module that has not seen a batch was called."""


@contextmanager
def undisturbed(model: nn.Module, *, copy_all: bool = False, most_copied: int | None = None) -> Iterator[None]:
    """Evaluation mode without gradients; on leaving, everything that forward passes changed is as before.

    That is flags, parameters, buffers, attributes, containers, what hooks leave behind, random streams, grad mode and
    torch's global switches, see `reached` and `recorded`. What the block itself changes there is put back, too: keep
    results in variables of your own.

    `no_grad`, not `inference_mode`: a tensor that a module caches here may be part of a backward pass later. Each
    module's `training` flag is set directly, not by `model.eval()`, which some networks override with side effects
    (merging adapters, for example). Compiled modules run eagerly, because hooks added after the first compiled call are
    skipped, and attention without its fused path, see `preserved_flags`. Modules that are distributed over processes,
    as `DistributedDataParallel`, do not wait for the others.

    Args:
        model: network, compiled or not.
        copy_all: whether all parameters are copied first, whatever their size, see `recorded`.
        most_copied: bytes of parameters up to which all are copied otherwise; 256 MiB if None.

    Raises:
        NotInitialisedError: a lazy module is called that has not seen a batch; initialising it is left to the training.
    """
    modules = list(model.modules())
    flags = [module.training for module in modules]
    with (
        preserved_rng(),
        preserved_flags(),
        torch.inference_mode(False),
        torch.no_grad(),
        _eagerly(),
        recorded(model, copy_all, most_copied),
        _uninitialised_refused(modules),
    ):
        try:
            for module in modules:
                module.training = False
                if isinstance(module, nn.parallel.DistributedDataParallel):
                    module.require_forward_param_sync = False  # rank zero may measure alone
                elif isinstance(module, nn.DataParallel):
                    module.device_ids = module.device_ids[:1]  # the replicas' hooks would see parts of a batch
            yield
        finally:
            for module, training in zip(modules, flags, strict=True):
                module.training = training


@contextmanager
def _uninitialised_refused(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Refuse calls of modules whose first call would make their parameters, which draws random numbers."""

    def refuse(module: nn.Module, _args: Any) -> None:
        raise NotInitialisedError(
            f"{type(module).__name__} is not initialised yet; pass one batch through the network first"
        )

    def own(module: nn.Module) -> Iterator[Any]:
        for held in ("_parameters", "_buffers"):
            yield from vars(module).get(held, {}).values()

    handles = [
        module.register_forward_pre_hook(refuse, prepend=True) for module in modules if any(map(is_lazy, own(module)))
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _eagerly() -> AbstractContextManager[object]:
    # Where the compiler was never imported nothing is compiled, and importing it takes seconds.
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
