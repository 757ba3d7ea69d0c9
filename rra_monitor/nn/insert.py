"""Attention for existing residual networks: torchvision's, timm's, the thesis's and others of their kind."""

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import fx, nn

from rra_monitor.nn.attention import Attention, Placement, attention_layer, checked_placement, per_stage
from rra_monitor.nn.blocks import Attended, ResidualBlock, residual_stages
from rra_monitor.nn.existing import attention_beside, attention_in, functional_attention, reason_to_stay
from rra_monitor.nn.sizes import Window

Network = TypeVar("Network", bound=nn.Module)


class Gated(nn.Module):
    """Attention that is blended in by a learned gate, which starts closed.

    Formula: y + gate * (attention(y) - y), one gate per layer, 0 at first. So the first output is `y` to the
    last bit, and the first training step moves the gate alone; the weights of the attention follow once it is open.

    Args:
        attention: a layer that keeps the shape.
    """

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        """Blend of `y` and its attended version, in the shape of `y`."""
        return y + self.gate * (self.attention(y) - y)  # type: ignore[no-any-return]


def insert_attention(
    network: Network,
    attention: Attention | Sequence[Attention] = "stac",
    placement: Placement = "standard",
    window: Window | Sequence[Window] = 8,
    gate: bool = False,
    replace: bool = False,
) -> Network:
    """Insert attention into the residual blocks of a network, which keeps its weights.

    A residual block is a module with numbered convolutions (`conv1`, `conv2`) and a `downsample` or `shortcut`, as in
    the ResNets and their kin of torchvision, timm and transformers, the networks for CIFAR-10 of kuangliu and
    akamaster, or a block of `rra_monitor.nn.ResNet`; docs/networks.md lists more. A stage is a container of such
    blocks. The layers get the device and the precision of the convolution before them. With PyTorch's initial weights
    STAC and SE about halve a map at first: pass `gate=True` to begin with the unchanged output of the network.

    Blocks that have attention already, under any of timm's names or those of a class, are refused, or lose it on
    request; stages without new attention keep what they have.

    Load pretrained weights first: norms or blocks with attention are called `.module` within their replacements, so
    the names of their weights change (not in `rra_monitor.nn.ResNet`). Then create the optimiser, wrap the network in
    `DistributedDataParallel`, and apply `torch.compile` last.

    Args:
        network: network, changed in place.
        attention: "stac", "se", "bam", or a function from a channel count to a layer; one for all stages, or a sequence
            with one for each, `None` for stages without new attention.
        placement: "standard", on the residual branch before the addition; "post", after the addition and its ReLU.
        window: window of "stac": a number of pixels or "global"; a sequence has one for each stage, in which a pair
            is (height, width).
        gate: whether the attention starts without effect, see `Gated`. Together with `replace` it leaves the output
            that the network has without the replaced attention, not the output that it had with it.
        replace: whether attention that the blocks have is taken out first; its weights are lost. Layers that are
            convolution and attention in one (selective kernels, split attention, self-attention) cannot be replaced.

    Returns:
        The network itself.

    Raises:
        ValueError: no residual blocks, attention that is already there, or that cannot be replaced, a network that is
            wrapped, scripted or traced, unknown names, sequences whose length is not the number of stages.

    Source: thesis, section 7.1, Fig. 7.3.

    >>> from torchvision.models import resnet18
    >>> network = insert_attention(resnet18(), (None, None, "stac", "stac"), window=4)
    >>> network.layer4[0].bn2.attention
    STAC(
      window=(4, 4)
      (conv1): Conv2d(512, 512, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
      (conv2): Conv2d(512, 512, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
    )
    """
    checked_placement(placement)
    if not isinstance(network, nn.Module):
        raise TypeError(f"network is a {type(network).__name__}, expected a torch.nn.Module")
    _check_changeable(network)
    stages = residual_stages(network)
    if not stages:
        raise ValueError(
            f"{type(network).__name__} has no residual blocks: no module with conv1, conv2 and downsample or shortcut, "
            "as in the ResNets of torchvision and timm, and none of rra_monitor.nn.ResNet. In another network build "
            "the layers yourself, as in STAC(channels, window=8)"
        )
    kinds: list[Attention] = per_stage("attention", attention, len(stages))
    windows: list[Window] = per_stage("window", window, len(stages))
    layers: list[tuple[ResidualBlock, nn.Module]] = []
    for number, (blocks, kind, size) in enumerate(zip(stages, kinds, windows, strict=True), start=1):
        if kind is not None:
            _check_beside(network, blocks[0])
        for block in blocks if kind is not None else ():
            _check_free(network, block, number, replace)
            convolution = block.convolution
            layer = attention_layer(kind, convolution.out_channels, size, f"stage {number} ({block.name})")
            weight = convolution.weight
            layers.append((block, (Gated(layer) if gate else layer).to(weight.device, weight.dtype)))
    # Only now, so that an error leaves the network as it was.
    for block, layer in layers:
        _clear(network, block)
        _place(network, block, layer, placement)
    return network


