"""The residual blocks of a network, of whatever library."""

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

BESIDE = ("downsample", "shortcut", "proj")
"""Names of what carries a block's input past its branch."""
BRANCHES = ("f", "layer", "residual_function")
"""Names of a whole branch: in torchvision's RegNets, in transformers and in weiaicunzai/pytorch-cifar100."""

SIDE = 1120
"""Side of the map with which a block is tried: attention in tiles of 7 or 8 pixels takes it, also halved."""

_NUMBERED = re.compile(r"(conv|bn|norm)(\d)")


class Attended(nn.Module):
    """A module with attention on its output.

    Formula: attention(module(x)).

    Args:
        module: replaced module: the last one of a residual branch, or a whole residual block.
        attention: a layer that keeps the shape.
    """

    def __init__(self, module: nn.Module, attention: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.attention = attention

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The attention applied to the module's output."""
        return self.attention(self.module(x))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class ResidualBlock:
    """A residual block of a network.

    Attributes:
        name: name in the network, that of its `Attended` if it has one.
        module: the block itself.
    """

    name: str
    module: nn.Module

    @property
    def has_slot(self) -> bool:
        """Whether it is a block of `rra_monitor.nn.ResNet`, which calls its attention itself."""
        return hasattr(self.module, "attention") and hasattr(self.module, "placement")

    @property
    def branch(self) -> dict[str, nn.Module]:
        """The convolutions and norms of the branch by name, as they are registered; or the branch as a whole."""
        children = {name: child for name, child in self.module.named_children() if name not in BESIDE}
        numbered = {name: child for name, child in children.items() if _NUMBERED.match(name)}
        if len({name for name in numbered if name.startswith("conv")}) > 1:
            return numbered
        return {name: child for name, child in children.items() if name in BRANCHES and len(_convolutions(child)) > 1}

    @property
    def convolution(self) -> _ConvNd:
        """The last convolution of the branch."""
        return [each for child in self.branch.values() for each in _convolutions(child)][-1]

    @property
    def end(self) -> str:
        """The name, in the block, of the last module of the branch: a norm, or a convolution after its norm."""
        called: list[str] = []
        branch = self.branch

        def noted(name: str) -> Callable[..., None]:
            return lambda *_: called.append(name)

        def watch(trial: nn.Module) -> None:
            for name in branch:
                trial.get_submodule(name).register_forward_hook(noted(name))

        # What cannot be tried is taken to be called in the order in which it is registered.
        return called[-1] if len(branch) > 1 and self.tried(watch) and called else list(branch)[-1]

    def tried(self, watch: Callable[[nn.Module], object]) -> bool:
        """Whether a copy of the block, without numbers, takes a map.

        Args:
            watch: function of the copy, called first; it may add hooks.
        """
        first = next((each for child in self.branch.values() for each in _convolutions(child)), None)
        if first is None:
            return False
        weights = [*self.module.parameters(), *self.module.buffers()]
        try:
            trial = copy.deepcopy(self.module, {id(each): _without_numbers(each) for each in weights}).eval()
            for part in trial.modules():  # hooks of the user's must not meet a tensor without numbers
                part._forward_hooks.clear()
                part._forward_pre_hooks.clear()
            watch(trial)
            with torch.no_grad():
                trial(torch.empty((2, first.in_channels, SIDE, SIDE), device="meta", dtype=first.weight.dtype))
        except Exception:  # whatever a block of somebody else raises
            return False
        return True


def residual_stages(network: nn.Module) -> list[list[ResidualBlock]]:
    """The residual blocks of a network, by the container that holds them."""
    named = [(name, module) for name, module in network.named_modules() if not isinstance(module, Attended)]
    # A block without a projection may lack the name of it, as the pre-activation blocks of kuangliu/pytorch-cifar do.
    kinds = {type(module) for _, module in named if _is_block(module)} - {nn.Module, nn.Sequential}
    blocks = {name: ResidualBlock(name, module) for name, module in named if type(module) in kinds}
    stages: dict[str, list[ResidualBlock]] = {}
    for name, block in blocks.items():
        if block.branch and not any(other.startswith(f"{name}.") for other in blocks):
            outer = name.removesuffix(".module")
            if outer != name and isinstance(network.get_submodule(outer), Attended):
                block = ResidualBlock(outer, block.module)
            stages.setdefault(block.name.rpartition(".")[0], []).append(block)
    return list(stages.values())


def _is_block(module: nn.Module) -> bool:
    block = ResidualBlock("", module)
    return block.has_slot or (any(hasattr(module, name) for name in BESIDE) and bool(block.branch))


def _convolutions(module: nn.Module) -> list[_ConvNd]:
    module = module.module if isinstance(module, Attended) else module
    return [each for each in module.modules() if isinstance(each, _ConvNd)]


def _without_numbers(weights: torch.Tensor) -> torch.Tensor:
    empty = torch.empty_like(weights, device="meta")
    return nn.Parameter(empty, weights.requires_grad) if isinstance(weights, nn.Parameter) else empty
