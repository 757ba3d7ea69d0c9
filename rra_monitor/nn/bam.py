"""Bottleneck attention module, BAM (Park et al. 2018, https://arxiv.org/abs/1807.06514)."""

import torch
from torch import nn

from rra_monitor.nn.sizes import hidden_channels, positive


class BAM(nn.Module):
    """Raises every element of a map by a weight of its channel and its pixel.

    Formula: y + y * sigmoid(c + s). c = conv(relu(conv(mean(y)))), one value per channel, with 1x1 convolutions;
    s = conv(relu(dilated(relu(dilated(relu(conv(y))))))), one value per pixel, with two dilated 3x3 convolutions
    between 1x1 convolutions. All have biases. As in the thesis, and unlike in the paper, nothing is normalised inside.

    Cost, for C channels, hidden H = C // reduction and p pixels: 3 C H + 18 H² + 5 H + C + 1 parameters, of which
    C H + 18 H² + H weights are used at each of the p pixels.

    Args:
        channels: C, the channels of the map.
        reduction: the channels of the dilated convolutions and of the hidden layer are C // reduction. The paper uses
            16 and the thesis's text says 4; only 1 gives its printed parameter counts.
        dilation: dilation of the 3x3 convolutions.
        device: device of the weights.
        dtype: precision of the weights.

    Shapes: (n, C, h, w) to the same.

    Raises:
        TypeError: channels, reduction or dilation that are not integers.
        ValueError: one of them below 1, or a reduction above the channels.

    Source: Park et al. 2018, equations 1 to 4; thesis, section 7.2, Table 7.1.

    >>> sum(p.numel() for p in BAM(64).parameters())
    86401
    """

    def __init__(
        self,
        channels: int,
        reduction: int = 1,
        dilation: int = 4,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        hidden, dilation = hidden_channels(channels, reduction), positive("dilation", dilation)

        def pointwise(inputs: int, outputs: int) -> nn.Conv2d:
            return nn.Conv2d(inputs, outputs, 1, device=device, dtype=dtype)

        def dilated() -> nn.Conv2d:
            return nn.Conv2d(hidden, hidden, 3, padding=dilation, dilation=dilation, device=device, dtype=dtype)

        self.channel = nn.Sequential(pointwise(channels, hidden), nn.ReLU(), pointwise(hidden, channels))
        self.spatial = nn.Sequential(
            *(pointwise(channels, hidden), nn.ReLU()),
            *(dilated(), nn.ReLU()),
            *(dilated(), nn.ReLU()),
            pointwise(hidden, 1),
        )

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        """Raised map, (n, C, h, w) as `y`."""
        weights = (self.channel(y.mean((2, 3), keepdim=True)) + self.spatial(y)).sigmoid()
        return y + y * weights  # type: ignore[no-any-return]