def _check_changeable(network: nn.Module) -> None:
    """Refuse a network in which a new layer would not be called, or not be trained."""
    for name, module in network.named_modules():
        kinds = {kind.__name__ for kind in type(module).__mro__}
        where = f"{name or 'network'} is a {type(module).__name__}"
        if kinds & {"DistributedDataParallel", "FullyShardedDataParallel", "FSDPModule"}:
            raise ValueError(f"{where}, which would not train the new layers. Insert attention before wrapping it")
        if isinstance(module, (torch.jit.ScriptModule, fx.GraphModule)):
            raise ValueError(f"{where}, whose code is fixed. Insert attention before it is scripted or traced")


def _check_beside(network: nn.Module, block: ResidualBlock) -> None:
    for name, layer in attention_beside(network, block.name.rpartition(".")[0]):
        raise ValueError(
            f"{name} ({type(layer).__name__}) is attention beside the residual blocks, which is not replaced. Put "
            "torch.nn.Identity() in its place first, or begin with a network without it"
        )


def _check_free(network: nn.Module, block: ResidualBlock, number: int, replace: bool) -> None:
    """Refuse a block for which there is no attention of ours, or which has some that is to stay or must."""
    convolution = block.convolution
    if not isinstance(convolution, nn.Conv2d):
        raise ValueError(
            f"{block.name!r} has a {type(convolution).__name__}; attention is for maps of (n, channels, height, width)"
        )
    otherwise = f"Pass None as the attention of stage {number}, or begin with a network without it"
    if (name := functional_attention(block.module)) is not None:
        raise ValueError(
            f"{block.name!r} has attention already, which its forward computes from {name!r}, so that it cannot be "
            f"replaced. {otherwise}"
        )
    for name in attention_in(block.module):
        layer = block.module.get_submodule(name)
        while isinstance(layer, (Attended, Gated)):
            layer = layer.attention
        said = f"{block.name}.{name} ({type(layer).__name__}) is attention already"
        if (reason := reason_to_stay(block, name)) is not None:
            raise ValueError(f"{said}, and cannot be replaced: {reason}. {otherwise}")
        _check_asked(said, layer, number, replace)
    outer = network.get_submodule(block.name)
    if isinstance(outer, Attended):
        _check_asked(f"{block.name} has attention already", outer.attention, number, replace)


def _check_asked(said: str, layer: nn.Module, number: int, replace: bool) -> None:
    if not replace:
        weights = sum(each.numel() for each in layer.parameters())
        raise ValueError(
            f"{said}. Pass replace=True to put the new attention in its place, where its {weights:,} weights are lost, "
            f"or None as the attention of stage {number}"
        )


def _clear(network: nn.Module, block: ResidualBlock) -> None:
    """Take the attention out of a block."""
    if block.has_slot:
        return
    for name in list(attention_in(block.module)):
        layer = block.module.get_submodule(name)
        block.module.set_submodule(name, layer.module if isinstance(layer, Attended) else nn.Identity())
    outer = network.get_submodule(block.name)
    if isinstance(outer, Attended):
        _put(network, outer, block.module)


def _place(network: nn.Module, block: ResidualBlock, layer: nn.Module, placement: str) -> None:
    module = block.module
    layer.train(module.training)
    if block.has_slot:
        module.attention = layer
        module.placement = placement  # type: ignore[assignment]
    elif placement == "standard":
        name = block.end
        end = module.get_submodule(name)
        module.set_submodule(name, Attended(end, layer).train(end.training))
    else:
        _put(network, module, Attended(module, layer).train(module.training))


def _put(network: nn.Module, module: nn.Module, other: nn.Module) -> None:
    """Put another module wherever one stands: a block may be in a network twice."""
    for name in [name for name, each in network.named_modules(remove_duplicate=False) if each is module]:
        network.set_submodule(name, other)
