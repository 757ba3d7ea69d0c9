"""Building the networks of the recipes."""

from functools import partial
from typing import Any

from torch import nn

from rra_monitor.nn import STAC, ResNet
from rra_monitor.recipes.recipe import NetworkSpec

BLOCKS = {"resnet20": (3, 3, 3), "resnet34": (3, 4, 6, 3)}
WIDTHS = {"resnet20": (16, 32, 64), "resnet34": (64, 128, 256, 512)}
WIDE = {"resnet20": (22, 44, 88), "resnet34": (90, 180, 360, 720)}
"""The first width times the square root of 2, truncated, then doubled: nearest to the thesis's counts."""


def built(network: NetworkSpec, classes: int, channels: int) -> nn.Module:
    """A network with new weights.

    Args:
        network: description of the network.
        classes: number of logits.
        channels: channels of the images.
    """
    blocks = tuple(count * 2 if network.variant == "deep" else count for count in BLOCKS[network.base])
    widths = (WIDE if network.variant == "wide" else WIDTHS)[network.base]
    return ResNet(blocks, widths, classes, channels, _attention(network), network.placement)


def stage_sides(stages: int, side: int) -> tuple[int, ...]:
    """The side of the map in each stage, in pixels, for images of a side: it halves from stage to stage.

    >>> stage_sides(3, 32)
    (32, 16, 8)
    """
    return tuple(-(-side // 2**stage) for stage in range(stages))


def _attention(network: NetworkSpec) -> Any:
    """The attention in the blocks of each stage."""
    if network.attention is None:
        return None
    if network.attention != "stac":
        return [None if window is None else network.attention for window in network.windows]
    return [
        None if window is None else partial(STAC, window=window, kernels=network.kernels) for window in network.windows
    ]
