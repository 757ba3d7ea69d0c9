"""The LightningDataModule of the recipes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import lightning as L

from rra_monitor.datasets.images import InMemory, Split, Splits
from rra_monitor.recipes.augment import Augmentation
from rra_monitor.recipes.batches import BatchPlan, DeviceBatches, Preparation, Progress, WorkerBatches

VALIDATION_BATCH = 500


@dataclass(frozen=True)
class Loading:
    """Settings of the batches.

    Attributes:
        batch: number of images of a step, over all devices.
        seed: seed of order and augmentation.
        loader: "device" keeps and prepares the images on the device; "workers" leaves both to processes.
        workers: number of processes.
    """

    batch: int
    seed: int
    loader: Literal["device", "workers"]
    workers: int


class RecipeData(L.LightningDataModule):
    """Training batches in a seeded order with augmentation, validation batches in stored order without.

    Args:
        splits: data set.
        augmentations: augmentations of training images.
        loading: settings of the batches.
    """

    def __init__(self, splits: Splits, augmentations: Sequence[Augmentation], loading: Loading) -> None:
        super().__init__()
        self._splits = splits
        self._augmentations = tuple(augmentations)
        self._loading = loading

    def train_dataloader(self) -> DeviceBatches | WorkerBatches:
        """The training batches of the epoch that the trainer is in, from the next one on."""
        how = self._loading
        return self._batches(self._splits.train, how.batch, how.seed, self._augmentations, self._progress)

    def val_dataloader(self) -> DeviceBatches | WorkerBatches:
        """The validation batches."""
        return self._batches(self._splits.val, VALIDATION_BATCH, None, (), lambda: (0, 0))

    def _progress(self) -> tuple[int, int]:
        assert self.trainer is not None
        # Lightning has no public word for the batches of this epoch that a restored checkpoint has seen.
        return self.trainer.current_epoch, self.trainer.fit_loop.epoch_loop.batch_progress.current.ready

    def _batches(
        self, split: Split, batch: int, seed: int | None, augmentations: Sequence[Augmentation], progress: Progress
    ) -> DeviceBatches | WorkerBatches:
        assert self.trainer is not None
        trainer, how = self.trainer, self._loading
        plan = BatchPlan(len(split.labels), batch, seed, trainer.global_rank, trainer.world_size)
        preparation = Preparation(augmentations, self._splits.data.normalization)
        device = trainer.strategy.root_device
        if how.loader == "device":
            assert isinstance(split, InMemory)
            return DeviceBatches(split, plan, preparation, device, progress)
        return WorkerBatches(split, plan, preparation, how.workers, device.type == "cuda", progress)
