"""Squeeze and excitation, SENet (Hu et al. 2018, https://arxiv.org/abs/1709.01507)."""

import torch
from torch import nn
from torch.nn import functional

from rra_monitor.nn.sizes import hidden_channels


class SqueezeExcitation(nn.Module):
    """Weights every channel of a map by the means of all channels.

    Formula: y * sigmoid(conv2(relu(conv1(mean(y))))), the mean over height and width, convolutions 1x1 with a bias.
    It equals `STAC(channels, "global", kernels=(1, 1))` with the same weights, which have the same names.

    Cost, for C channels and reduction r: 2 C²/r + C + C/r parameters, 2 C²/r multiply-adds in the convolutions, and two
    operations per element of the map.

    Args:
        channels: C, the channels of the map.
        reduction: the channels between the convolutions are C // reduction. The paper uses 16; only 1 gives the
            parameter counts printed in the thesis.
        device: device of the weights.
        dtype: precision of the weights.

    Shapes: (n, C, h, w) to the same.

    Raises:
        TypeError: channels or reduction that are not integers.
        ValueError: a channel count or reduction below 1, or a reduction above the channels.

    Source: Hu et al. 2018, equation 3; thesis, Table 7.1.

    >>> sum(p.numel() for p in SqueezeExcitation(64).parameters())
    8320
    """

    def __init__(
        self,
        channels: int,
        reduction: int = 1,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        hidden = hidden_channels(channels, reduction)
        self.conv1 = nn.Conv2d(channels, hidden, 1, device=device, dtype=dtype)
        self.conv2 = nn.Conv2d(hidden, channels, 1, device=device, dtype=dtype)

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        """Weighted map, (n, C, h, w) as `y`."""
        squeezed = functional.relu(self.conv1(y.mean((2, 3), keepdim=True)))
        return y * self.conv2(squeezed).sigmoid()  # type: ignore[no-any-return]
