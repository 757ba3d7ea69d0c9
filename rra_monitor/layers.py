"""Choosing the layers that are watched, from one small forward pass."""

import difflib
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from rra_monitor.names import FULL, INPUT, layer_view
from rra_monitor.trees import first_tensor

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
PASSIVE = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.Flatten, nn.Unflatten, nn.Identity)
"""Modules that leave the neighbourhoods as they are in evaluation mode, so that "auto" passes over them."""
NN_BLOCKS = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
"""The repeated blocks that torch.nn itself defines."""


@dataclass(frozen=True)
class Layer:
    """One call of one module in a forward pass.

    Attributes:
        name: `layer2.0`; `relu#1`, `relu#2`, … where a module is called several times; `input` for the raw data.
        module: the module's name within the model; empty for the raw data.
        call: which call of the module it is, from 0.
        shape: of one sample's output.
        channels_last: whether the last axis of that shape holds the channels, as in (tokens, channels).
        views: each asked view to the distinct one that holds its numbers, see `pooling.resolve`.
    """

    name: str
    module: str
    call: int
    shape: tuple[int, ...]
    channels_last: bool = False
    views: Mapping[str, str] = field(default_factory=lambda: {FULL: FULL}, hash=False)

    @property
    def dim(self) -> int:
        """Number of features of one sample."""
        return int(torch.Size(self.shape).numel())

    @property
    def view_names(self) -> dict[str, str]:
        """Each distinct view to its name: `{"full": "layer2.0", "avg4": "layer2.0@avg4"}`."""
        return {view: layer_view(self.name, view) for view in self.views.values()}

    @property
    def aliases(self) -> dict[str, str]:
        """Each asked view that equals another to that one, by name: `{"layer3.0@avg8": "layer3.0@avg-global"}`."""
        return {
            layer_view(self.name, asked): layer_view(self.name, view)
            for asked, view in self.views.items()
            if asked != view
        }


def named_modules(model: nn.Module) -> dict[str, nn.Module]:
    """The model's modules by name, seen through `torch.compile`: names carry no `_orig_mod`."""
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        original = getattr(module, "_orig_mod", module)
        clean = ".".join(part for part in name.split(".") if part != "_orig_mod")
        found.setdefault(clean, original)
    return found


def trace(model: nn.Module, batch: Any, forward: Callable[[nn.Module, Any], Any]) -> list[Layer]:
    """Every call of every module in one forward pass of `batch`, in the order in which the calls return.

    Left out is what can not be a layer: output without a real tensor with one row per sample, TorchScript modules.
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
        traced: what `trace` returned.
        layers: "auto", or module names and glob patterns, and `input` for the raw data. In a pattern `*` stays within
            one level of names (`layer3.*` are the blocks of stage 3) and `**` crosses levels; names may leave out the
            path to the module that holds all layers. "auto" takes the input,
            the stem, the output of every repeated block, and what follows the last block (pool, classifier); in a
            network without repeated blocks the children of the trunk.

    Raises:
        ValueError: a name that the model does not have, that does not run, or a pattern that matches nothing.
    """
    if layers == "auto":
        return _without_clash(_auto(model, traced))
    wanted = [layers] if isinstance(layers, str) else list(layers)
    chosen: set[str] = set()
    # A network held by a LightningModule, say, goes by its own names, too: `layer1.0` for `network.layer1.0`.
    trunk = _trunk(named_modules(model), {layer.module for layer in traced})
    for pattern in wanted:
        for prefix in ("", f"{trunk}."):
            exact = {layer.name for layer in traced if prefix + pattern in (layer.name, layer.module or INPUT)}
            matched = exact or {layer.name for layer in traced if _matches(layer.name, prefix + pattern)}
            if matched:
                break
        if not matched:
            raise ValueError(_no_such_layer(pattern, model, traced))
        chosen |= matched
    names = [layer.name for layer in traced if layer.name in chosen]
    if len(names) != len(set(names)):
        raise ValueError(
            "a module named 'input' can not be watched: the name stands for the raw data. Rename the module."
        )
    return tuple(layer for layer in traced if layer.name in chosen)


