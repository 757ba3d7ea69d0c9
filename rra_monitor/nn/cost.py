"""The cost of a network: parameters, and multiply-adds as counted in the thesis."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from rra_monitor.nn.sizes import positive

aten = torch.ops.aten

NORMS = ("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "cudnn_batch_norm")
POOLS = ("avg_pool2d", "sum", "_adaptive_avg_pool2d", "mean", "max_pool2d_with_indices")
ELEMENTWISE = ("relu", "relu_", "sigmoid", "add", "add_", "sub", "mul", "div")


@dataclass(frozen=True)
class Cost:
    """Cost of one forward pass of one image.

    Attributes:
        flops: multiply-adds of convolutions and linear layers, and operations of the rest.
        parameters: number of trainable parameters.
    """

    flops: int
    parameters: int


def _check_shape(network: nn.Module, image: Sequence[int]) -> None:
    """Refuse a shape that a network does not accept."""
    sides = [positive("a side of the image", side) for side in image]
    try:
        with torch.no_grad():
            copy.deepcopy(network).to("meta").eval()(torch.empty(1, *sides, device="meta"))
    except RuntimeError as error:
        raise ValueError(f"the network takes no image of shape {tuple(sides)}: {error}") from error


def network_cost(network: nn.Module, image: Sequence[int] = (3, 32, 32)) -> Cost:
    """Parameters and FLOPs of a network, counted so that the numbers printed in the thesis result.

    A multiply-add of a convolution or linear layer counts as one, batch norm as two per element, pooling as one per
    element of its input, ReLU, sigmoid, addition and multiplication as one per element of their output. Biases and
    copying, such as nearest-neighbour upsampling, are free, and so are operations that none of these networks has.

    Operations are counted, not modules, so functions within a `forward` count, too. A copy runs on the meta device in
    evaluation mode: nothing is computed, and the network does not change.

    Args:
        network: network that takes a batch of images.
        image: shape of one image, (channels, height, width).

    Raises:
        ValueError: a shape that the network does not accept.

    Source: thesis, Table 7.1, whose print for ResNet20 is 41.5M.

    >>> from rra_monitor.nn import resnet20
    >>> network_cost(resnet20())
    Cost(flops=41493120, parameters=272474)
    """
    _check_shape(network, image)
    shadow = copy.deepcopy(network).to("meta").eval()
    counter = _Counter()  # type: ignore[no-untyped-call, unused-ignore]
    with torch.no_grad(), counter:
        shadow(torch.empty(1, *image, device="meta"))
    return Cost(counter.flops, sum(weights.numel() for weights in network.parameters() if weights.requires_grad))


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call, unused-ignore]
    """Counts each operation as a whole.

    `torch.utils.flop_counter.FlopCounterMode` decomposes operations where torch has a decomposition of them. That
    depends on torch's version and on what was imported before: of an upsampling it then counts the arithmetic of the
    indices, which is copying.
    """

    flops = 0

    def __torch_dispatch__(
        self, operation: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        found = operation(*args, **kwargs)
        name = operation.overloadpacket
        if name in flop_registry:
            # It takes a multiply-add for two.
            self.flops += flop_registry[name](*args, **kwargs, out_val=found) // 2
        elif name in FORMULAS:
            self.flops += FORMULAS[name](args[0], found)
        return found


def _two_per_element(given: torch.Tensor, found: Any) -> int:
    return 2 * given.numel()


def _one_per_element(given: torch.Tensor, found: Any) -> int:
    return given.numel()


def _one_per_result(given: Any, found: torch.Tensor) -> int:
    return found.numel()


FORMULAS = {
    getattr(aten, name): formula
    for names, formula in ((NORMS, _two_per_element), (POOLS, _one_per_element), (ELEMENTWISE, _one_per_result))
    for name in names
}
"""Operations other than convolutions and matrix products, to their count, a function of input and output."""
