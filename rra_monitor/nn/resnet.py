"""The residual network for small images (He et al. 2016, section 4.2), as the thesis trains it (Table 4.1)."""

from collections.abc import Sequence

import torch
from torch import nn


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut, which is a 1x1 convolution where the shape changes.

    Formula: relu(norm(conv(relu(norm(conv(x))))) + shortcut(x)).

    Args:
        channels_in: channels of the input.
        channels: channels of the output.
        stride: of the first convolution and of the shortcut.
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

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, channels_in, h, w) to (n, channels, h / stride, w / stride)."""
        branch = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        return self.relu(branch + self.shortcut(x))  # type: ignore[no-any-return]


class ResNet(nn.Module):
    """A 3x3 stem, stages of residual blocks that halve the map from the second on, global pool and classifier.

    `layers="auto"` finds its layers in the thesis's numbering: 0 input, 1 stem, then the blocks, pool, classifier.

    Args:
        blocks: residual blocks of each stage.
        widths: channels of each stage.
        num_classes: of the classifier.
        in_channels: of the images.
    """

    def __init__(
        self, blocks: Sequence[int], widths: Sequence[int], num_classes: int = 10, in_channels: int = 3
    ) -> None:
        super().__init__()
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

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, in_channels, h, w) images to (n, num_classes) logits."""
        x = self.stem(x)
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
        return self.fc(self.pool(x).flatten(1))  # type: ignore[no-any-return]


def resnet20(num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """ResNet20 for CIFAR-10: three stages of three blocks, 16, 32 and 64 channels, projection shortcuts.

    272,474 parameters with 10 classes and 3 channels, the thesis's count (Table 7.1).

    >>> sum(p.numel() for p in resnet20().parameters())
    272474
    """
    return ResNet((3, 3, 3), (16, 32, 64), num_classes, in_channels)
