"""The augmentations of Table 4.2, batched on any device, every image with random parameters of its own.

Each has the distribution of torchvision's transform of that name, which a test compares. The random
numbers are arguments: so a training draws the same augmentations on every device, with every loader, and
after a resume, and no global random stream is used.

Why not a library's: torchvision v2 draws one set of parameters per call, for a whole batch alike. kornia (0.9.0) draws
them per image, but one order of the changes of colour for all images of a batch, and takes its random numbers from
torch's global stream.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from rra_monitor.recipes.colour import grey, jittered


class Augmentation(Protocol):
    """One random change of images."""

    columns: ClassVar[int]
    """Number of uniform numbers that it needs for each image."""

    channels: ClassVar[int | None]
    """Number of channels that its images must have, None for any."""

    def __call__(self, images: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
        """The changed images (n, c, h, w), given (n, columns) uniform numbers in [0, 1)."""
        ...


@dataclass(frozen=True)
class Translate:
    """Pad with zeros and cut out at a random place: torchvision's `RandomCrop(size, padding=pixels)`.

    Attributes:
        pixels: largest translation, in each direction.
    """

    pixels: int
    columns: ClassVar[int] = 2
    channels: ClassVar[int | None] = None

    def __call__(self, images: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
        """Images with their upper left corners at uniform places of 0 to 2 · pixels."""
        return cropped(images, (uniforms * (2 * self.pixels + 1)).to(torch.int64), self.pixels)


@dataclass(frozen=True)
class Flip:
    """Left and right exchanged: torchvision's `RandomHorizontalFlip`.

    Attributes:
        probability: probability of the change.
    """

    probability: float
    columns: ClassVar[int] = 1
    channels: ClassVar[int | None] = None

    def __call__(self, images: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
        """Some images flipped."""
        return _some(uniforms[:, 0] < self.probability, images.flip(3), images)


@dataclass(frozen=True)
class Rotate:
    """Rotate about the centre, nearest pixel, zeros outside: torchvision's `RandomRotation`.

    Attributes:
        degrees: largest angle, in each direction.
    """

    degrees: float
    columns: ClassVar[int] = 1
    channels: ClassVar[int | None] = None

    def __call__(self, images: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
        """Images rotated by uniform angles."""
        return rotated(images, (2 * uniforms[:, 0] - 1) * self.degrees)


@dataclass(frozen=True)
class ColourJitter:
    """Brightness, contrast, saturation and hue: torchvision's `RandomApply([ColorJitter(…)], probability)`.

    Attributes:
        brightness: factors of 1 - brightness to 1 + brightness.
        contrast: factors of 1 - contrast to 1 + contrast.
        saturation: factors of 1 - saturation to 1 + saturation.
        hue: largest shift, in turns of the colour circle.
        probability: probability that the four are applied, together.
    """

    brightness: float
    contrast: float
    saturation: float
    hue: float
    probability: float
    columns: ClassVar[int] = 9
    channels: ClassVar[int | None] = 3

    def __call__(self, images: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
        """Images with uniform factors in a uniform order, some of them unchanged."""
        return _some(uniforms[:, 0] < self.probability, jittered(images, *self.parameters(uniforms)), images)

    def parameters(self, uniforms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Factors (n, 3), shifts of the hue (n,), orders (n, 3) and places (n,), see `jittered`."""
        spreads = (self.brightness, self.contrast, self.saturation)
        factors = [1 + (2 * uniforms[:, 1 + at] - 1) * spread for at, spread in enumerate(spreads)]
        shift = (2 * uniforms[:, 4] - 1) * self.hue
        # The ranks of three uniform numbers are a uniform permutation.
        return torch.stack(factors, 1), shift, uniforms[:, 5:8].argsort(1), (4 * uniforms[:, 8]).floor()


