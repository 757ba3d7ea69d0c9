"""The residual networks for small images (He et al. 2016), as the thesis trains them, with or without attention."""

from collections.abc import Sequence

import torch
from torch import nn

from rra_monitor.nn.attention import Attention, Placement
from rra_monitor.nn.insert import insert_attention
from rra_monitor.nn.sizes import Window, positive


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut, which is a 1x1 convolution where the shape changes.

    Formula, with b = norm(conv(relu(norm(conv(x))))) and the attention of the network, if it has any:
    relu(attention(b) + shortcut(x)) for the placement "standard", attention(relu(b + shortcut(x))) for "post".

    Args:
        channels_in: channels of the input.
        channels: channels of the output.
        stride: stride of the first convolution and of the shortcut.
    """

    def __init__(self, channels_in: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )
        self.attention: nn.Module = nn.Identity()
        self.placement: Placement = "standard"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, channels_in, h, w) to (n, channels, h / stride, w / stride)."""
        branch = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        if self.placement == "standard":
            return self.relu(self.attention(branch) + self.shortcut(x))  # type: ignore[no-any-return]
        return self.attention(self.relu(branch + self.shortcut(x)))  # type: ignore[no-any-return]


class ResNet(nn.Module):
    """A 3x3 stem, stages of residual blocks that halve the map from the second on, global pool and classifier.

    The stem keeps the size of the map and nothing is pooled after it, for images of 32 and of 64 pixels alike.
    `layers="auto"` finds its layers in the thesis's numbering: 0 input, 1 stem, then the blocks, pool, classifier;
    attention is part of its block. Attention does not change the other initial weights: with the same seed two
    networks that differ in attention alone start from the same ones.

    The variants of the thesis are arguments: twice as deep `ResNet((6, 6, 6), (16, 32, 64))`, sqrt(2) times as wide
    `ResNet((3, 3, 3), (22, 44, 88))`, the first width truncated and then doubled.

    Args:
        blocks: residual blocks of each stage.
        widths: channels of each stage.
        num_classes: number of classes.
        in_channels: channels of the images.
        attention: None, "stac", "se", "bam", or a function from a channel count to a layer, such as
            `functools.partial(STAC, kernels=(1, 3))`; one for all stages, or a sequence with one for each.
        placement: place of the attention: "standard", on the residual branch before the addition; "post", after the
            addition and its ReLU.
        window: window of "stac": a number of pixels or "global"; a sequence has one for each stage, in which a pair
            is (height, width).

    Shapes: (n, in_channels, h, w) to (n, num_classes).

    Raises:
        TypeError: numbers that are not integers.
        ValueError: numbers below 1, an unknown attention or placement, sequences whose length is not the number
            of stages; in `forward`, a window larger than the map of its stage.

    Source: He et al. 2016, section 4.2; thesis, Table 4.1, Fig. 7.3 and the parameter counts of Table 7.1.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        widths: Sequence[int],
        num_classes: int = 10,
        in_channels: int = 3,
        attention: Attention | Sequence[Attention] = None,
        placement: Placement = "standard",
        window: Window | Sequence[Window] = 8,
    ) -> None:
        super().__init__()
        blocks, widths = [positive("blocks", n) for n in blocks], [positive("widths", n) for n in widths]
        if not blocks or len(blocks) != len(widths):
            raise ValueError(f"blocks and widths have one number per stage, not {blocks} and {widths}")
        in_channels, num_classes = positive("in_channels", in_channels), positive("num_classes", num_classes)
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
        )
        channels = widths[0]
        self.stages: list[str] = []
        for number, (count, width) in enumerate(zip(blocks, widths, strict=True), start=1):
            stage = nn.Sequential()
            for position in range(count):
                stride = 2 if number > 1 and position == 0 else 1
                stage.append(ResidualBlock(channels, width, stride))
                channels = width
            self.add_module(f"layer{number}", stage)
            self.stages.append(f"layer{number}")
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        # After everything else, so that the random numbers of the rest do not depend on it.
        insert_attention(self, attention, placement, window)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, in_channels, h, w) images to (n, num_classes) logits."""
        x = self.stem(x)
        for stage in self.stages:
            x = getattr(self, stage)(x)  # torch.export of older versions does not follow get_submodule
        return self.fc(self.pool(x).flatten(1))  # type: ignore[no-any-return]


def resnet20(
    num_classes: int = 10,
    in_channels: int = 3,
    attention: Attention | Sequence[Attention] = None,
    placement: Placement = "standard",
    window: Window | Sequence[Window] = 8,
) -> ResNet:
    """ResNet20 for CIFAR-10: three stages of three blocks, 16, 32 and 64 channels, projection shortcuts.

    272,474 parameters with 10 classes and 3 channels, the thesis's count (Table 7.1). For the arguments see `ResNet`.

    >>> sum(p.numel() for p in resnet20().parameters())
    272474
    >>> sum(p.numel() for p in resnet20(attention="stac", window=(8, 4, 8)).parameters())
    563450
    """
    return ResNet((3, 3, 3), (16, 32, 64), num_classes, in_channels, attention, placement, window)


def resnet34(
    num_classes: int = 1000,
    in_channels: int = 3,
    attention: Attention | Sequence[Attention] = None,
    placement: Placement = "standard",
    window: Window | Sequence[Window] = 8,
) -> ResNet:
    """ResNet34 for images of 64 pixels: stages of 3, 4, 6 and 3 blocks, 64 to 512 channels, no pool after the stem.

    21,789,992 parameters with 1,000 classes and 3 channels, the thesis's count (Table 7.1).
    For the arguments see `ResNet`.

    >>> sum(p.numel() for p in resnet34(num_classes=50).parameters())
    21302642
    """
    return ResNet((3, 4, 6, 3), (64, 128, 256, 512), num_classes, in_channels, attention, placement, window)
