"""Scale transformed attention condenser, STAC (Hryniowski 2024, section 7.1)."""

import torch
from torch import nn
from torch.nn import functional

from rra_monitor.nn.sizes import Window, hidden_channels, window_sides

KERNELS = (1, 3)


class STAC(nn.Module):
    """Weights every channel within every window of a map by the averages of the windows around it.

    Formula: y * up(k) with k = sigmoid(conv2(relu(conv1(q)))) and q = avgpool(y). Pooling has window = stride, both
    convolutions keep the size of q and have biases, and up gives each pixel the value of its window.

    If the window does not divide the map, the windows at the lower and right border are smaller, and their averages
    are over the pixels in them.

    Cost, for C channels, kernels a and b, reduction r and n windows: (a² + b²) C²/r + C + C/r parameters,
    (a² + b²) n C²/r multiply-adds in the convolutions, and two to three operations per element of the map.

    Args:
        channels: C, the channels of the map.
        window: side of the pooling window in pixels, (height, width), or "global". The thesis recommends 4 to 16.
        kernels: sides of the two convolutions, 1 or 3 each. With "global" use (1, 1): on a single window only the
            centre of a 3x3 kernel is used.
        reduction: the channels between the convolutions are C // reduction.
        device: device of the weights.
        dtype: precision of the weights.

    Attributes:
        place: position in the network, for error messages. Empty unless a network sets it.

    Shapes: (n, C, h, w) to the same, with h and w at least as large as the window.

    Raises:
        TypeError: channels, window or reduction that are not integers.
        ValueError: a channel count, window or reduction below 1, another kernel; in `forward`, a
            map smaller than the window.

    Source: thesis, section 7.1, Fig. 7.2; kernels Table 7.2, windows Table 7.4.

    >>> STAC(64, window=8)(torch.rand(2, 64, 32, 32)).shape
    torch.Size([2, 64, 32, 32])
    >>> sum(p.numel() for p in STAC(64, kernels=(1, 3)).parameters())
    41088
    """

    def __init__(
        self,
        channels: int,
        window: Window = 8,
        kernels: tuple[int, int] = (3, 3),
        reduction: int = 1,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        hidden = hidden_channels(channels, reduction)
        self.window = window_sides(window)
        first, second = _checked_kernels(kernels)
        self.conv1 = nn.Conv2d(channels, hidden, first, padding=first // 2, device=device, dtype=dtype)
        self.conv2 = nn.Conv2d(hidden, channels, second, padding=second // 2, device=device, dtype=dtype)
        self.place = ""

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        """Weighted map, (n, C, h, w) as `y`."""
        height, width = y.shape[2:]
        if self.window is None or self.window == (height, width):
            return y * self._attention(y.mean((2, 3), keepdim=True))
        if self.window[0] > height or self.window[1] > width:
            raise ValueError(self._too_large(height, width))
        if height % self.window[0] or width % self.window[1]:
            return self._of_partial_windows(y)
        # Sums of views and a product that repeats along the rows, instead of avg_pool2d and interpolate, whose
        # gradients would each write a map as large as y: of all that a step of this layer costs, that was the larger
        # part. Columns are summed and repeated where there is one row to a window, so that the passes over the whole
        # map run along whole rows of it.
        rows, columns = self.window
        windows = y.reshape(*y.shape[:2], height // rows, rows, width)
        # Half precision might not hold the sum.
        total = windows.sum(3, dtype=torch.promote_types(y.dtype, torch.float32))
        total = total.reshape(*total.shape[:3], width // columns, columns).sum(4)
        attention = self._attention((total / (rows * columns)).to(y.dtype))
        weights: torch.Tensor = functional.interpolate(attention, scale_factor=(1, columns))
        return (windows * weights[:, :, :, None]).flatten(2, 3)

    def _of_partial_windows(self, y: torch.Tensor) -> torch.Tensor:
        assert self.window is not None
        attention = self._attention(functional.avg_pool2d(y, self.window, ceil_mode=True))
        # Repeated, not interpolated to the size of y: that would shift the borders of the windows.
        upsampled = attention.repeat_interleave(self.window[0], 2).repeat_interleave(self.window[1], 3)
        return y * upsampled[:, :, : y.shape[2], : y.shape[3]]

    def _attention(self, condensed: torch.Tensor) -> torch.Tensor:
        return self.conv2(functional.relu(self.conv1(condensed))).sigmoid()  # type: ignore[no-any-return]

    def _too_large(self, height: int, width: int) -> str:
        assert self.window is not None
        where = f"{self.place}: " if self.place else ""
        return (
            f"{where}a window of {self.window[0]} x {self.window[1]} pixels is larger than the map of "
            f"{height} x {width}; possible is up to {height} x {width}, or 'global'"
        )

    def extra_repr(self) -> str:
        """The window."""
        return "window=" + ("'global'" if self.window is None else str(self.window))


def _checked_kernels(kernels: tuple[int, int]) -> tuple[int, int]:
    if not isinstance(kernels, (tuple, list)) or len(kernels) != 2 or any(side not in KERNELS for side in kernels):
        raise ValueError(f"kernels are two sides, each 1 or 3, as in (3, 3), not {kernels!r}")
    return kernels[0], kernels[1]
