"""RRACallback: the monitor in a Lightning trainer. It only translates the trainer's hooks into calls."""

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import nn

from rra_monitor.capture.features import call_model
from rra_monitor.capture.layers import LayerNameError
from rra_monitor.capture.sample import FixedSample
from rra_monitor.integrations.announcement import announcement
from rra_monitor.integrations.input_check import InputCheck
from rra_monitor.integrations.loggers import logger_sinks
from rra_monitor.integrations.moments import (
    averaged_module,
    averaging_callbacks,
    holds_averages,
    is_last,
    is_whole,
    lent_trainer,
)
from rra_monitor.integrations.muted import muted
from rra_monitor.integrations.opening import configuration_of, open_store
from rra_monitor.integrations.probes import Probes
from rra_monitor.integrations.tensorboard.charts import Choice, checked_choice
from rra_monitor.integrations.wandb.references import reference_path
from rra_monitor.integrations.watchers import check_watchers, refuse_watchers
from rra_monitor.measure.monitor import Monitor, checked_probes
from rra_monitor.measure.options import MonitorOptions, check_names
from rra_monitor.measure.snapshot import Snapshot
from rra_monitor.runs.claim import Claim
from rra_monitor.runs.jsonl import JSONLSink
from rra_monitor.runs.record import summaries
from rra_monitor.runs.recorder import Align, Recorder
from rra_monitor.runs.sinks import Sink
from rra_monitor.runs.store import KeepGraphs, RunStore
from rra_monitor.utils.checks import whole_number

NONE = "no monitor in this training"
"""The consequence of a failure at its start."""


