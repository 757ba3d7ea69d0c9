"""One fit as the monitor sees it: its run, its samples, and the snapshots of its moments."""

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import nn

from rra_monitor.capture.features import CallError, call_model
from rra_monitor.capture.layers import LayerNameError
from rra_monitor.capture.undisturbed import NotInitialisedError
from rra_monitor.integrations.announcement import announcement, correction, total
from rra_monitor.integrations.fit_options import FitOptions
from rra_monitor.integrations.fit_run import FitRun
from rra_monitor.integrations.input_check import InputCheck
from rra_monitor.integrations.moments import averaged_module, averaging_callbacks, holds_averages, lent_trainer
from rra_monitor.integrations.muted import muted
from rra_monitor.integrations.probes import Probes
from rra_monitor.integrations.rhythm import Rhythm, words
from rra_monitor.integrations.sharing import end_group, sharing_group
from rra_monitor.integrations.watchers import check_watchers, refuse_watchers
from rra_monitor.measure.estimate import CostEstimate
from rra_monitor.measure.monitor import Monitor
from rra_monitor.measure.snapshot import Snapshot
from rra_monitor.samples.sample import FixedSample
from rra_monitor.utils.ranks import ALONE, Ranks
from rra_monitor.utils.repeated import Repeated
from rra_monitor.utils.text import reason_of

NONE = "no monitor in this training"
"""The consequence of a failure at its start."""


