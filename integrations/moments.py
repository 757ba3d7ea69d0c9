"""Moments of a fit: how many epochs are completed, and whose weights the module has then."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import LightningModule, Trainer


def is_whole(trainer: Trainer) -> bool:
    """Whether the epoch that ends went through all of its data.

    A stream may yield less than its length promises, so the loop's own flag of the last batch does not suffice: an
    epoch that nothing cut short is whole, too.
    """
    steps = trainer.max_steps
    cut = trainer.should_stop or trainer.received_sigterm or (steps is not None and 0 <= steps <= trainer.global_step)
    return trainer.fit_loop.epoch_loop.batch_progress.is_last_batch or not cut


def is_last(trainer: Trainer, completed: int) -> bool:
    """Whether it is known that no epoch of training follows the given number of completed ones."""
    swa = _stochastic_averaging(trainer)
    last = trainer.max_epochs if swa is None else swa.swa_end + 1
    return last is not None and 0 <= last <= completed


def fraction_done(trainer: Trainer, completed: int) -> float | None:
    """Fraction of the training that is done, by the limit that is nearest; None where no end of it is known.

    Args:
        trainer: trainer within a fit.
        completed: epochs completed.
    """
    found, batches = [], trainer.num_training_batches
    if trainer.max_steps is not None and trainer.max_steps > 0:
        found.append(trainer.global_step / trainer.max_steps)
    if trainer.max_epochs is not None and trainer.max_epochs > 0:
        # At the end of an epoch its batches are those of a completed one.
        passed = trainer.fit_loop.epoch_loop.batch_progress.current.ready if completed == trainer.current_epoch else 0
        found.append((completed + (passed / batches if passed < batches else 0)) / trainer.max_epochs)
    return min(1.0, max(found)) if found else None


def holds_averages(trainer: Trainer) -> bool:
    """Whether StochasticWeightAveraging's extra epoch is running, which updates batch norms and trains nothing."""
    swa = _stochastic_averaging(trainer)
    return swa is not None and trainer.current_epoch > swa.swa_end


def averaged_module(trainer: Trainer, module: LightningModule) -> Any | None:
    """The module with the weights that an averaging callback keeps at this moment; None if there are none.

    `WeightAveraging` and its kinds keep a copy of the module. `StochasticWeightAveraging` does, too, but a network with
    batch norms gets the statistics that belong to the averages in the extra epoch alone, in the module itself.
    """
    if holds_averages(trainer):
        return module
    for callback in _callbacks(trainer):
        kept = getattr(callback, "_average_model", None)
        kinds = _kinds(callback)
        if kept is not None and "WeightAveraging" in kinds:
            return kept.module
        if kept is not None and "StochasticWeightAveraging" in kinds:
            ready = getattr(callback, "_initialized", False) and not getattr(
                callback, "_model_contains_batch_norm", True
            )
            return kept if ready else None
    return None


@contextmanager
def lent_trainer(average: Any, trainer: Trainer) -> Iterator[None]:
    """The trainer for a copy of the module that has none, since a forward may ask it for the epoch."""
    if getattr(average, "_trainer", trainer) is not None:
        yield
        return
    average.trainer = trainer
    try:
        yield
    finally:
        average.trainer = None


def averaging_callbacks(trainer: Trainer) -> list[Any]:
    """The callbacks that put averaged weights into the module at the end of a fit."""
    return [each for each in _callbacks(trainer) if _kinds(each) & {"WeightAveraging", "StochasticWeightAveraging"}]


def _stochastic_averaging(trainer: Trainer) -> Any | None:
    return next((each for each in _callbacks(trainer) if "StochasticWeightAveraging" in _kinds(each)), None)


def _callbacks(trainer: Trainer) -> list[Any]:
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return callbacks


def _kinds(callback: Any) -> set[str]:
    """Names of its classes: `lightning` and `pytorch_lightning` have classes of their own."""
    return {kind.__name__ for kind in type(callback).__mro__}
