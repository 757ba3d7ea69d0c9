"""RRACallback: the monitor in a Lightning trainer. It only translates the trainer's hooks into calls."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer

from rra_monitor.integrations.fit import MonitoredFit
from rra_monitor.integrations.fit_options import FitOptions
from rra_monitor.integrations.moments import averaging_callbacks, holds_averages, is_last, is_whole
from rra_monitor.integrations.tensorboard.charts import Choice
from rra_monitor.integrations.watchers import log_for_watchers
from rra_monitor.measure.options import MonitorOptions, check_names
from rra_monitor.runs.recorder import Align
from rra_monitor.runs.store import KeepGraphs, RunStore
from rra_monitor.samples.sample import FixedSample


class RRACallback(Callback):
    """Watches every layer during a fit: ID, NNCS, and NNLS to the previous snapshot and to reference runs.

    It measures the untrained network, the end of every n-th epoch or step and the end of the fit, on what the network
    is fed: samples pass the loader's `collate_fn` and the hooks of batch transfer as a batch does. Training with it is
    the same to the last bit as without.

    What the user must decide (an unknown layer, a reference of other samples, an EarlyStopping on a value that is not
    logged in time) is refused at fit start. Whatever else fails, there or later, is a warning, and training goes on:
    docs/reliability.md.

    Curves go to every logger of the trainer (to TensorBoard for its tab RRA, to W&B with pictures and a table), and
    everything is stored in the run's directory.

    Args:
        probes: name to fixed sample. If None, samples named `train` and `val` are drawn from the trainer's own data;
            a data set with random augmentation is skipped, since the analysis needs the same inputs each time. Those of
            validation are drawn when the trainer makes their loader.
        every_n_epochs: number of epochs between two measurements; 1 by default, and none of them where `every_n_steps`
            or `schedule` is given alone.
        every_n_steps: number of optimiser steps (`trainer.global_step`) between two measurements; where a batch takes
            several, its end is measured.
        schedule: function of the optimiser step that returns whether to measure at its end; called at each, on rank
            zero.
        max_overhead: share of the fit's time that the monitor may take, 0.05 for 5 %; no limit if None. Where more
            would be taken at the fit's end, every 2nd, 4th, 8th, … of the moments asked for is measured, so that the
            moments of several seeds are among each other's, and a resumed run goes on with its interval. The start and
            the end of the fit are measured in any case. See `Schedule`.
        references: name to the directory of an earlier run with the same samples; every snapshot is compared with it.
            `wandb:<entity>/<project>/<artifact>:<alias>` is downloaded at fit start.
        align: which snapshot of a reference to use: that of the same epoch ("epoch") or its last one ("last").
        dirpath: directory of this run; `rra/` in the first logger's directory if None. A resumed run continues in its
            own, if that is below the trainer's `default_root_dir` or a logger's `save_dir`.
        keep_graphs: "all", "last" or a number of snapshots whose graphs stay on disk.
        on_error: effect of whatever fails: "warn" or "raise".
        n: size of the samples drawn from the trainer's data; smaller where there are not as many.
        seed: seed of that draw.
        averaged: whether the weights that a WeightAveraging or StochasticWeightAveraging callback keeps are measured,
            too, as probes of their own: `train-averaged` beside `train`, which is of the weights in training.
        artifacts: whether the run's snapshots become an artifact of its W&B run, which later runs can refer to, see
            `WandbSink`.
        tensorboard_scalars: scalars in addition to the tab RRA, which shows everything: "summaries" of each probe, also
            those of single "layers" (three and more for each), or "all", with those of pooled views.
        monitor_options: options of measuring, see `MonitorOptions`: layers, views, k, forward, backend, batch_size,
            memory_budget, cka, quantities, estimator.

    Example::

        trainer = L.Trainer(max_epochs=20, callbacks=[RRACallback()])
    """

    def __init__(
        self,
        probes: Mapping[str, FixedSample] | None = None,
        *,
        every_n_epochs: int | None = None,
        every_n_steps: int | None = None,
        schedule: Callable[[int], bool] | None = None,
        max_overhead: float | None = None,
        references: Mapping[str, str] | None = None,
        align: Align = "epoch",
        dirpath: str | os.PathLike[str] | None = None,
        keep_graphs: KeepGraphs = "all",
        on_error: Literal["warn", "raise"] = "warn",
        n: int = 2000,
        seed: int = 0,
        averaged: bool = False,
        artifacts: bool = False,
        tensorboard_scalars: Choice = "summaries",
        **monitor_options: Any,
    ) -> None:
        own = [field.name for field in dataclasses.fields(FitOptions) if field.name != "measuring"]
        check_names("RRACallback", monitor_options, own)
        self.options = FitOptions(
            probes=probes,
            every_n_epochs=every_n_epochs,
            every_n_steps=every_n_steps,
            schedule=schedule,
            max_overhead=max_overhead,
            references={} if references is None else references,
            align=align,
            dirpath=dirpath,
            keep_graphs=keep_graphs,
            on_error=on_error,
            n=n,
            seed=seed,
            averaged=averaged,
            artifacts=artifacts,
            tensorboard_scalars=tensorboard_scalars,
            measuring=MonitorOptions(**monitor_options),
        )
        self._fit: MonitoredFit | None = None
        self._measures = False
        self._resumed: Mapping[str, Any] = {}

    @property
    def store(self) -> RunStore | None:
        """The store of the run, on rank zero; None before a fit, and where nothing is stored."""
        return None if self._fit is None else self._fit.run.store

    @property
    def state_key(self) -> str:
        """The key of the state, which differs for two of these callbacks in one trainer."""
        dirpath = self.options.dirpath
        return self._generate_state_key(dirpath=None if dirpath is None else str(dirpath))

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Stand before callbacks that put averaged weights into the module, so that the end of the fit is measured."""
        callbacks: list[Any] = list(trainer.callbacks)  # type: ignore[attr-defined]
        places = [callbacks.index(each) for each in averaging_callbacks(trainer)]
        if stage == "fit" and places and min(places) < callbacks.index(self):
            callbacks.remove(self)
            callbacks.insert(min(places), self)
            trainer.callbacks = callbacks  # type: ignore[attr-defined]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the samples, refuse what cannot work, print what will be measured, and measure the untrained network."""
        if self.store is not None and trainer.global_step > 0:  # another fit of the same training
            self._resumed = self.state_dict()
        self._measures = False
        self._fit = MonitoredFit(self.options, trainer, pl_module, self._resumed)
        self._measures = self._fit.start()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Compare the samples with the first batch of the fit."""
        if self._fit is not None and self._measures:
            self._fit.start_step(batch)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure according to the schedule; after the first step, compare what the network got with the samples."""
        if self._fit is None or not self._measures:
            return
        self._fit.end_step()
        if self._fit.rhythm.is_due_after_step():
            self._fit.measure(trainer.current_epoch)
            self._log_for_watchers(trainer, pl_module, within_epoch=True)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Compare a sample of validation data with the first batch of its loader."""
        if self._fit is not None and self._measures:
            self._fit.start_validation(f"val-{dataloader_idx}" if dataloader_idx else "val", batch)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure according to the schedule, and pass the summaries to callbacks that watch them."""
        if self._fit is None or not self._measures:
            return
        if holds_averages(trainer):
            if self.options.averaged:
                self._fit.measure(trainer.current_epoch)
            return
        # An epoch that is cut short ends the fit, which is always measured, and does not count as completed.
        whole = is_whole(trainer)
        completed = trainer.current_epoch + (1 if whole else 0)
        due = self._fit.rhythm.is_due_after_epoch(completed)
        if due or not whole or is_last(trainer, completed):
            # A step within the epoch that turned out to be its last one has been measured.
            if self._fit.measured != (trainer.global_step, completed):
                self._fit.measure(completed)
            self._log_for_watchers(trainer, pl_module, within_epoch=False)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the end of the fit, if nothing did."""
        if self._fit is None:
            return
        last = self._fit.measured
        if self._measures and (last is None or last[0] != trainer.global_step) and not holds_averages(trainer):
            self._fit.measure(trainer.current_epoch)
        self._fit.close(finished=True)

    def _log_for_watchers(self, trainer: Trainer, module: LightningModule, within_epoch: bool) -> None:
        """Not to the loggers, which have the values already.

        A value that is missing this time keeps its last state, since a watcher would end the training over it.
        """
        if self._fit is not None and not getattr(trainer, "barebones", False):  # which says each time that it logs none
            log_for_watchers(module, self._fit.values, together=trainer.world_size > 1, within_epoch=within_epoch)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write to the loggers what is held back until the end."""
        if self._fit is not None:
            self._fit.close(finished=False)

    def state_dict(self) -> dict[str, Any]:
        """The run's directory, the token of its claim and the rhythm, so that a resumed run goes on with them."""
        if self._fit is None:
            return {}
        rhythm: dict[str, Any] = {"rhythm": self._fit.rhythm.state()}
        if self._fit.run.store is None:
            return rhythm
        path, claim = self._fit.run.store.path, self._fit.run.claim
        token = None if claim is None else claim.token
        return {"dirpath": path if "://" in path else os.path.abspath(path), "token": token} | rhythm

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the directory and the rhythm of the resumed run."""
        self._resumed = dict(state_dict) if isinstance(state_dict, Mapping) else {}
