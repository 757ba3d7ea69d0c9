"""A network whose first layers have by far the most features, for small memory budgets."""

import torch
from torch import nn

import rra_monitor as rra

LAYERS = ["input", "0", "1", "2", "4", "6"]
TINY = 3 << 19
"""A budget in bytes that holds neither of the layers 0, 1 and 2."""


def network(dtype=torch.float32):
    """Layers of 4 and 2 MB in float32 for 40 samples, then small ones."""
    torch.manual_seed(0)
    convolutions = nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 16, 3, padding=1)
    layers = nn.Sequential(*convolutions, nn.MaxPool2d(4), nn.Conv2d(16, 8, 3), nn.Flatten(), nn.Linear(200, 5))
    return layers.to(dtype)


def sample(dtype=torch.float32):
    """Smooth images: between samples of noise distances hardly differ, and the ID has fewer digits."""
    coarse = torch.randn(40, 3, 3, 3, generator=torch.Generator().manual_seed(1))
    images = nn.functional.interpolate(coarse, size=28, mode="bilinear")
    return rra.FixedSample.from_tensors(images.to(dtype), torch.arange(40) % 4)
