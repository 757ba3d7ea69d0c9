"""The layers that "auto" watches: the input, the stem, every block, and what follows the last one."""

from collections import Counter
from collections.abc import Sequence

from torch import nn

from rra_monitor.capture.layer import Layer, named_modules, uncompiled
from rra_monitor.capture.names import INPUT

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)

PASSIVE = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.Flatten, nn.Unflatten, nn.Identity)
"""Modules that do not change the neighbourhoods in evaluation mode, so that "auto" skips them."""

NN_BLOCKS = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
"""The repeated blocks that torch.nn itself defines."""


def auto_layers(model: nn.Module, traced: Sequence[Layer]) -> tuple[Layer, ...]:
    """The layers that "auto" watches, out of those that ran, in their order.

    Raises:
        ValueError: none ran, or none of them is one that "auto" watches.
    """
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
        if not traced:
            raise ValueError(
                "no layer of this network returns one row per sample; put the axis of samples first in the output of "
                "the layers to watch"
            )
        raise ValueError(
            "layers='auto' finds no layer that changes the neighbourhoods; name the layers to watch: layers=[…] out of "
            f"{', '.join(layer.name for layer in traced[:10])}"
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
    """The outermost modules that are not containers, and whether each is one of several blocks of its class."""
    kinds = Counter(type(modules[name]) for name in ran if name and _may_be_block(modules[name]))
    trunk = trunk_of(modules, ran)
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
            if inner_name in modules and modules[inner_name] is uncompiled(inner):
                descend(inner_name)

    descend(trunk)
    return units


def _may_be_block(module: nn.Module) -> bool:
    own = not type(module).__module__.startswith("torch.nn.") or isinstance(module, NN_BLOCKS)
    return own and any(True for _ in module.children()) and type(module) not in CONTAINERS


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
