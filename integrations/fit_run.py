"""The run of a fit: its directory, its references and where its values are logged, all of it on rank zero."""

import os
import warnings
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_info

from rra_monitor.integrations.fit_options import FitOptions
from rra_monitor.integrations.loggers import logger_sinks
from rra_monitor.integrations.next_commands import next_commands
from rra_monitor.integrations.opening import open_store
from rra_monitor.integrations.wandb.references import reference_path
from rra_monitor.measure.monitor import Monitor
from rra_monitor.measure.schedule import Schedule
from rra_monitor.measure.snapshot import Snapshot
from rra_monitor.runs.claim import Claim
from rra_monitor.runs.jsonl import JSONLSink
from rra_monitor.runs.record import summaries
from rra_monitor.runs.recorder import Recorder
from rra_monitor.runs.sinks import Sink
from rra_monitor.runs.store import RunStore
from rra_monitor.utils.text import reason_of


class FitRun:
    """Stores and logs the snapshots of one fit; every method is called on all ranks, and acts on rank zero.

    Args:
        options: options of the callback.
        trainer: trainer within a fit.
        resumed: directory and token of the run that is resumed, as a checkpoint has them.

    Attributes:
        store: store of the run on rank zero; None where nothing is stored.
        claim: claim on its directory.
        remarks: remarks on the directory, for the announcement.
    """

    def __init__(self, options: FitOptions, trainer: Trainer, resumed: Mapping[str, Any]) -> None:
        self.store: RunStore | None = None
        self.claim: Claim | None = None
        self.remarks: list[str] = []
        self._options = options
        self._trainer = trainer
        self._recorder: Recorder | None = None
        self._closed = False
        self._open_store(resumed)

    @property
    def path(self) -> str | None:
        """Path of the run's directory; None where nothing is stored."""
        return self.store.path if self.store is not None and self.store.writable else None

    @property
    def input_folder(self) -> str | None:
        """Folder for inputs that are too large for memory; None where there is no local directory."""
        if self.store is None or "://" in self.store.path:
            return None
        return os.path.join(self.store.path, "inputs")

    def open_recorder(self, monitor: Monitor | None, schedule: Schedule) -> None:
        """Open references and sinks; what is refused there is raised on every rank.

        Args:
            monitor: monitor whose snapshots they must fit; None where it is yet to come.
            schedule: clock of the fit.

        Raises:
            ValueError: a reference that is not there or does not fit.
        """
        options, refusal = self._options, None
        if self._trainer.is_global_zero:
            try:
                references = {name: reference_path(path) for name, path in options.references.items()}
                self._recorder = Recorder(
                    self.store, references=references, align=options.align, sinks=self._sinks(), schedule=schedule
                )
                self.check(monitor)
            except Exception as error:  # whatever it is, the others must not wait for this rank
                refusal = error
        self._raise_on_every_rank(refusal)

    def check(self, monitor: Monitor | None) -> None:
        """Refuse a monitor whose snapshots do not fit the run or its references."""
        if self._recorder is not None and monitor is not None:
            self._recorder.check(monitor)

    def record(self, snapshots: Mapping[str, Snapshot]) -> dict[str, float] | None:
        """Store and log snapshots; their summaries, None on the other ranks."""
        return summaries(self._recorder.record(snapshots)) if self._recorder is not None and snapshots else None

    def lacks_snapshot(self, step: int) -> bool:
        """Whether nothing of a step is stored for the next snapshot to be compared with.

        A process that was killed after its last checkpoint may have pruned the graphs of the checkpoint's step.
        """
        store = self.store
        if store is None or not store.probes():
            return True
        return any(step in store.steps(probe) and step not in store.graph_steps(probe) for probe in store.probes())

    def close(self, finished: bool, measured: bool) -> None:
        """Write what sinks hold back, end the claim, and print once the commands that show the run.

        Args:
            finished: whether the training came to its end.
            measured: whether anything was measured.
        """
        if self._recorder is not None:
            self._recorder.close()
        if self.store is not None:
            self.store.release(finished)
        if measured and not self._closed and (commands := next_commands(self.store, self._trainer.loggers)):
            rank_zero_info("\n  ".join(["To look at what was measured:", *commands]))
        self._closed = self._closed or measured

    def _open_store(self, resumed: Mapping[str, Any]) -> None:
        """Claim the run's directory, but for a fast_dev_run, which leaves no files."""
        failure = None
        if self._trainer.fast_dev_run:  # type: ignore[attr-defined]
            self.remarks.append("this is a fast_dev_run")
            return
        if self._trainer.is_global_zero:
            try:
                self.store, self.claim = open_store(self._trainer, self._options, resumed)
                if self.store.writable:
                    self.remarks += self.claim.remarks
                else:
                    warnings.warn(f"nothing will be stored: {'; '.join(self.claim.remarks)}", stacklevel=6)
            except Exception as error:  # whatever it is, the others must not wait for this rank
                failure = error
        self._raise_on_every_rank(failure if self._options.on_error == "raise" else None)
        if failure is not None:
            warnings.warn(f"nothing will be stored, only logged; training goes on: {reason_of(failure)}", stacklevel=5)

    def _sinks(self) -> list[Sink]:
        options = self._options
        if self._trainer.fast_dev_run:  # type: ignore[attr-defined]
            return []
        of_loggers = logger_sinks(self._trainer.loggers, self.store, options.artifacts, options.tensorboard_scalars)
        return of_loggers if self.store is None else [JSONLSink(self.store), *of_loggers]

    def _raise_on_every_rank(self, cause: Exception | None) -> None:
        """Raise what failed on rank zero on all ranks, since the others would wait for it."""
        refusal = self._trainer.strategy.broadcast(None if cause is None else reason_of(cause))
        if refusal is not None:
            raise ValueError(refusal) from cause
