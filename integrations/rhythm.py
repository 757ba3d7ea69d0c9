"""The rhythm of a fit: which of its moments are asked for, and which of these are measured."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_info

from rra_monitor.integrations.fit_options import FitOptions
from rra_monitor.integrations.moments import fraction_done, holds_averages
from rra_monitor.measure.schedule import Schedule
from rra_monitor.utils.repeated import Repeated
from rra_monitor.utils.text import reason_of

LONGEST = 1 << 40
"""Longest interval that is taken from a checkpoint, which may be damaged or somebody else's."""


class Rhythm:
    """Decides at the end of each step and epoch of a fit; called on all ranks, decided by rank zero.

    Args:
        options: options of the callback.
        trainer: trainer within a fit.
        resumed: state of the callback in the checkpoint that is resumed.

    Attributes:
        schedule: clock of the fit, and the interval that `max_overhead` leads to.
    """

    def __init__(self, options: FitOptions, trainer: Trainer, resumed: Mapping[str, Any]) -> None:
        kept = options.max_overhead is not None
        interval = _stored(resumed, "interval", 1)
        self.schedule = Schedule(max_overhead=options.max_overhead, interval=interval if kept else 1)
        self._options = options
        self._trainer = trainer
        self._step = trainer.global_step
        self._chosen = _stored(resumed, "chosen", 0)
        self._began = fraction_done(trainer, trainer.current_epoch) or 0.0
        self._waiting: list[int] = []
        self._failures = Repeated()

    def state(self) -> dict[str, int]:
        """What a resumed fit goes on with."""
        return {"interval": self.schedule.interval, "chosen": self._chosen}

    def is_due_after_step(self) -> bool:
        """Whether to measure at the end of a batch; that of an epoch's last batch is decided at the epoch's end."""
        trainer, options = self._trainer, self._options
        before, self._step = self._step, trainer.global_step
        if self._step <= before or holds_averages(trainer):  # gradients are accumulated, or nothing is trained
            return False
        if options.every_n_steps is not None:
            moment = self._step // options.every_n_steps
            self._waiting += [moment] if moment > before // options.every_n_steps else []
        if self._is_chosen():
            self._chosen += 1
            self._waiting.append(self._chosen)
        return not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch and self._decided(trainer.current_epoch)

    def is_due_after_epoch(self, completed: int) -> bool:
        """Whether to measure at the end of an epoch.

        Args:
            completed: epochs completed.
        """
        every = self._options.epochs_between
        if every is not None and completed % every == 0:
            self._waiting.append(completed // every)
        return self._decided(completed)

    def _decided(self, completed: int) -> bool:
        """Whether one of the moments that coincide here is measured."""
        moments, self._waiting = self._waiting, []
        if not moments:
            return False
        schedule, strategy = self.schedule, self._trainer.strategy
        # The moment that the longest interval has in common with this one.
        moment = max(moments, key=lambda each: each & -each)
        if schedule.max_overhead is None:
            return True
        before, due = schedule.interval, False
        if self._trainer.is_global_zero:
            done = self._done(completed)
            due = schedule.due(moment, done)
            if schedule.interval > before:
                self._say(before, moment, done)
        due, schedule.interval = strategy.broadcast((due, schedule.interval))
        return due

    def _done(self, completed: int) -> float | None:
        """Fraction of this fit that is done; None if it has no known end."""
        done = fraction_done(self._trainer, completed)
        return None if done is None or self._began >= 1 else (done - self._began) / (1 - self._began)

    def _say(self, before: int, moment: int, done: float | None) -> None:
        schedule = self.schedule
        foretold = schedule.foretold(before, moment, done)
        rank_zero_info(
            f"RRA monitor: from now on {words(self._options, schedule.interval)}: {words(self._options, before)} would "
            f"take {foretold:.1%} of the time, at {schedule.cost or 0:.2g} s each, more than "
            f"max_overhead={schedule.max_overhead}"
        )

    def _is_chosen(self) -> bool:
        """Whether the user's function chooses this step."""
        choose = self._options.schedule
        if choose is None:
            return False
        chosen = False
        try:
            # On rank zero alone, since a function may look at the clock or draw at random.
            chosen = self._trainer.is_global_zero and bool(choose(self._step))
        except Exception as error:
            if self._options.on_error == "raise":
                raise
            self._failures.warn(f"schedule failed at step {self._step}, which is not measured: {reason_of(error)}", 4)
        finally:
            # Also by a rank that raises: the others wait for it.
            chosen = self._trainer.strategy.reduce_boolean_decision(chosen, all=False)
        return chosen


def words(options: FitOptions, interval: int = 1) -> str:
    """The rhythm of a callback in words.

    Args:
        options: options of the callback.
        interval: number of asked-for moments of which one is measured.
    """
    found = []
    for every, name in ((options.epochs_between, "epoch"), (options.every_n_steps, "step")):
        if every is not None:
            found.append(f"every {name}" if every * interval == 1 else f"every {every * interval} {name}s")
    if options.schedule is not None:
        found.append("steps chosen by schedule" if interval == 1 else f"1 of {interval} steps chosen by schedule")
    return " and ".join(found)


def _stored(resumed: Mapping[str, Any], name: str, least: int) -> int:
    """A number of a checkpoint's state, or the least one in its place."""
    rhythm = resumed.get("rhythm")
    found = rhythm.get(name) if isinstance(rhythm, Mapping) else None
    return found if type(found) is int and least <= found <= LONGEST else least