@dataclass(frozen=True)
class Greyscale:
    """The grey of an image in all channels: torchvision's `RandomGrayscale`.

    Attributes:
        probability: probability of the change.
    """

    probability: float
    columns: ClassVar[int] = 1
    channels: ClassVar[int | None] = 3

    def __call__(self, images: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
        """Some images in grey."""
        return _some(uniforms[:, 0] < self.probability, grey(images).expand_as(images), images)


@dataclass(frozen=True)
class Blur:
    """Gaussian blur: torchvision's `RandomApply([GaussianBlur(kernel, sigma)], probability)`.

    Attributes:
        kernel: pixels along a side, odd.
        sigma: smallest and largest standard deviation, in pixels.
        probability: probability of the change.
    """

    kernel: int
    sigma: tuple[float, float]
    probability: float
    columns: ClassVar[int] = 2
    channels: ClassVar[int | None] = None

    def __call__(self, images: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
        """Images blurred with uniform standard deviations, some of them unchanged."""
        low, high = self.sigma
        return _some(
            uniforms[:, 0] < self.probability,
            blurred(images, low + (high - low) * uniforms[:, 1], self.kernel),
            images,
        )


def uniform_numbers(
    seed: int, epoch: int, step: int, n: int, augmentations: Sequence[Augmentation]
) -> npt.NDArray[np.float32]:
    """(n, columns) uniform numbers in [0, 1) for one batch: a function of seed, epoch and step alone."""
    columns = sum(one.columns for one in augmentations)
    return np.random.default_rng([seed, epoch, step]).random((n, columns), dtype=np.float32)


def augmented(images: torch.Tensor, uniforms: torch.Tensor, augmentations: Sequence[Augmentation]) -> torch.Tensor:
    """The images after all augmentations, one after the other.

    Args:
        images: (n, c, h, w) float32 in 0 to 1.
        uniforms: (n, columns) result of `uniform_numbers`, on the images' device.
        augmentations: augmentations in their order.

    Returns:
        (n, c, h, w) in 0 to 1.
    """
    first = 0
    for one in augmentations:
        images = one(images, uniforms[:, first : first + one.columns])
        first += one.columns
    return images


def cropped(images: torch.Tensor, corners: torch.Tensor, padding: int) -> torch.Tensor:
    """Each image, padded with zeros, cut to its size again at its own corner.

    Args:
        images: (n, c, h, w) images.
        corners: (n, 2) row and column in the padded image, 0 to 2 · padding.
        padding: pixels on each side.
    """
    height, width = images.shape[2:]
    padded = functional.pad(images, (padding,) * 4)
    # A view of all crops (n, c, rows, columns, h, w), of which one each is copied.
    crops = padded.unfold(2, height, 1).unfold(3, width, 1)
    return crops[torch.arange(len(images), device=images.device), :, corners[:, 0], corners[:, 1]]


def rotated(images: torch.Tensor, degrees: torch.Tensor) -> torch.Tensor:
    """Each image rotated counter-clockwise about its centre by its own angle; nearest pixel, zeros outside.

    Args:
        images: (n, c, h, w) images.
        degrees: (n,) angles.
    """
    height, width = images.shape[2:]
    radians = torch.deg2rad(degrees)
    cosine, sine, zero = radians.cos(), radians.sin(), torch.zeros_like(radians)
    # From a place in the result to one in the image, both in units of half a side.
    across, along = sine * (height / width), sine * (width / height)
    matrices = torch.stack([torch.stack([cosine, -across, zero], 1), torch.stack([along, cosine, zero], 1)], 1)
    grid = functional.affine_grid(matrices, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="nearest", padding_mode="zeros", align_corners=False)


def blurred(images: torch.Tensor, sigma: torch.Tensor, kernel: int) -> torch.Tensor:
    """Each image under a Gaussian of its own width, borders mirrored.

    Formula: weights exp(-(i / sigma)² / 2) at the distances i, divided by their sum, along rows, then columns.

    Args:
        images: (n, c, h, w) images.
        sigma: (n,) standard deviations, in pixels.
        kernel: pixels along a side, odd.
    """
    half = kernel // 2
    distances = torch.arange(-half, half + 1, device=images.device, dtype=images.dtype)
    weights = torch.exp(-0.5 * (distances / sigma[:, None]) ** 2)
    weights = (weights / weights.sum(1, keepdim=True))[:, :, None, None, None]
    for axis in (2, 3):
        length = images.shape[axis]
        padded = functional.pad(images, (0, 0, half, half) if axis == 2 else (half, half, 0, 0), mode="reflect")
        images = sum(
            (weights[:, tap] * padded.narrow(axis, tap, length) for tap in range(kernel)),
            start=torch.zeros((), device=images.device),
        )
    return images


def _some(chosen: torch.Tensor, changed: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """The changed image where chosen, otherwise the image."""
    return torch.where(chosen[:, None, None, None], changed, images)
