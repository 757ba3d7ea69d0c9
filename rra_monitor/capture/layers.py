"""Choosing the layers that are watched, from one small forward pass."""

import difflib
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from rra_monitor.capture.auto import auto_layers, trunk_of
from rra_monitor.capture.layer import Layer, named_modules, network_of
from rra_monitor.capture.names import INPUT
from rra_monitor.utils.trees import first_tensor


class LayerNameError(ValueError):
    """A layer that was asked for is not there, or cannot be watched."""


def trace(model: nn.Module, batch: Any, forward: Callable[[nn.Module, Any], Any]) -> list[Layer]:
    """Every call of every module in one forward pass of `batch`, in the order in which the calls return.

    TorchScript modules, and calls whose output is not a real tensor with one row per sample, are left out.
    """
    inputs = first_tensor(batch)
    if inputs is None:
        raise TypeError(f"a batch of type {type(batch).__name__} holds no tensor")
    events: list[tuple[str, torch.Size | None]] = []
    modules = named_modules(model)

    def hook(name: str) -> Callable[..., None]:
        def record(_module: nn.Module, _args: Any, output: Any) -> None:
            tensor = first_tensor(output)
            events.append((name, None if tensor is None or tensor.is_complex() else tensor.shape))

        return record

    handles = [
        module.register_forward_hook(hook(name))
        for name, module in modules.items()
        if name and not isinstance(module, torch.jit.ScriptModule)
    ]
    try:
        forward(model, batch)
    finally:
        for handle in handles:
            handle.remove()

    times, calls = Counter(name for name, _ in events), Counter[str]()
    layers = []
    # Only floating data, or bytes of an image, have a Euclidean geometry; token numbers have none.
    if isinstance(batch, torch.Tensor) and (batch.is_floating_point() or batch.dtype is torch.uint8):
        layers.append(Layer(INPUT, "", 0, tuple(batch.shape[1:])))
    for name, shape in events:
        call = calls[name]
        calls[name] += 1
        if shape is not None and len(shape) >= 1 and shape[0] == len(inputs):
            layers.append(Layer(name if times[name] == 1 else f"{name}#{call + 1}", name, call, tuple(shape[1:])))
    return layers


def choose_layers(model: nn.Module, traced: Sequence[Layer], layers: str | Iterable[str] = "auto") -> tuple[Layer, ...]:
    """The layers to watch, in execution order.

    Args:
        model: the traced model.
        traced: result of `trace`.
        layers: "auto", or module names and glob patterns, and `input` for the raw data. In a pattern `*` stays within
            one level of names (`layer3.*` are the blocks of stage 3) and `**` crosses levels; names may leave out the
            path to the module that holds all layers. "auto" takes the input, the stem, the output of every repeated
            block, and what follows the last block (pool, classifier); in a network without repeated blocks the children
            of the module that holds all parameters.

    Raises:
        LayerNameError: a name that the model does not have, that does not run, or a pattern that matches nothing; a
            ValueError.
    """
    if layers == "auto":
        return _without_clash(auto_layers(model, traced))
    wanted = [layers] if isinstance(layers, str) else list(layers)
    chosen: set[str] = set()
    # The names may be those of the network alone if a LightningModule holds it: `layer1.0` for `network.layer1.0`.
    trunk = trunk_of(named_modules(model), {layer.module for layer in traced})
    for pattern in wanted:
        for asked in (pattern, f"{trunk}.{pattern}", *_unwrapped(pattern, model)):
            exact = {layer.name for layer in traced if asked in (layer.name, layer.module or INPUT)}
            matched = exact or {layer.name for layer in traced if _matches(layer.name, asked)}
            if asked != pattern:
                matched -= {INPUT}  # the rest of a longer pattern is of modules
            if matched:
                break
        if not matched:
            raise LayerNameError(_no_such_layer(pattern, model, traced))
        chosen |= matched
    names = [layer.name for layer in traced if layer.name in chosen]
    if len(names) != len(set(names)):
        raise ValueError(
            "a module named 'input' cannot be watched: the name stands for the raw data. Rename the module."
        )
    return tuple(layer for layer in traced if layer.name in chosen)


def _without_clash(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """Leave the raw data out if a module is also called `input`."""
    if not any(layer.module == INPUT for layer in layers):
        return layers
    warnings.warn("the network has a module named 'input', so the raw data are not watched", stacklevel=2)
    return tuple(layer for layer in layers if layer.module)


def _unwrapped(pattern: str, model: nn.Module) -> tuple[str, ...]:
    """The pattern without the name under which `DistributedDataParallel` holds the network."""
    wrapped = network_of(model) is not model
    return (pattern.removeprefix("module."),) if wrapped and pattern.startswith("module.") else ()


def _matches(name: str, pattern: str) -> bool:
    if "**" in pattern:
        return fnmatchcase(name, pattern)
    parts, patterns = name.split("."), pattern.split(".")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))


def _no_such_layer(pattern: str, model: nn.Module, traced: Sequence[Layer]) -> str:
    modules = named_modules(model)
    valid = [layer.name for layer in traced]
    if pattern in modules:
        return (
            f"layer {pattern!r} cannot be watched: in evaluation mode it does not run, or its output has no row per "
            f"sample. Layers that can: {', '.join(_nearest(pattern, valid))}"
        )
    for name, module in network_of(model).named_modules(remove_duplicate=False):
        if name == pattern:
            known = next(other for other, same in modules.items() if same is module)
            return f"layer {pattern!r} is the same module as {known!r}; watch that one"
    if pattern == INPUT:
        return "layer 'input' needs a batch that is one tensor of floats or bytes; name modules instead"
    return f"no layer matches {pattern!r}. The nearest names: {', '.join(_nearest(pattern, valid))}"


def _nearest(name: str, valid: list[str]) -> list[str]:
    return difflib.get_close_matches(name, valid, n=5, cutoff=0.3) or valid[:5]
