"""RRACallback: the monitor in a Lightning trainer. It only translates the trainer's hooks into calls."""

import os
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import nn

from rra_monitor.capture.features import call_model
from rra_monitor.capture.sample import FixedSample
from rra_monitor.integrations.directories import default_directory, lies_where_the_trainer_writes
from rra_monitor.integrations.loggers import logger_sinks
from rra_monitor.integrations.tensorboard.charts import Choice, checked_choice
from rra_monitor.integrations.wandb.references import reference_path
from rra_monitor.integrations.watchers import check_watchers
from rra_monitor.measure.estimate import CostEstimate
from rra_monitor.measure.monitor import Monitor, checked_probes
from rra_monitor.measure.options import MonitorOptions, check_names
from rra_monitor.runs.claim import configuration
from rra_monitor.runs.jsonl import JSONLSink
from rra_monitor.runs.record import summaries
from rra_monitor.runs.recorder import Align, Recorder
from rra_monitor.runs.sinks import Sink
from rra_monitor.runs.store import KeepGraphs, RunStore
from rra_monitor.utils.checks import whole_number
from rra_monitor.utils.text import visible


class RRACallback(Callback):
    """Watches every layer during a fit: ID, NNCS, and NNLS to the previous snapshot and to reference runs.

    It measures the untrained network, the end of every n-th epoch and the end of the fit. Training with it is the same
    to the last bit as without. What cannot work (an unknown layer, a reference of other samples, an EarlyStopping on a
    value that is not logged in time) is refused at fit start; if a snapshot fails later, there is a warning and
    training goes on.

    Curves go to every logger of the trainer (to TensorBoard for its tab RRA, to W&B with pictures and a table), and
    everything is stored in the run's directory.

    Args:
        probes: name to fixed sample. If None, samples named `train` and `val` are drawn from the trainer's own data;
            a data set with random augmentation is skipped, since the analysis needs the same inputs each time.
        every_n_epochs: number of epochs between two measurements.
        references: name to the directory of an earlier run with the same samples; every snapshot is compared with it.
            `wandb:<entity>/<project>/<artifact>:<alias>` is downloaded at fit start.
        align: which snapshot of a reference to use: that of the same epoch ("epoch") or its last one ("last").
        dirpath: directory of this run; `rra/` in the first logger's directory if None. A resumed run continues in its
            own, if that is below the trainer's `default_root_dir` or a logger's `save_dir`.
        keep_graphs: "all", "last" or a number of snapshots whose graphs stay on disk.
        on_error: effect of a failing snapshot: "warn" or "raise".
        n: size of the samples drawn from the trainer's data; smaller if a class has too few.
        seed: seed of that draw.
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
        if not isinstance(artifacts, bool):
            raise TypeError(f"artifacts={artifacts!r:.80}; expected True or False")
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
        self.artifacts = artifacts
        self.tensorboard_scalars = checked_choice("tensorboard_scalars", tensorboard_scalars)
        self.options = options
        self.store: RunStore | None = None
        self._resumed: str | None = None
        self._token: str | None = None
        self._measured: int | None = None
        self._values: dict[str, float] = {}
        self._monitor: Monitor | None = None
        self._recorder: Recorder | None = None

    @property
    def state_key(self) -> str:
        """The key of the state, which differs for two of these callbacks in one trainer."""
        return self._generate_state_key(dirpath=None if self.dirpath is None else str(self.dirpath))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the samples, refuse what cannot work, print what will be measured, and measure the untrained network."""

        forward = self.options.forward or call_model

        def in_precision(model: nn.Module, batch: Any) -> Any:
            precision = trainer.strategy.precision_plugin
            with precision.forward_context():
                return forward(model, precision.convert_input(batch))

        probes = self.probes or samples_of(trainer, self.n, self.seed)
        self._monitor = Monitor(probes, options=self.options, forward=in_precision)
        check_watchers(trainer, self._monitor, self.every_n_epochs)
        self._open_on_rank_zero(trainer)
        rank_zero_info(self._announcement(self._monitor.plan(pl_module)))
        self._measured = None
        self._values = {}
        fresh = self.store is None or not self.store.probes()
        if trainer.strategy.broadcast(trainer.global_step == 0 or fresh):
            self._measure(trainer, pl_module, trainer.current_epoch)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure according to the schedule, and pass the summaries to callbacks that watch them."""
        # An epoch that is cut short ends the fit, which is always measured, and does not count as completed.
        whole = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        completed = trainer.current_epoch + (1 if whole else 0)
        if not whole or completed % self.every_n_epochs == 0:
            self._measure(trainer, pl_module, completed)
            # Not to the loggers, which have them already. A value that is missing this time keeps its last state, since
            # a watcher would end the training over it.
            together = trainer.world_size > 1
            pl_module.log_dict(self._values, logger=False, on_epoch=True, batch_size=1, sync_dist=together)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the end of the fit, if the schedule did not."""
        if self._measured != trainer.global_step:
            self._measure(trainer, pl_module, trainer.current_epoch)
        self._close(finished=True)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write to the loggers what is held back until the end."""
        self._close(finished=False)

    def state_dict(self) -> dict[str, Any]:
        """The run's directory, so that a resumed run continues in it."""
        if self.store is None:
            return {}
        path = self.store.path
        return {"dirpath": path if "://" in path else os.path.abspath(path), "token": self._token}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the directory of the resumed run."""
        state = state_dict if isinstance(state_dict, Mapping) else {}
        token = state.get("token")
        self._resumed, self._token = state.get("dirpath"), token if isinstance(token, str) else None

    def _measure(self, trainer: Trainer, pl_module: LightningModule, epoch: int) -> None:
        """Measure on every rank, record on rank zero; its summaries on every rank."""
        self._measured = trainer.global_step
        found: dict[str, float] = {}
        try:
            assert self._monitor is not None
            snapshots = self._monitor.measure(pl_module, step=trainer.global_step, epoch=epoch)
            if self._recorder is not None:
                found = summaries(self._recorder.record(snapshots))
        except Exception as error:
            if self.on_error == "raise":
                raise
            warnings.warn(
                f"no snapshot at epoch {epoch}, step {trainer.global_step}; training goes on: {error!r}", stacklevel=2
            )
            if isinstance(error, torch.cuda.OutOfMemoryError):
                torch.cuda.empty_cache()
        finally:
            # Also by a rank that raises: the others wait for it.
            self._values |= trainer.strategy.broadcast(found)

    def _close(self, finished: bool) -> None:
        if self._recorder is not None:
            self._recorder.close()
        if self.store is not None and self._recorder is not None:
            self.store.release(finished)

    def _open_on_rank_zero(self, trainer: Trainer) -> None:
        """Open the store on rank zero; a refusal there is raised on every rank, since others would wait for it."""
        refusal, cause = None, None
        if trainer.is_global_zero:
            try:
                self.store = self._open(trainer)
            except Exception as error:  # whatever it is, the others must not wait for this rank
                refusal, cause = str(error) if isinstance(error, ValueError) else repr(error), error
        refusal = trainer.strategy.broadcast(refusal)
        if refusal is not None:
            raise ValueError(refusal) from cause
        if not trainer.is_global_zero:
            self.store, self._recorder = None, None

    def _open(self, trainer: Trainer) -> RunStore | None:
        """Open the store and the sinks, on rank zero; no store in a fast_dev_run, which leaves no files."""
        assert self._monitor is not None
        references = {name: reference_path(path) for name, path in self.references.items()}
        store = None if trainer.fast_dev_run else self._open_store(trainer)  # type: ignore[attr-defined]
        sinks: list[Sink] = []
        if store is not None:
            of_loggers = logger_sinks(trainer.loggers, store, self.artifacts, self.tensorboard_scalars)
            sinks = [JSONLSink(store), *of_loggers]
        self._recorder = Recorder(store, references=references, align=self.align, sinks=sinks)
        self._recorder.check(self._monitor)
        return store

    def _open_store(self, trainer: Trainer) -> RunStore:
        if self.dirpath is not None:
            path = os.fspath(self.dirpath)
        else:
            path = self._earlier_directory(trainer) or default_directory(trainer)
        store = RunStore(path, self.keep_graphs)
        assert self._monitor is not None
        settings = {probe: self._monitor.settings(probe) for probe in self._monitor.probes}
        # The layers as they are asked for: measuring them comes later.
        asked = configuration(settings, [str(self.options.layers)], [one.name for one in self.options.measured()])
        claim = store.claim(asked, resume_step=trainer.global_step, token=self._token)
        self._token = claim.token
        if claim.remarks:
            rank_zero_warn(f"RRA monitor: {'; '.join(claim.remarks)}", stacklevel=2)
        if claim.set_aside and trainer.global_step:
            rank_zero_info(
                f"RRA monitor: resuming at step {trainer.global_step}; {claim.set_aside} later snapshots are in "
                f"{store.path}/set-aside"
            )
        return store

    def _earlier_directory(self, trainer: Trainer) -> str | None:
        """The directory of the resumed run, if it can be reached."""
        if trainer.global_step == 0:
            return None
        path = self._resumed if self.store is None else self.store.path
        if path is None:
            return None
        said = visible(str(path))
        if self.store is None and not lies_where_the_trainer_writes(path, trainer):
            warnings.warn(
                f"{said}, where the checkpoint says that its run is stored, is neither below default_root_dir "
                f"({trainer.default_root_dir}) nor below a logger's save_dir, and a checkpoint may come from somebody "
                "else; going on in a new directory. If it is yours, pass that default_root_dir, or dirpath",
                stacklevel=2,
            )
            return None
        if not RunStore(path).probes():
            warnings.warn(
                f"{said}, where the resumed run was stored, is not here; going on in a new directory", stacklevel=2
            )
            return None
        return path

    def _announcement(self, plans: Mapping[str, CostEstimate]) -> str:
        lines = ["RRA monitor:"]
        for probe, plan in plans.items():
            kind = "no labels, so no NNCS" if plan.classes is None else f"{plan.classes} classes"
            lines.append(f"  {probe}: {len(plan.layers)} layers of {plan.n} samples ({kind}), k = {plan.k}")
        layers = [layer.name for layer in next(iter(plans.values())).layers]
        lines.append(f"  layers: {', '.join(layers)}")
        if len(views := tuple(self.options.views)) > 1:
            graphs = next(iter(plans.values())).graphs
            lines.append(f"  views of each layer: {', '.join(views)}; {graphs} different ones in all")
        rhythm = "every epoch" if self.every_n_epochs == 1 else f"every {self.every_n_epochs} epochs"
        seconds, size = sum(plan.seconds for plan in plans.values()), sum(plan.bytes for plan in plans.values())
        cost = f"about {max(seconds, 0.1):.1f} s and {max(size / 1e6, 0.1):.1f} MB"
        lines.append(f"  before training, {rhythm} and at the end; each time {cost}")
        number = f"the graphs of {self.keep_graphs} snapshots are kept"
        kept = {"all": "all graphs are kept", "last": "the last graphs are kept"}.get(str(self.keep_graphs), number)
        where = "nowhere, this is a fast_dev_run" if self.store is None else f"in {self.store.path}; {kept}"
        lines.append(f"  stored {where}")
        if self.references:
            lines.append(f"  compared with {', '.join(f'{name} ({path})' for name, path in self.references.items())}")
        return "\n".join(lines)


def samples_of(trainer: Trainer, n: int, seed: int) -> dict[str, FixedSample]:
    """Fixed samples of the trainer's own training and validation data sets.

    Raises:
        ValueError: no data set from which a fixed sample can be drawn, with the reason for each.
    """
    if trainer.enable_validation and trainer.val_dataloaders is None:
        # Lightning prepares them at the first validation, which may lie epochs ahead.
        trainer.validating = True
        trainer.fit_loop.epoch_loop.val_loop.setup_data()
        trainer.training = True
    samples: dict[str, FixedSample] = {}
    refused: dict[str, str] = {}
    for kind, loaders in (("train", trainer.train_dataloader), ("val", trainer.val_dataloaders)):
        for number, dataset in enumerate(_datasets(loaders)):
            name = f"{kind}-{number}" if number else kind
            try:
                samples[name] = FixedSample.from_dataset(dataset, n, seed, shrink=True)
            except Exception as error:
                refused[name] = str(error) if isinstance(error, (TypeError, ValueError)) else repr(error)
    reasons = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
    if not samples:
        raise ValueError(
            f"no probe can be drawn from the trainer's data ({reasons or 'no data sets'}); pass probes={{…}}"
        )
    if refused:
        warnings.warn(f"not probed: {reasons} Pass it in probes={{…}} of RRACallback.", stacklevel=2)
    return samples


def _datasets(loaders: Any) -> Iterator[Any]:
    if isinstance(loaders, Mapping):
        loaders = list(loaders.values())
    for loader in loaders if isinstance(loaders, (list, tuple)) else [loaders]:
        dataset = getattr(loader, "dataset", None)
        if dataset is not None:
            yield dataset
