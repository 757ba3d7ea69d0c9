"""Images by class, in memory or in files."""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from rra_monitor.datasets.catalogue import Data
from rra_monitor.datasets.image_file import decoded
from rra_monitor.datasets.normalization import Normalization
from rra_monitor.utils.terminal import passing_progress

CORRUPT_NAMED = 5
"""Largest number of files named in an error; the others are counted."""

CHUNK = 64
"""Images that a thread decodes between two steps of the progress bar."""


class Split(Protocol):
    """The training or the validation split of a data set."""

    @property
    def labels(self) -> torch.Tensor:
        """(n,) int64 classes."""
        ...

    def read(self, positions: torch.Tensor) -> torch.Tensor:
        """(m, c, h, w) uint8 images at the positions (m,)."""
        ...


@dataclass(frozen=True, eq=False)
class InMemory:
    """Images as one tensor, on any device.

    Attributes:
        images: (n, c, h, w) uint8.
        labels: (n,) int64, on the CPU.
    """

    images: torch.Tensor
    labels: torch.Tensor

    def read(self, positions: torch.Tensor) -> torch.Tensor:
        """Copies of the images at the positions, which are on the images' device or on the CPU."""
        return self.images[positions]

    def to(self, device: torch.device) -> "InMemory":
        """The same split with its images on a device."""
        return InMemory(self.images.to(device), self.labels)


@dataclass(frozen=True, eq=False)
class Files:
    """Images that are read from their files each time they are used.

    Attributes:
        paths: (n,) paths of the files.
        labels: (n,) int64.
        side: side of an image in pixels; None for images of any size, which cannot be read together.
        resize: whether to scale an image of another size, its shorter side to `side`, and to cut out its centre;
            otherwise it is an error.
    """

    paths: Sequence[str]
    labels: torch.Tensor
    side: int | None
    resize: bool

    def read(self, positions: torch.Tensor) -> torch.Tensor:
        """Decode the images at the positions.

        Raises:
            ValueError: a file that is not an image, or of another size, named.
        """
        return torch.stack([self.image(position) for position in positions.tolist()])

    def image(self, position: int) -> torch.Tensor:
        """Decode one image, (3, side, side).

        Raises:
            ValueError: see `read`.
        """
        return decoded(self.paths[position], self.side, self.resize)


def load_all(splits: Mapping[str, Files]) -> dict[str, InMemory]:
    """All images in memory, of splits with a side.

    Raises:
        ValueError: files that are not images, or of another size: their number, and the first of them.
    """
    held = {}
    for name, split in splits.items():
        assert split.side is not None
        shape = (len(split.paths), 3, split.side, split.side)
        held[name] = InMemory(torch.empty(shape, dtype=torch.uint8), split.labels)

    def keep(name: str, position: int, image: torch.Tensor) -> None:
        held[name].images[position] = image

    _decode(splits, keep)
    return held


def check_all(splits: Mapping[str, Files]) -> None:
    """Decode every image once; PIL's `verify` would pass half a JPEG.

    Raises:
        ValueError: see `load_all`.
    """
    _decode(splits, lambda *image: None)


def _decode(splits: Mapping[str, Files], use: Callable[[str, int, torch.Tensor], None]) -> None:
    """Pass on every image with its split and its position, decoded by a few threads."""

    def visit(name: str, positions: range) -> list[str]:
        refused = []
        for position in positions:
            try:
                use(name, position, splits[name].image(position))
            except ValueError as error:
                refused.append(str(error))
        return refused

    chunks = [
        (name, range(start, min(start + CHUNK, len(split.paths))))
        for name, split in splits.items()
        for start in range(0, len(split.paths), CHUNK)
    ]
    refused, total = [], sum(len(positions) for _, positions in chunks)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool, passing_progress() as progress:
        task = progress.add_task("decoding images", total=total)
        for (_, positions), reasons in zip(chunks, pool.map(visit, *zip(*chunks, strict=True)), strict=True):
            refused += reasons
            progress.advance(task, len(positions))
    if refused:
        more = len(refused) - CORRUPT_NAMED
        raise ValueError(
            f"{len(refused)} of {total} images cannot be used: {'; '.join(refused[:CORRUPT_NAMED])}"
            + (f"; and {more} more" if more > 0 else "")
            + ". Replace or delete them"
        )


@dataclass(frozen=True, eq=False)
class Splits:
    """The data set of a recipe.

    Attributes:
        data: entry of the catalogue.
        classes: names in the order of the labels.
        train: training images.
        val: validation images.
    """

    data: Data
    classes: tuple[str, ...]
    train: Split
    val: Split


class Normalised:
    """A split as a data set of single inputs of the network, from which a probe's sample is drawn.

    Args:
        split: split of a data set.
        normalization: mean and standard deviation of each channel.
    """

    def __init__(self, split: Split, normalization: Normalization) -> None:
        self._split = split
        self._normalization = normalization
        self.targets: npt.NDArray[np.int64] = split.labels.numpy()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = self._split.read(torch.tensor([index])).cpu()
        return normalised(image.float() / 255, self._normalization)[0], int(self.targets[index])


def normalised(images: torch.Tensor, normalization: Normalization) -> torch.Tensor:
    """(n, c, h, w) images in 0 to 1, minus the mean of each channel and divided by its standard deviation."""
    mean, deviation = (torch.tensor(values, device=images.device)[:, None, None] for values in normalization)
    return (images - mean) / deviation
