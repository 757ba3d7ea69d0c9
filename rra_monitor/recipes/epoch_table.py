"""The numbers of every epoch, written after each epoch."""

import time
from typing import Any

import lightning as L

from rra_monitor.recipes.run_files import MetricsFile

NUMBERS = {
    "train_loss": "train_loss_epoch",
    "train_accuracy": "train_accuracy",
    "val_loss": "val_loss",
    "val_accuracy": "val_accuracy",
}
"""Columns, and the names under which the module logs them."""


class EpochTable(L.Callback):
    """One row per epoch: losses, accuracies, the rate at its end, and the seconds of training and validation.

    Args:
        file: file of the rows.

    Attributes:
        numbers: losses and accuracies of the last epoch. Checkpoints hold them, so that a training that was interrupted
            after its last epoch has its results.
    """

    def __init__(self, file: MetricsFile) -> None:
        self.numbers: dict[str, float] = {}
        self._file = file
        self._started = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Drop the rows after the checkpoint from which the training is resumed."""
        if trainer.is_global_zero:
            self._file.cut(trainer.global_step)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Add a row."""
        seconds = time.perf_counter() - self._started
        values = trainer.callback_metrics
        self.numbers = {name: float(values[key]) for name, key in NUMBERS.items() if key in values}
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        if trainer.is_global_zero:
            self._file.add(
                {"epoch": trainer.current_epoch + 1, "step": trainer.global_step}
                | {name: f"{value:.6g}" for name, value in self.numbers.items()}
                | {"learning_rate": f"{rate:.6g}", "seconds": f"{seconds:.2f}"}
            )

    def state_dict(self) -> dict[str, Any]:
        """The numbers."""
        return {"numbers": self.numbers}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The numbers of the checkpoint from which the training is resumed."""
        self.numbers = _numbers(state_dict.get("numbers"))


def _numbers(found: Any) -> dict[str, float]:
    """The numbers that a checkpoint holds; none if it has anything else."""
    try:
        return {name: float(found[name]) for name in NUMBERS if found.get(name) not in (None, "")}
    except (AttributeError, TypeError, ValueError):
        return {}
