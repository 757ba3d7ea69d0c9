"""Batches of a split: shuffled, augmented and normalised, equal for every loader and after every resume.

Order and augmentation of a batch are functions of seed, epoch and step alone. No global random stream is used.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader

from rra_monitor.datasets.images import InMemory, Split, normalised
from rra_monitor.datasets.normalization import Normalization
from rra_monitor.recipes.augment import Augmentation, augmented, uniform_numbers

Batch = tuple[torch.Tensor, torch.Tensor]
"""(n, c, h, w) float32 inputs of the network and (n,) int64 labels."""

Progress = Callable[[], tuple[int, int]]
"""The epoch and the index of its next batch."""

AHEAD_ON_GPU = 8
"""Batches that are augmented together on a GPU, where starting a small operation takes longer than the operation."""


@dataclass(frozen=True)
class BatchPlan:
    """The images of each batch.

    Attributes:
        n: number of images of the split.
        batch: number of images of a batch, over all ranks; the last one of an epoch may have fewer.
        seed: seed of order and augmentation; None for the order of the split without augmentation.
        rank: rank whose shard is taken.
        world: number of ranks.

    Raises:
        ValueError: fewer images than ranks.
    """

    n: int
    batch: int
    seed: int | None = None
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if self.n < self.world:
            raise ValueError(f"{self.n} images for {self.world} devices; give --devices {max(self.n, 1)} or fewer")

    def __len__(self) -> int:
        whole, rest = divmod(self.n, self.batch)
        # A rest of which a rank would get nothing, whose loss is undefined, goes to the batch before it. In training
        # every rank gets something, since images are repeated.
        least = 1 if self.seed is not None else self.world
        return max(1, whole + (rest >= least))

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """(n,) the images of an epoch in their order."""
        if self.seed is None:
            return np.arange(self.n)
        # Five numbers, where augmentation has four: another stream.
        return np.random.default_rng([self.seed, epoch, 0, 0, 1]).permutation(self.n)

    def images(self, order: npt.NDArray[np.int64], step: int) -> npt.NDArray[np.int64]:
        """The images of a batch, over all ranks, in the order of an epoch."""
        return order[step * self.batch : None if step == len(self) - 1 else (step + 1) * self.batch]

    def shard(self, whole: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """This rank's shard of a batch, of equal size in training: missing images are repeated from its start."""
        if self.seed is not None and len(whole) % self.world:
            whole = np.resize(whole, (-(-len(whole) // self.world) * self.world, *whole.shape[1:]))
        return whole[self.rank :: self.world]


@dataclass(frozen=True)
class Preparation:
    """From bytes to inputs of the network.

    Attributes:
        augmentations: augmentations in their order.
        normalization: mean and standard deviation of each channel.
    """

    augmentations: Sequence[Augmentation]
    normalization: Normalization

    def uniforms(self, plan: BatchPlan, epoch: int, step: int, n: int) -> npt.NDArray[np.float32]:
        """(shard, columns) random numbers for this rank's shard of a batch of n images."""
        if plan.seed is None or not self.augmentations:
            return np.empty((len(plan.shard(np.empty((n, 0)))), 0), np.float32)
        return plan.shard(uniform_numbers(plan.seed, epoch, step, n, self.augmentations))

    def __call__(self, images: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
        """(n, c, h, w) float32 inputs from images in bytes."""
        values = images.float() / 255
        if uniforms.shape[1]:
            values = augmented(values, uniforms, self.augmentations)
        return normalised(values, self.normalization)


class DeviceBatches:
    """Batches of images that are kept and prepared on the device.

    Args:
        split: split whose images are moved to the device.
        plan: images of each batch.
        preparation: preparation of a batch.
        device: device of images and batches.
        progress: position in the training.
    """

    def __init__(
        self, split: InMemory, plan: BatchPlan, preparation: Preparation, device: torch.device, progress: Progress
    ) -> None:
        self._split = split.to(device)
        self._labels = split.labels.to(device)
        self._plan = plan
        self._preparation = preparation
        self._device = device
        self._progress = progress
        self._ahead = AHEAD_ON_GPU if device.type == "cuda" else 1

    def __len__(self) -> int:
        return len(self._plan)

    def __iter__(self) -> Iterator[Batch]:
        # Asked when the first batch is wanted, not when the iterator is made: by then a resumed trainer knows.
        epoch, first = self._progress()
        plan = self._plan
        order = plan.order(epoch)
        for start in range(first, len(plan), self._ahead):
            steps = range(start, min(start + self._ahead, len(plan)))
            whole = [plan.images(order, step) for step in steps]
            shards = [plan.shard(batch) for batch in whole]
            uniforms = [
                self._preparation.uniforms(plan, epoch, step, len(batch))
                for step, batch in zip(steps, whole, strict=True)
            ]
            positions = self._moved(np.concatenate(shards))
            images = self._preparation(self._split.read(positions), self._moved(np.concatenate(uniforms)))
            sizes = [len(shard) for shard in shards]
            yield from zip(torch.split(images, sizes), torch.split(self._labels[positions], sizes), strict=True)

    def _moved(self, array: npt.NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(array).to(self._device, non_blocking=True)


class WorkerBatches:
    """The same batches, each read and prepared by a worker process: for images that do not fit the device.

    Args:
        split: split of any kind; images in files are read by the workers.
        plan: images of each batch.
        preparation: preparation of a batch.
        workers: number of processes; 0 for this one.
        pin: whether batches are put in pinned memory.
        progress: position in the training.
    """

    def __init__(
        self, split: Split, plan: BatchPlan, preparation: Preparation, workers: int, pin: bool, progress: Progress
    ) -> None:
        self._plan = plan
        self._progress = progress
        self._keys = _Keys()
        self._loader: DataLoader[Batch] = DataLoader(
            _Reader(split, plan, preparation),  # type: ignore[arg-type]
            batch_size=None,
            sampler=self._keys,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pin,
            # Of its own, since the loader draws a number for its workers.
            generator=torch.Generator().manual_seed(0),
        )

    def __len__(self) -> int:
        return len(self._plan)

    def __iter__(self) -> Iterator[Batch]:
        epoch, first = self._progress()
        order = self._plan.order(epoch)
        self._keys.now = [(epoch, step, self._plan.images(order, step)) for step in range(first, len(self._plan))]
        yield from self._loader


Key = tuple[int, int, npt.NDArray[np.int64]]
"""Epoch, step, and the images of the whole batch."""


class _Keys:
    """The keys of the batches that a loader requests from its workers in this epoch."""

    def __init__(self) -> None:
        self.now: list[Key] = []

    def __iter__(self) -> Iterator[Key]:
        return iter(self.now)

    def __len__(self) -> int:
        return len(self.now)


class _Reader:
    """Whole batches by key, in a worker."""

    def __init__(self, split: Split, plan: BatchPlan, preparation: Preparation) -> None:
        self._split = split
        self._plan = plan
        self._preparation = preparation

    def __getitem__(self, key: Key) -> Batch:
        epoch, step, whole = key
        uniforms = torch.from_numpy(self._preparation.uniforms(self._plan, epoch, step, len(whole)))
        positions = torch.from_numpy(self._plan.shard(whole))
        return self._preparation(self._split.read(positions), uniforms), self._split.labels[positions]
