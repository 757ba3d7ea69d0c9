"""The last snapshot of a training that was interrupted while it was taken."""

import lightning as L

from rra_monitor.integrations.lightning import RRACallback
from rra_monitor.runs.store import RunStore


class LastSnapshot(L.Callback):
    """Measures the end if a checkpoint of the last epoch is resumed: Lightning then skips the fit and its hooks.

    Args:
        monitor: callback that measures.
    """

    def __init__(self, monitor: RRACallback) -> None:
        self._monitor = monitor
        self._trained = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remember that the fit was not skipped."""
        self._trained = True

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure, if the fit was skipped and the snapshot is missing."""
        if not self._trained and trainer.strategy.broadcast(self._missing(trainer.global_step)):
            self._monitor.on_train_start(trainer, pl_module)
            self._monitor.on_train_end(trainer, pl_module)

    def _missing(self, step: int) -> bool:
        assert self._monitor.options.dirpath is not None
        store = RunStore(self._monitor.options.dirpath)
        return any(
            probe not in store.probes() or step not in store.steps(probe)
            for probe in self._monitor.options.probes or ()
        )