class RRACallback(Callback):
    """Watches every layer during a fit: ID, NNCS, and NNLS to the previous snapshot and to reference runs.

    It measures the untrained network, the end of every n-th epoch and the end of the fit, on what the network is fed:
    samples pass the loader's `collate_fn` and the hooks of batch transfer as a batch does. Training with it is the same
    to the last bit as without.

    What the user must decide (an unknown layer, a reference of other samples, an EarlyStopping on a value that is not
    logged in time) is refused at fit start. Whatever else fails, there or later, is a warning, and training goes on:
    docs/reliability.md.

    Curves go to every logger of the trainer (to TensorBoard for its tab RRA, to W&B with pictures and a table), and
    everything is stored in the run's directory.

    Args:
        probes: name to fixed sample. If None, samples named `train` and `val` are drawn from the trainer's own data;
            a data set with random augmentation is skipped, since the analysis needs the same inputs each time. Those of
            validation are drawn when the trainer makes their loader.
        every_n_epochs: number of epochs between two measurements.
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
            memory_budget, cka, quantities.

    Example::

        trainer = L.Trainer(max_epochs=20, callbacks=[RRACallback()])
    """

    def __init__(
        self,
        probes: Mapping[str, FixedSample] | None = None,
        *,
        every_n_epochs: int = 1,
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
        every_n_epochs = whole_number("every_n_epochs", every_n_epochs, 1)
        n, seed = whole_number("n", n, 3), whole_number("seed", seed, 0)
        if on_error not in ("warn", "raise"):
            raise ValueError(f"on_error={on_error!r}; expected 'warn' or 'raise'")
        check_names("RRACallback", monitor_options)
        options = MonitorOptions(**monitor_options)
        if probes is not None:
            probes = checked_probes(probes, options.k)
        if references is not None and not isinstance(references, Mapping):
            raise TypeError(f"references={references!r:.80}; expected a dictionary of names and directories of runs")
        for name, value in (("averaged", averaged), ("artifacts", artifacts)):
            if not isinstance(value, bool):
                raise TypeError(f"{name}={value!r:.80}; expected True or False")
        if dirpath is not None and not isinstance(dirpath, (str, os.PathLike)):
            raise TypeError(f"dirpath={dirpath!r:.80}; expected a path")
        # What these two would refuse at fit start. Nothing is opened.
        Recorder(None, align=align)
        RunStore("memory://", keep_graphs)
        self.probes = probes
        self.every_n_epochs = every_n_epochs
        self.references = dict(references or {})
        self.align = align
        self.dirpath = dirpath
        self.keep_graphs = keep_graphs
        self.on_error = on_error
        self.n = n
        self.seed = seed
        self.averaged = averaged
        self.artifacts = artifacts
        self.tensorboard_scalars = checked_choice("tensorboard_scalars", tensorboard_scalars)
        self.options = options
        self.store: RunStore | None = None
        self._resumed: Mapping[str, Any] = {}
        self._claim: Claim | None = None
        self._begin()

    def _begin(self) -> None:
        """Forget an earlier fit, but for its directory."""
        self._probes = Probes(self.probes, self.n, self.seed)
        self._on = False
        self._monitor: Monitor | None = None
        self._recorder: Recorder | None = None
        self._measured: int | None = None
        self._values: dict[str, float] = {}
        self._inputs = InputCheck()

    @property
    def state_key(self) -> str:
        """The key of the state, which differs for two of these callbacks in one trainer."""
        return self._generate_state_key(dirpath=None if self.dirpath is None else str(self.dirpath))

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
        self._begin()
        remarks = self._open_store_on_rank_zero(trainer)
        if not self._attempt(trainer, partial(self._draw, trainer, pl_module), NONE):
            refuse_watchers(trainer, "there is no monitor in this training")
            return
        self._on = True
        self._open_recorder_on_rank_zero(trainer)
        if self._monitor is None:
            refuse_watchers(trainer, "its value comes after the first validation")
            return
        check_watchers(trainer, self._monitor, self.every_n_epochs, self._probes.awaited(trainer))
        self._on = self._attempt(trainer, partial(self._announce, trainer, pl_module, remarks), NONE)
        if not self._on:
            refuse_watchers(trainer, "there is no monitor in this training")
            return
        fresh = self.store is None or not self.store.probes()
        if trainer.strategy.broadcast(trainer.global_step == 0 or fresh):
            self._measure(trainer, pl_module, trainer.current_epoch)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Compare the samples with the first batch of the fit, and look at what its first layer gets."""
        if self._on and trainer.is_global_zero:
            self._inputs.start_step(pl_module, self._probes.ready, partial(self._probes.part, batch))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Compare what the first layer got in the first step with what it gets of the samples."""
        if self._on and trainer.is_global_zero:
            with muted(trainer, pl_module):
                self._inputs.end_step(pl_module, self._probes.ready, self._forward(trainer))

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Compare a sample of validation data with the first batch of its loader."""
        if self._on and trainer.is_global_zero:
            name = f"val-{dataloader_idx}" if dataloader_idx else "val"
            self._inputs.validation(name, self._probes.ready, batch)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure according to the schedule, and pass the summaries to callbacks that watch them."""
        if not self._on:
            return
        if holds_averages(trainer):
            if self.averaged:
                self._measure(trainer, pl_module, trainer.current_epoch)
            return
        # An epoch that is cut short ends the fit, which is always measured, and does not count as completed.
        whole = is_whole(trainer)
        completed = trainer.current_epoch + (1 if whole else 0)
        if not whole or completed % self.every_n_epochs == 0 or is_last(trainer, completed):
            self._measure(trainer, pl_module, completed)
            # Not to the loggers, which have them already. A value that is missing this time keeps its last state, since
            # a watcher would end the training over it.
            together = trainer.world_size > 1
            pl_module.log_dict(self._values, logger=False, on_epoch=True, batch_size=1, sync_dist=together)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the end of the fit, if nothing did."""
        if self._on and self._measured != trainer.global_step and not holds_averages(trainer):
            self._measure(trainer, pl_module, trainer.current_epoch)
        self._close(finished=True)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write to the loggers what is held back until the end."""
        self._close(finished=False)

    def state_dict(self) -> dict[str, Any]:
        """The run's directory and the mark of its claim, so that a resumed run continues in it."""
        if self.store is None:
            return {}
        path = self.store.path
        token = None if self._claim is None else self._claim.token
        return {"dirpath": path if "://" in path else os.path.abspath(path), "token": token}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the directory of the resumed run."""
        self._resumed = dict(state_dict) if isinstance(state_dict, Mapping) else {}

    def _attempt(self, trainer: Trainer, act: Callable[[], None], consequence: str) -> bool:
        """Whether `act` succeeds on every rank; where it fails, a warning with the consequence, or the error."""
        failed = True
        try:
            act()
            failed = False
        except LayerNameError:
            raise
        except Exception as error:
            if self.on_error == "raise":
                raise
            warnings.warn(f"{consequence}; training goes on: {_said(error)}", stacklevel=3)
            _free_memory_after(error)
        finally:
            # Also by a rank that raises: the others wait for it.
            together = trainer.strategy.reduce_boolean_decision(not failed, all=True)
        return together

    def _draw(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the samples that are there and not drawn yet, and watch them, too.

        Raises:
            ValueError: none can be drawn, nor will be.
        """
        folder = None if self.store is None or "://" in self.store.path else os.path.join(self.store.path, "inputs")
        refused = set(self._probes.refused)
        new = self._probes.draw(trainer, pl_module, folder)
        if not self._probes.ready and not self._probes.awaited(trainer):
            reasons = self._probes.reasons() or "no data sets"
            raise ValueError(f"no probe can be drawn from the trainer's data ({reasons}); pass probes={{…}}")
        if self._probes.refused.keys() - refused:
            warnings.warn(f"not probed: {self._probes.reasons()} Pass it in probes={{…}} of RRACallback.", stacklevel=4)
        if new:
            self._monitor = Monitor(self._probes.ready, options=self.options, forward=self._forward(trainer))

    def _forward(self, trainer: Trainer) -> Callable[[nn.Module, Any], Any]:
        forward = self.options.forward or call_model

        def in_precision(model: nn.Module, batch: Any) -> Any:
            precision = trainer.strategy.precision_plugin
            with precision.forward_context():
                return forward(model, precision.convert_input(batch))

        return in_precision

    def _announce(self, trainer: Trainer, pl_module: LightningModule, remarks: list[str]) -> None:
        assert self._monitor is not None
        with muted(trainer, pl_module):
            plans = self._monitor.plan(pl_module)
        if self._probes.awaited(trainer):
            remarks = [*remarks, "val: drawn when the trainer makes its validation loaders"]
        text = announcement(
            plans,
            views=tuple(self.options.views),
            every_n_epochs=self.every_n_epochs,
            keep_graphs=self.keep_graphs,
            path=None if self.store is None else self.store.path,
            references=self.references,
            remarks=remarks,
        )
        rank_zero_info(text)
        batches, steps = trainer.num_training_batches, trainer.max_steps
        if 0 < steps < batches:
            warnings.warn(
                f"an epoch has {batches} batches, and training ends after max_steps={steps} of them, so RRACallback "
                "measures the start and the end alone; Trainer(limit_train_batches=…) makes epochs shorter",
                stacklevel=4,
            )

    def _measure(self, trainer: Trainer, pl_module: LightningModule, epoch: int) -> None:
        """Measure on every rank, record on rank zero; its summaries on every rank."""
        self._measured = trainer.global_step
        found: dict[str, float] = {}
        try:
            if self._probes.awaited(trainer) and trainer.val_dataloaders is not None:
                self._join(trainer, pl_module)
            snapshots = self._snapshots(trainer, pl_module, epoch)
            if self._recorder is not None and snapshots:
                found = summaries(self._recorder.record(snapshots))
        except Exception as error:
            if self.on_error == "raise":
                raise
            warnings.warn(
                f"no snapshot at epoch {epoch}, step {trainer.global_step}; training goes on: {error!r}", stacklevel=2
            )
            _free_memory_after(error)
        finally:
            # Also by a rank that raises: the others wait for it.
            self._values |= trainer.strategy.broadcast(found)

    def _join(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the validation data, whose loaders are there now, join the probes."""
        self._draw(trainer, pl_module)
        if self._recorder is not None and self._monitor is not None:
            self._recorder.check(self._monitor)

    def _snapshots(self, trainer: Trainer, pl_module: LightningModule, epoch: int) -> dict[str, Snapshot]:
        """The snapshots of the weights in training, and on request those of their averages."""
        step = trainer.global_step
        found: dict[str, Snapshot] = {}
        if self._monitor is None:
            return found
        with muted(trainer, pl_module):
            if not holds_averages(trainer):
                found = self._monitor.measure(pl_module, step=step, epoch=epoch)
            if self.averaged and (average := averaged_module(trainer, pl_module)) is not None:
                with lent_trainer(average, trainer), muted(trainer, average):
                    averages = self._monitor.measure(average, step=step, epoch=epoch)
                for probe, snapshot in averages.items():
                    name = f"{probe}-averaged"
                    found[name] = replace(snapshot, probe=name, weights="averaged")
        return found

    def _close(self, finished: bool) -> None:
        self._inputs.stop()
        if self._recorder is not None:
            self._recorder.close()
        if self.store is not None and self._claim is not None:
            self.store.release(finished)

    def _open_store_on_rank_zero(self, trainer: Trainer) -> list[str]:
        """Claim the run's directory, but for a fast_dev_run, which leaves no files; remarks to announce."""
        if self.store is not None and trainer.global_step > 0:  # another fit of the same training
            self._resumed = self.state_dict()
        self.store, self._claim, remarks, failure = None, None, [], None
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return ["this is a fast_dev_run"]
        if trainer.is_global_zero:
            try:
                self.store, self._claim = open_store(
                    trainer,
                    dirpath=self.dirpath,
                    keep_graphs=self.keep_graphs,
                    configuration=configuration_of(self.probes, self.n, self.seed, self.options),
                    resumed=self._resumed,
                )
                remarks = self._claim.remarks
            except Exception as error:  # whatever it is, the others must not wait for this rank
                failure = error
        self._raise_on_every_rank(trainer, failure if self.on_error == "raise" else None)
        if failure is not None:
            warnings.warn(f"nothing will be stored, only logged; training goes on: {_said(failure)}", stacklevel=3)
        return remarks

    def _open_recorder_on_rank_zero(self, trainer: Trainer) -> None:
        """Open references and sinks on rank zero; what is refused there is raised on every rank."""
        refusal = None
        if trainer.is_global_zero:
            try:
                references = {name: reference_path(path) for name, path in self.references.items()}
                self._recorder = Recorder(
                    self.store, references=references, align=self.align, sinks=self._sinks(trainer)
                )
                if self._monitor is not None:
                    self._recorder.check(self._monitor)
            except Exception as error:  # whatever it is, the others must not wait for this rank
                refusal = error
        self._raise_on_every_rank(trainer, refusal)

    def _sinks(self, trainer: Trainer) -> list[Sink]:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return []
        of_loggers = logger_sinks(trainer.loggers, self.store, self.artifacts, self.tensorboard_scalars)
        return of_loggers if self.store is None else [JSONLSink(self.store), *of_loggers]

    @staticmethod
    def _raise_on_every_rank(trainer: Trainer, cause: Exception | None) -> None:
        """Raise what failed on rank zero on all ranks, since the others would wait for it."""
        refusal = trainer.strategy.broadcast(None if cause is None else _said(cause))
        if refusal is not None:
            raise ValueError(refusal) from cause


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, (TypeError, ValueError)) else repr(error)


def _free_memory_after(error: Exception) -> None:
    if isinstance(error, torch.cuda.OutOfMemoryError):
        torch.cuda.empty_cache()
