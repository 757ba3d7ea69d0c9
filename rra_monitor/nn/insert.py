"""Attention for existing residual networks: torchvision's, timm's and the thesis's."""

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import nn

from rra_monitor.nn.attention import Attention, Placement, attention_layer, checked_placement, per_stage
from rra_monitor.nn.sizes import Window

Network = TypeVar("Network", bound=nn.Module)


class Attended(nn.Module):
    """A module with attention on its output.

    Formula: attention(module(x)).

    Args:
        module: replaced module: the last norm of a residual branch, or a whole residual block.
        attention: a layer that keeps the shape.
    """

    def __init__(self, module: nn.Module, attention: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.attention = attention

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The attention applied to the module's output."""
        return self.attention(self.module(x))  # type: ignore[no-any-return]


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
) -> Network:
    """Insert attention into the residual blocks of a network, which keeps its weights.

    A residual block is a module with `conv1`, `conv2`, `bn2` and `downsample`, as in the ResNets, ResNeXts and wide
    ResNets of torchvision and timm, or a block of `rra_monitor.nn.ResNet`. A stage is a container of such blocks. The
    layers get the device and the precision of the convolution before them. With PyTorch's initial weights STAC and SE
    about halve a map at first: pass `gate=True` to begin with the unchanged output of the network.

    Load pretrained weights first: norms or blocks with attention are called `.module` within their replacements, so
    the names of their weights change (not in `rra_monitor.nn.ResNet`). Then create the optimiser, and apply
    `torch.compile` last.

    Args:
        network: network, changed in place.
        attention: "stac", "se", "bam", or a function from a channel count to a layer; one for all stages, or a sequence
            with one for each, `None` for stages without attention.
        placement: "standard", on the residual branch before the addition; "post", after the addition and its ReLU.
        window: window of "stac": a number of pixels or "global"; a sequence has one for each stage, in which a pair
            is (height, width).
        gate: whether the attention starts without effect, see `Gated`.

    Returns:
        The network itself.

    Raises:
        ValueError: no residual blocks, attention that is already there, unknown names, sequences whose length is not
            the number of stages.

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
    stages = _stages(network)
    kinds: list[Attention] = per_stage("attention", attention, len(stages))
    windows: list[Window] = per_stage("window", window, len(stages))
    layers: list[tuple[str, nn.Module]] = []
    for number, (names, kind, size) in enumerate(zip(stages, kinds, windows, strict=True), start=1):
        for name in names if kind is not None else ():
            convolution = _last_convolution(network.get_submodule(name))
            layer = attention_layer(kind, convolution.out_channels, size, f"stage {number} ({name})")
            weight = convolution.weight
            layers.append((name, (Gated(layer) if gate else layer).to(weight.device, weight.dtype)))
    # Only now, so that an error leaves the network as it was.
    for name, layer in layers:
        _place(network, name, layer, placement)
    return network


def _stages(network: nn.Module) -> list[list[str]]:
    """The names of the residual blocks, by the container that holds them."""
    stages: dict[str, list[str]] = {}
    for name, module in network.named_modules():
        if isinstance(module, Attended) or not isinstance(getattr(module, "attention", nn.Identity()), nn.Identity):
            raise ValueError(
                f"{name!r} has attention already. Insert into a fresh network, and all stages in one call: "
                f"attention=(None, 'stac', …)"
            )
        if _has_slot(module) or all(hasattr(module, part) for part in ("conv1", "conv2", "bn2", "downsample")):
            stages.setdefault(name.rpartition(".")[0], []).append(name)
    if not stages:
        raise ValueError(
            f"{type(network).__name__} has no residual blocks: no module with conv1, conv2, bn2 and downsample, as in "
            "the ResNets of torchvision and timm, and none of rra_monitor.nn.ResNet. In another network build the "
            "layers yourself, as in STAC(channels, window=8)"
        )
    return list(stages.values())


def _has_slot(block: nn.Module) -> bool:
    return hasattr(block, "attention") and hasattr(block, "placement")


def _last_convolution(block: nn.Module) -> nn.Conv2d:
    found = getattr(block, "conv3", None) or block.conv2
    assert isinstance(found, nn.Conv2d)
    return found


def _place(network: nn.Module, name: str, layer: nn.Module, placement: str) -> None:
    block = network.get_submodule(name)
    layer.train(block.training)
    if _has_slot(block):
        block.attention = layer
        block.placement = placement  # type: ignore[assignment]
        return
    if placement == "standard":
        name += ".bn3" if hasattr(block, "bn3") else ".bn2"
    replaced = network.get_submodule(name)
    network.set_submodule(name, Attended(replaced, layer).train(replaced.training))
