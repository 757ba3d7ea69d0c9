"""The LightningModule of the recipes."""

from typing import Any

import lightning as L
import torch
from torch import nn
from torch.nn import functional
from torchmetrics.classification import MulticlassAccuracy

from rra_monitor.recipes.batches import Batch
from rra_monitor.recipes.choices import LAST_RATE, MOMENTUM
from rra_monitor.recipes.recipe import Optimisation
from rra_monitor.recipes.schedules import one_cycle_schedule, warm_cosine_schedule


class Classifier(L.LightningModule):
    """A network under cross-entropy, SGD with momentum and a schedule by the step; logs losses and accuracies.

    Weights and images are in channels-last format, in which convolutions are faster (see `chosen_precision`).

    Args:
        network: network from images to logits.
        classes: number of logits.
        optimisation: optimiser settings and schedule.
    """

    def __init__(self, network: nn.Module, classes: int, optimisation: Optimisation) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)
        self._optimisation = optimisation
        # The fraction of correct images, not the mean over classes.
        self._train_accuracy = MulticlassAccuracy(classes, average="micro")
        self._val_accuracy = MulticlassAccuracy(classes, average="micro")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (n, classes) of images (n, c, h, w)."""
        return self.network(images.contiguous(memory_format=torch.channels_last))  # type: ignore[no-any-return]

    def training_step(self, batch: Batch, index: int) -> torch.Tensor:
        """Cross-entropy of a batch."""
        images, labels = batch
        logits = self(images)
        loss = functional.cross_entropy(logits, labels)
        self._train_accuracy(logits.detach(), labels)
        self.log("train_loss", loss, on_step=True, on_epoch=True, prog_bar=True, batch_size=len(labels))
        self.log("train_accuracy", self._train_accuracy, on_step=False, on_epoch=True, batch_size=len(labels))
        return loss

    def validation_step(self, batch: Batch, index: int) -> None:
        """Cross-entropy and accuracy of a batch."""
        images, labels = batch
        logits = self(images)
        loss = functional.cross_entropy(logits, labels)
        self._val_accuracy(logits, labels)
        self.log("val_loss", loss, batch_size=len(labels), sync_dist=True)
        self.log("val_accuracy", self._val_accuracy, prog_bar=True, batch_size=len(labels))

    def configure_optimizers(self) -> Any:
        """SGD and its schedule, over all steps of the fit."""
        how = self._optimisation
        optimiser = torch.optim.SGD(
            self.parameters(), how.learning_rate, momentum=MOMENTUM, weight_decay=how.weight_decay
        )
        total = int(self.trainer.estimated_stepping_batches)
        if how.schedule == "one-cycle":
            schedule = one_cycle_schedule(optimiser, total, how.learning_rate)
        else:
            schedule = warm_cosine_schedule(optimiser, total, round(how.warm_up * total), LAST_RATE)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