class MonitoredFit:
    """Measures the moments of one fit; every method is called on all ranks.

    Args:
        options: options of the callback.
        trainer: trainer within a fit.
        module: module that is trained.
        resumed: directory and token of the run that is resumed, as a checkpoint has them.

    Attributes:
        run: the run, which stores and logs.
        values: summaries by key, each as it was last defined.
        measured: step and completed epochs of the last moment.
        rhythm: which moments are measured.
        inputs: comparison of the samples with real batches.
    """

    def __init__(
        self, options: FitOptions, trainer: Trainer, module: LightningModule, resumed: Mapping[str, Any]
    ) -> None:
        self.rhythm = Rhythm(options, trainer, resumed)
        with self.rhythm.schedule.spending():
            self.run = FitRun(options, trainer, resumed)
        self.values: dict[str, float] = {}
        self.measured: tuple[int, int] | None = None
        self.inputs = InputCheck()
        self._options = options
        self._trainer = trainer
        self._module = module
        self._group = sharing_group(trainer, module)
        self._ranks = Ranks.of(self._group)
        self._probes = Probes(options.probes, options.n, options.seed)
        self._monitor: Monitor | None = None
        self._initialised = True
        self._failures = Repeated()
        self._announced = 0.0
        self._planned: set[str] = set()
        self._moments = 0

    def start(self) -> bool:
        """Draw the samples, refuse what cannot work, and say what will be measured; whether anything will be.

        Raises:
            ValueError: what the user must decide: a layer, a reference or a watcher that does not fit.
        """
        trainer, options = self._trainer, self._options
        with self.rhythm.schedule.spending():
            if not self._attempt(self._draw):
                refuse_watchers(trainer, f"there is {NONE}")
                return False
            self.run.open_recorder(self._monitor, self.rhythm.schedule)
            if self._monitor is None:
                refuse_watchers(trainer, "its value comes after the first validation")
                return True
            awaited = self._probes.awaited(trainer)
            check_watchers(trainer, self._monitor, options.epochs_between, options.max_overhead, awaited)
            if not self._attempt(self._announce):
                refuse_watchers(trainer, f"there is {NONE}")
                return False
            if self._initialised and self._is_due_at_start():
                self.measure(trainer.current_epoch)
            return True

    def measure(self, epoch: int) -> None:
        """Measure on every rank, record on rank zero; its summaries on every rank.

        Args:
            epoch: epochs completed.
        """
        trainer = self._trainer
        _wait_for(trainer)
        with self.rhythm.schedule.spending():
            self.measured, started = (trainer.global_step, epoch), time.perf_counter()
            found: dict[str, float] = {}
            try:
                if self._probes.awaited(trainer) and trainer.val_dataloaders is not None:
                    self._ranks.agreed(self._join)
                if self._monitor is not None:
                    with self.rhythm.schedule.measuring():
                        snapshots = self._snapshots(epoch)
                        values = self._ranks.agreed(lambda: self.run.record(snapshots))
                    if values is not None:
                        found = values
                        self._correct(time.perf_counter() - started)
            except Exception as error:
                if self._options.on_error == "raise":
                    raise
                if self._ranks.rank == 0:  # the others failed of the same
                    where = f"epoch {epoch}, step {trainer.global_step}"
                    self._failures.warn(f"no snapshot at {where}; training goes on: {error!r}", stacklevel=3)
                _free_memory_after(error)
            finally:
                # Also by a rank that raises: the others wait for it.
                self.values |= trainer.strategy.broadcast(found)

    def start_step(self, batch: Any) -> None:
        """Compare the samples with a batch of training, the first time."""
        if self._trainer.is_global_zero:
            # Alone, rank zero must not pass anything through the network.
            network = self._module if self._trainer.world_size == 1 else None
            with self.rhythm.schedule.spending():
                self.inputs.start_step(network, self._probes, batch)

    def end_step(self) -> None:
        """Compare what the network got in that step with what it gets of a sample."""
        if self.inputs.waiting:
            with self.rhythm.schedule.spending(), muted(self._trainer, self._module):
                self.inputs.end_step(self._module, self._probes, self._forward)

    def start_validation(self, name: str, batch: Any) -> None:
        """Compare a sample of validation data with a batch of its loader, the first time."""
        if self._trainer.is_global_zero:
            with self.rhythm.schedule.spending():
                self.inputs.validation(name, self._probes, batch)

    def close(self, finished: bool) -> None:
        """End the fit: sinks write what they hold back, the claim ends, and what shows the run is said.

        Args:
            finished: whether the training came to its end.
        """
        self.inputs.stop()
        self.run.close(finished, measured=self.measured is not None)
        end_group(self._group)
        self._group, self._ranks = None, ALONE

    def _is_due_at_start(self) -> bool:
        """Whether the state in which the fit starts is to be measured."""
        step = self._trainer.global_step
        return bool(self._trainer.strategy.broadcast(step == 0 or self.run.lacks_snapshot(step)))

    def _forward(self, model: nn.Module, batch: Any) -> Any:
        """The user's forward in the trainer's precision."""
        forward = self._options.measuring.forward or call_model
        precision = self._trainer.strategy.precision_plugin
        with precision.forward_context():
            return forward(model, precision.convert_input(batch))

    def _attempt(self, act: Callable[[], None]) -> bool:
        """Whether `act` succeeds on every rank; where it fails, a warning, or the error on request."""
        failed = True
        try:
            act()
            failed = False
        except LayerNameError:
            raise
        except Exception as error:
            if self._options.on_error == "raise":
                raise
            warnings.warn(f"{NONE}; training goes on: {reason_of(error)}", stacklevel=4)
            _free_memory_after(error)
        finally:
            # Also by a rank that raises: the others wait for it.
            together = self._trainer.strategy.reduce_boolean_decision(not failed, all=True)
        return together

    def _draw(self) -> None:
        """Draw the samples that are there and not drawn yet, and watch them, too.

        Raises:
            ValueError: none can be drawn, nor will be.
        """
        probes = self._probes
        refused = set(probes.refused)
        probes.draw(self._trainer, self._module, self.run.input_folder, self._ranks)
        if not probes.ready and not probes.awaited(self._trainer):
            reasons = probes.reasons() or "no data sets"
            raise ValueError(f"no probe can be drawn from the trainer's data ({reasons}); pass probes={{…}}")
        if probes.refused.keys() - refused:
            warnings.warn(f"not probed: {probes.reasons()} Pass it in probes={{…}} of RRACallback.", stacklevel=5)
        if probes.ready.keys() - (set() if self._monitor is None else self._monitor.probes.keys()):
            self._monitor = self._watching(probes.ready)

    def _join(self) -> None:
        """Let the validation data, whose loaders are there now, join the probes."""
        self._draw()
        self.run.check(self._monitor)

    def _announce(self) -> None:
        options, trainer = self._options, self._trainer
        assert self._monitor is not None
        try:
            plans = self._plans()
        except NotInitialisedError as error:
            # Its first batch draws its weights: a pass of the monitor's would draw others.
            self._initialised = False
            warnings.warn(f"no snapshot before training: {error}. Later ones are measured", stacklevel=5)
            return
        averaged = options.averaged and bool(averaging_callbacks(trainer))
        if self._probes.awaited(trainer):
            self.run.remarks.append("val: drawn when the trainer makes its validation loaders")
        text = announcement(
            plans,
            views=tuple(options.measuring.views),
            rhythm=words(options, self.rhythm.schedule.interval),
            max_overhead=options.max_overhead,
            keep_graphs=options.keep_graphs,
            path=self.run.path,
            references=options.references,
            remarks=self.run.remarks,
            memory_budget=next(iter(plans.values())).memory_budget,
            averaged=averaged,
        )
        rank_zero_info(text)
        self._announced, self._planned = total(plans, averaged), set(plans)
        self.rhythm.schedule.expected = self._announced
        batches, steps = trainer.num_training_batches, trainer.max_steps
        if 0 < steps < batches and options.every_n_steps is None and options.schedule is None:
            warnings.warn(
                f"an epoch has {batches} batches, and training ends after {steps} of them, so the start and the end "
                "alone are measured. For more, pass every_n_steps=… to RRACallback",
                stacklevel=5,
            )
        if options.averaged and not averaging_callbacks(trainer):
            warnings.warn(
                "averaged=True, but no callback averages weights; add one, such as EMAWeightAveraging", stacklevel=5
            )

    def _correct(self, seconds: float) -> None:
        """Say what a moment took, where the announcement was wrong; once.

        Not at the first moment, which compiles, nor where the validation data joined after the announcement.
        """
        self._moments += 1
        as_announced = self._monitor is not None and self._monitor.probes.keys() == self._planned
        if self._moments == 2 and as_announced and (text := correction(self._announced, seconds)):
            rank_zero_info(text)

    def _plans(self) -> dict[str, CostEstimate]:
        """The layers and cost of each probe; a probe that the network does not take goes, with a warning."""
        assert self._monitor is not None
        with muted(self._trainer, self._module):
            try:
                return self._monitor.plan(self._module, self._group)
            except CallError:
                if self._options.on_error == "raise" or len(self._probes.ready) == 1:
                    raise
            for name, sample in list(self._probes.ready.items()):
                try:
                    self._watching({name: sample}).plan(self._module, self._group)
                except CallError as error:
                    self._probes.refuse(name, error)
                    warnings.warn(f"not probed: {name}: {error}", stacklevel=6)
            self._monitor = self._watching(self._probes.ready)
            return self._monitor.plan(self._module, self._group)

    def _watching(self, probes: Mapping[str, FixedSample]) -> Monitor:
        return Monitor(probes, options=self._options.measuring, forward=self._forward)

    def _snapshots(self, epoch: int) -> dict[str, Snapshot]:
        """The snapshots of the weights in training, and on request those of their averages."""
        trainer, module, monitor = self._trainer, self._module, self._monitor
        found: dict[str, Snapshot] = {}
        if monitor is None:
            return found
        step = trainer.global_step
        with muted(trainer, module):
            if not holds_averages(trainer):
                found = monitor.measure(module, step=step, epoch=epoch, group=self._group)
            if self._options.averaged and (average := averaged_module(trainer, module)) is not None:
                with lent_trainer(average, trainer), muted(trainer, average):
                    averages = monitor.measure(average, step=step, epoch=epoch, group=self._group)
                for probe, snapshot in averages.items():
                    name = f"{probe}-averaged"
                    found[name] = replace(snapshot, probe=name, weights="averaged")
        return found


def _wait_for(trainer: Trainer) -> None:
    """Wait for the steps that a GPU has yet to do, which would count as the monitor's time otherwise."""
    device = trainer.strategy.root_device
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _free_memory_after(error: Exception) -> None:
    if isinstance(error, torch.cuda.OutOfMemoryError):
        torch.cuda.empty_cache()
