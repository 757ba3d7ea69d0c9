"""Residual blocks in the forms of repositories for CIFAR-10, written anew."""

import torch
from torch import nn


class Block(nn.Module):
    """As in kuangliu/pytorch-cifar."""

    def __init__(self, channels_in, channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if channels_in != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def branch(self, x):
        return self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))

    def forward(self, x):
        return torch.relu(self.branch(x) + self.shortcut(x))


class PreActivation(nn.Module):
    """As there, too: norms stand before convolutions, and a block without a projection has no attribute for it."""

    def __init__(self, channels_in, channels, stride=1):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        if channels_in != channels:
            self.shortcut = nn.Conv2d(channels_in, channels, 1, stride, bias=False)

    def forward(self, x):
        out = torch.relu(self.bn1(x))
        beside = self.shortcut(out) if hasattr(self, "shortcut") else x
        return self.conv2(torch.relu(self.bn2(self.conv1(out)))) + beside


class NormsFirst(PreActivation):
    """One whose modules are registered in another order than they are called."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.bn2 = self._modules.pop("bn2")


class ResidualFunction(nn.Module):
    """As in weiaicunzai/pytorch-cifar100."""

    def __init__(self, channels_in, channels, stride=1):
        super().__init__()
        whole = Block(channels_in, channels, stride)
        self.residual_function = nn.Sequential(whole.conv1, whole.bn1, nn.ReLU(), whole.conv2, whole.bn2)
        self.shortcut = whole.shortcut

    def forward(self, x):
        return torch.relu(self.residual_function(x) + self.shortcut(x))


class MapWeights(nn.Module):
    """One weight per channel, which a block multiplies with the map itself, as in CBAM.PyTorch."""

    def __init__(self, channels):
        super().__init__()
        self.fc = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        return self.fc(x.mean((2, 3), keepdim=True)).sigmoid()


class SEFunction(MapWeights):
    """The same in the shape of the map."""

    def forward(self, x):
        return super().forward(x).expand_as(x).clone()


class SELayer(MapWeights):
    """Squeeze and excitation, as in moskomule/senet.pytorch."""

    def forward(self, x):
        return x * super().forward(x).expand_as(x)


class SqueezeExcitedBlock(Block):
    """As there."""

    def __init__(self, channels_in, channels, stride=1):
        super().__init__(channels_in, channels, stride)
        self.se = SELayer(channels)

    def branch(self, x):
        return self.se(super().branch(x))


class WeighedBlock(Block):
    """A block that multiplies weights with its map."""

    def __init__(self, channels_in, channels, stride=1, weights=MapWeights):
        super().__init__(channels_in, channels, stride)
        self.ca = weights(channels)

    def branch(self, x):
        out = super().branch(x)
        return self.ca(out) * out


class CifarNetwork(nn.Module):
    """Two stages of two blocks."""

    def __init__(self, block):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, 1, 1)
        self.layer1 = nn.Sequential(block(8, 8), block(8, 8))
        self.layer2 = nn.Sequential(block(8, 16, 2), block(16, 16))
        self.linear = nn.Linear(16, 10)

    def forward(self, x):
        return self.linear(self.layer2(self.layer1(self.conv1(x))).mean((2, 3)))


def cifar_network(block=Block):
    """A network of such blocks."""
    return CifarNetwork(block)
