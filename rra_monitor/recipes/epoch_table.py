"""The numbers of every epoch, written as they come."""

import time

import lightning as L

from rra_monitor.recipes.run_files import MetricsFile


class EpochTable(L.Callback):
    """One row per epoch: losses, accuracies, the rate at its end, and the seconds of training and validation.

    Args:
        file: that the rows go to.
    """

    def __init__(self, file: MetricsFile) -> None:
        self._file = file
        self._started = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Drop what came after the checkpoint that is resumed."""
        if trainer.is_global_zero:
            self._file.cut(trainer.global_step)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Add a row."""
        seconds = time.perf_counter() - self._started
        values = trainer.callback_metrics
        names = {"train_loss": "train_loss_epoch"} | {
            name: name for name in ("train_accuracy", "val_loss", "val_accuracy")
        }
        numbers = {name: f"{float(values[key]):.6g}" for name, key in names.items() if key in values}
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        if trainer.is_global_zero:
            self._file.add(
                {"epoch": trainer.current_epoch + 1, "step": trainer.global_step}
                | numbers
                | {"learning_rate": f"{rate:.6g}", "seconds": f"{seconds:.2f}"}
            )
