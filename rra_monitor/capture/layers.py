"""Choosing the layers that are watched, from one small forward pass."""

import difflib
import warnings
from collections.abc import Callable, Iterable

from torch import nn

from rra_monitor.capture.auto import auto_layers
from rra_monitor.capture.calls import Trace
from rra_monitor.capture.layer import Layer, named_modules, network_of
from rra_monitor.capture.names import INPUT
from rra_monitor.capture.thinning import matches


class LayerNameError(ValueError):
    """A layer that was asked for is not there, or cannot be watched."""


def warn(text: str) -> None:
    """Warn about the choice of layers."""
    warnings.warn(text, stacklevel=2)


def choose_layers(
    model: nn.Module, traced: Trace, layers: str | Iterable[str] = "auto", say: Callable[[str], None] = warn
) -> tuple[Layer, ...]:
    """The layers to watch, in execution order.

    Args:
        model: the traced model.
        traced: result of `trace`.
        layers: "auto", or module names and glob patterns, and `input` for the raw data. In a pattern `*` stays within
            one level of names (`layer3.*` are the blocks of stage 3) and `**` crosses levels; names may leave out the
            path to the module that holds all layers. "auto" takes the input, the stem, the output of every block, and
            what follows the last block (pool, classifier); in a network without blocks each convolution or other layer
            with weights, with its norm and activation. It takes 40 of them at most, see `thinned`.
        say: function for a remark to the user.

    Raises:
        LayerNameError: a name that the model does not have, that does not run, or a pattern that matches nothing; a
            ValueError.
    """
    if layers == "auto":
        return _without_clash(auto_layers(model, traced, say), say)
    wanted = [layers] if isinstance(layers, str) else list(layers)
    chosen: set[str] = set()
    # The names may be those of the network alone if a LightningModule holds it: `layer1.0` for `network.layer1.0`.
    trunk = trunk_of(named_modules(model), {layer.module for layer in traced.layers})
    for pattern in wanted:
        for asked in (pattern, f"{trunk}.{pattern}", *_unwrapped(pattern, model)):
            exact = {layer.name for layer in traced.layers if asked in (layer.name, layer.module or INPUT)}
            matched = exact or {layer.name for layer in traced.layers if matches(layer.name, asked)}
            if asked != pattern:
                matched -= {INPUT}  # the rest of a longer pattern is of modules
            if matched:
                break
        if not matched:
            raise LayerNameError(_no_such_layer(pattern, model, traced))
        chosen |= matched
    names = [layer.name for layer in traced.layers if layer.name in chosen]
    if len(names) != len(set(names)):
        raise ValueError(
            "a module named 'input' cannot be watched: the name stands for the raw data. Rename the module."
        )
    return tuple(layer for layer in traced.layers if layer.name in chosen)


def _without_clash(layers: tuple[Layer, ...], say: Callable[[str], None]) -> tuple[Layer, ...]:
    """Leave the raw data out if a module is also called `input`."""
    if not any(layer.module == INPUT for layer in layers):
        return layers
    say("the network has a module named 'input', so the raw data are not watched")
    return tuple(layer for layer in layers if layer.module)


def _unwrapped(pattern: str, model: nn.Module) -> tuple[str, ...]:
    """The pattern without the name under which `DistributedDataParallel` holds the network."""
    wrapped = network_of(model) is not model
    return (pattern.removeprefix("module."),) if wrapped and pattern.startswith("module.") else ()


def _no_such_layer(pattern: str, model: nn.Module, traced: Trace) -> str:
    modules = named_modules(model)
    valid = [layer.name for layer in traced.layers]
    if pattern in modules:
        return (
            f"layer {pattern!r} cannot be watched: in evaluation mode it does not run, or its output has no row per "
            f"sample. Layers that can: {', '.join(_nearest(pattern, valid))}"
        )
    for name, module in network_of(model).named_modules(remove_duplicate=False):
        if name == pattern:
            known = next(other for other, same in modules.items() if same is module)
            return f"layer {pattern!r} is the same module as {known!r}; watch that one"
    if pattern.lower() == "auto":
        return f"no layer is called {pattern!r}; for those that are found pass layers='auto', by itself"
    if pattern == INPUT:
        return "layer 'input' needs a batch that is one tensor of floats or bytes; name modules instead"
    return f"no layer matches {pattern!r}. The nearest names: {', '.join(_nearest(pattern, valid))}"


def _nearest(name: str, valid: list[str]) -> list[str]:
    return difflib.get_close_matches(name, valid, n=5, cutoff=0.3) or valid[:5]


def trunk_of(modules: dict[str, nn.Module], ran: set[str]) -> str:
    """The innermost module that still holds every parameter that takes part in the forward pass."""
    name = ""
    while True:
        prefix = f"{name}." if name else ""
        children = {
            child: modules[child]
            for child in modules
            if child.startswith(prefix) and child != name and "." not in child[len(prefix) :]
        }
        weighty = [
            child
            for child, module in children.items()
            if any(True for _ in module.parameters()) and any(r == child or r.startswith(f"{child}.") for r in ran)
        ]
        if len(weighty) != 1 or not any(True for _ in children[weighty[0]].children()):
            return name
        name = weighty[0]
