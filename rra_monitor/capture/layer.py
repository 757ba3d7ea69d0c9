"""A watched layer."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from rra_monitor.capture.names import FULL, layer_view

WRAPPERS = (nn.parallel.DistributedDataParallel, nn.DataParallel)
"""Modules that run one network on several devices."""

_FLAT = "_fsdp_wrapped_module"
"""Name of the module within `FullyShardedDataParallel`."""


@dataclass(frozen=True)
class Layer:
    """One call of one module in a forward pass.

    Attributes:
        name: `layer2.0`; `relu#1`, `relu#2`, … where a module is called several times; `input` for the raw data.
        module: the module's name within the model; empty for the raw data.
        call: index of the call, from 0.
        shape: shape of one sample's output.
        channels_last: whether the last axis of that shape holds the channels, as in (tokens, channels).
        views: each requested view to the distinct one with the same numbers, see `views.resolve`.
        is_complex: whether the output holds complex numbers, so that each gives two features.
        sample_axis: axis of the output that is that of the samples: 0, or 1 as in (tokens, samples, features).
        token_axis: axis of (samples, …) along which the mean over each sample's own tokens is taken, since their number
            differs between batches; the shape is without it. None for most layers.
        dtype: type of the output in the pass that found the layer.
    """

    name: str
    module: str
    call: int
    shape: tuple[int, ...]
    channels_last: bool = False
    views: Mapping[str, str] = field(default_factory=lambda: {FULL: FULL}, hash=False)
    is_complex: bool = False
    sample_axis: int = 0
    token_axis: int | None = None
    dtype: torch.dtype = torch.float32

    @property
    def dim(self) -> int:
        """Number of features of one sample."""
        return int(torch.Size(self.shape).numel()) * (2 if self.is_complex else 1)

    @property
    def view_names(self) -> dict[str, str]:
        """Each distinct view to its name: `{"full": "layer2.0", "avg4": "layer2.0@avg4"}`."""
        return {view: layer_view(self.name, view) for view in self.views.values()}

    @property
    def aliases(self) -> dict[str, str]:
        """Each requested view that equals another one to it, by name: `{"layer3.0@avg8": "layer3.0@avg-global"}`."""
        return {
            layer_view(self.name, asked): layer_view(self.name, view)
            for asked, view in self.views.items()
            if asked != view
        }


def named_modules(model: nn.Module) -> dict[str, nn.Module]:
    """The model's modules by name, also of a compiled or distributed model: names have no `_orig_mod`.

    What `DistributedDataParallel` or `DataParallel` holds has its own names, without `module.`, and what
    `FullyShardedDataParallel` holds those without `_fsdp_wrapped_module`.
    """
    found: dict[str, nn.Module] = {}
    for name, module in network_of(model).named_modules():
        clean = ".".join(part for part in name.split(".") if part not in ("_orig_mod", _FLAT))
        found.setdefault(clean, _innermost(module))
    return found


def _innermost(module: nn.Module) -> nn.Module:
    """The module within a compiled one, or within `FullyShardedDataParallel`."""
    module = uncompiled(module)
    within = module.__dict__.get("_modules")
    inner = within.get(_FLAT) if isinstance(within, dict) else None
    return _innermost(inner) if isinstance(inner, nn.Module) else module


def network_of(model: nn.Module) -> nn.Module:
    """The network within `DistributedDataParallel`, `DataParallel` or a module of Fabric, or the model itself."""
    inner = model
    while isinstance(inner := uncompiled(inner), WRAPPERS) or is_of_fabric(inner):
        model = inner = inner._modules["_forward_module"] if is_of_fabric(inner) else inner.module  # type: ignore[assignment]
    return model


def is_of_fabric(module: nn.Module) -> bool:
    """Whether it is what `fabric.setup` returns, which runs the network within it in Fabric's precision."""
    return type(module).__name__ == "_FabricModule"


def uncompiled(module: nn.Module) -> nn.Module:
    """The module that a compiled one was made of; the module itself if it is not compiled."""
    # Not by `getattr`, which a module may hand on to those within it.
    within = module.__dict__.get("_modules")
    original = within.get("_orig_mod") if isinstance(within, dict) else None
    return original if isinstance(original, nn.Module) else module