def _without_clash(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """Leave the raw data out where a module is called `input`, too."""
    if not any(layer.module == INPUT for layer in layers):
        return layers
    warnings.warn("the network has a module named 'input', so the raw data are not watched", stacklevel=2)
    return tuple(layer for layer in layers if layer.module)


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
            f"layer {pattern!r} can not be watched: in evaluation mode it does not run, or its output has no row per "
            f"sample. Layers that can: {', '.join(_nearest(pattern, valid))}"
        )
    for name, module in model.named_modules(remove_duplicate=False):
        if name == pattern:
            known = next(other for other, same in modules.items() if same is module)
            return f"layer {pattern!r} is the same module as {known!r}; watch that one"
    if pattern == INPUT:
        return "layer 'input' needs a batch that is one tensor of floats or bytes; name modules instead"
    return f"no layer matches {pattern!r}. The nearest names: {', '.join(_nearest(pattern, valid))}"


def _nearest(name: str, valid: list[str]) -> list[str]:
    return difflib.get_close_matches(name, valid, n=5, cutoff=0.3) or valid[:5]


def _auto(model: nn.Module, traced: Sequence[Layer]) -> tuple[Layer, ...]:
    modules = named_modules(model)
    ran = {layer.module for layer in traced}
    units = _units(modules, ran)
    order = [layer for layer in traced if layer.module in units]
    at_blocks = [position for position, layer in enumerate(order) if units[layer.module]]
    if at_blocks:
        first, last = at_blocks[0], at_blocks[-1]
        stem = [_whole_stem(layer, traced, units) for layer in order[max(first - 1, 0) : first]]
        blocks = [order[position] for position in at_blocks]
        order = stem + blocks + order[last + 1 :]
    raw = [layer for layer in traced if layer.name == INPUT and not layer.module]
    chosen = tuple(raw + order)
    if not chosen:
        raise ValueError(
            "no layer of this network returns one row per sample; name the layers to watch: "
            f"layers=[…] out of {', '.join(sorted(modules)[:10])}"
        )
    return chosen


def _whole_stem(last: Layer, traced: Sequence[Layer], units: dict[str, bool]) -> Layer:
    """The outermost module that ends with the layer `last` and holds no block: `stem` rather than `stem.2`."""
    ran = {layer.module: layer for layer in traced}
    while (parent := last.module.rpartition(".")[0]) and parent in ran:
        if any(block and name.startswith(f"{parent}.") for name, block in units.items()):
            break
        last = ran[parent]
    return last


def _units(modules: dict[str, nn.Module], ran: set[str]) -> dict[str, bool]:
    """The outermost modules that are no containers, and whether each is one of several blocks of its class."""
    kinds = Counter(type(modules[name]) for name in ran if name and _may_be_block(modules[name]))
    trunk = _trunk(modules, ran)
    units: dict[str, bool] = {}

    def descend(name: str) -> None:
        module = modules[name]
        block = kinds[type(module)] > 1 and name != trunk
        holds_blocks = any(kinds[type(inner)] > 1 for inner in module.modules() if inner is not module)
        # A stage that is a subclass of Sequential is looked into for the blocks it holds.
        holder = holds_blocks and (not block or isinstance(module, nn.Sequential))
        transparent = type(module) in CONTAINERS or name == trunk or holder
        if not transparent:
            if name in ran and not isinstance(module, PASSIVE):
                units[name] = block
            return
        for child, inner in module.named_children():
            inner_name = ".".join(part for part in (name, child) if part and part != "_orig_mod")
            if inner_name in modules and modules[inner_name] is getattr(inner, "_orig_mod", inner):
                descend(inner_name)

    descend(trunk)
    return units


def _may_be_block(module: nn.Module) -> bool:
    own = not type(module).__module__.startswith("torch.nn.") or isinstance(module, NN_BLOCKS)
    return own and any(True for _ in module.children()) and type(module) not in CONTAINERS


def _trunk(modules: dict[str, nn.Module], ran: set[str]) -> str:
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
