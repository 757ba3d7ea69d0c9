"""What a network costs: parameters, and multiply-adds in the thesis's counting."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rra_monitor.nn.sizes import positive

aten = torch.ops.aten

NORMS = ("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "cudnn_batch_norm")
POOLS = ("avg_pool2d", "sum", "_adaptive_avg_pool2d", "mean", "max_pool2d_with_indices")
UPSAMPLING = ("upsample_nearest2d",)
ELEMENTWISE = ("relu", "relu_", "sigmoid", "add", "add_", "sub", "mul", "div")


@dataclass(frozen=True)
class Cost:
    """Cost of one forward pass of one image.

    Attributes:
        flops: multiply-adds of convolutions and linear layers, and operations of the rest.
        parameters: trainable numbers.
    """

    flops: int
    parameters: int


def _check_shape(network: nn.Module, image: Sequence[int]) -> None:
    """Refuse a shape that a network does not take."""
    sides = [positive("a side of the image", side) for side in image]
    try:
        with torch.no_grad():
            copy.deepcopy(network).to("meta").eval()(torch.empty(1, *sides, device="meta"))
    except RuntimeError as error:
        raise ValueError(f"the network takes no image of shape {tuple(sides)}: {error}") from error


def network_cost(network: nn.Module, image: Sequence[int] = (3, 32, 32)) -> Cost:
    """Parameters and FLOPs of a network, in the counting that gives the numbers printed in the thesis.

    A multiply-add of a convolution or linear layer counts as one, batch norm as two per element, pooling as one per
    element of its input, ReLU, sigmoid, addition and multiplication as one per element of their output. Biases and
    copying, such as nearest-neighbour upsampling, are free, and so are operations that none of these networks has.

    The counter is `torch.utils.flop_counter`; it sees operations, not modules, so functions within a `forward` count,
    too. It runs on the meta device, in evaluation mode, on a copy: nothing is computed, the network stays as it is.

    Args:
        network: takes a batch of images.
        image: shape of one image, (channels, height, width).

    Raises:
        ValueError: a shape that the network does not take.

    Source: thesis, Table 7.1, whose print for ResNet20 is 41.5M.

    >>> from rra_monitor.nn import resnet20
    >>> network_cost(resnet20())
    Cost(flops=41493120, parameters=272474)
    """
    _check_shape(network, image)
    shadow = copy.deepcopy(network).to("meta").eval()
    counter = FlopCounterMode(display=False, custom_mapping=FORMULAS)
    with torch.no_grad(), counter:
        shadow(torch.empty(1, *image, device="meta"))
    # The counter's own formulas take a multiply-add for two.
    counts = counter.get_flop_counts()["Global"]
    flops = sum(count if operation in FORMULAS else count // 2 for operation, count in counts.items())
    return Cost(flops, sum(weights.numel() for weights in network.parameters() if weights.requires_grad))


def _twice_the_input(shape: Sequence[int], *_args: Any, **_kwargs: Any) -> int:
    return 2 * prod(shape)


def _nothing(*_args: Any, **_kwargs: Any) -> int:
    return 0


def _input(shape: Sequence[int], *_args: Any, **_kwargs: Any) -> int:
    return prod(shape)


def _output(*_args: Any, out_shape: Sequence[int], **_kwargs: Any) -> int:
    return prod(out_shape)


FORMULAS = {
    getattr(aten, name): formula
    for names, formula in ((NORMS, _twice_the_input), (POOLS, _input), (ELEMENTWISE, _output), (UPSAMPLING, _nothing))
    for name in names
}
"""The counter's operations that are neither convolutions nor products of matrices, to what they count."""
