"""Callbacks and schedulers that watch an `rra/` value: whether it is logged in time."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from rra_monitor.measure.monitor import Monitor
from rra_monitor.runs.keys import metric_key
from rra_monitor.runs.record import summary_names


def check_watchers(
    trainer: Any, monitor: Monitor, every_n_epochs: int | None, max_overhead: float | None = None, awaited: bool = False
) -> None:
    """Refuse, before any training, a watcher whose value is missing or outdated when it is needed.

    Watchers are EarlyStopping, ModelCheckpoint and ReduceLROnPlateau. Values are logged at the end of each training
    epoch, so a watcher must read them then, not after validation or steps.

    Args:
        trainer: trainer within a fit.
        monitor: monitor of the fit.
        every_n_epochs: number of epochs between two measurements; None if ends of epochs are not measured.
        max_overhead: share of the time that measuring may take; None if no moment is left out for it.
        awaited: whether a probe `val` of validation data joins at their first use.

    Raises:
        ValueError: an unknown value, a schedule with gaps, or a watcher that reads at another time.
    """
    known = [
        metric_key(probe, name)
        for probe, sample in monitor.probes.items()
        for name in summary_names(monitor.quantities, sample.labels is not None)
    ]
    for watcher, value, every, remedy in _watchers(trainer):
        who = f"{type(watcher).__name__}(monitor={value!r})"
        if awaited and value.startswith("rra/val/"):
            raise ValueError(
                f"{who} watches validation data, which the trainer does not load before its first validation, epochs "
                "ahead; pass check_val_every_n_epoch=1 to it, or watch a value of the probe 'train'"
            )
        if value not in known:
            near = difflib.get_close_matches(value, known, n=3, cutoff=0) or known
            raise ValueError(f"{who} watches a value that is not logged; the nearest are {', '.join(near)}")
        if remedy:
            raise ValueError(f"{who} does not look at the end of the training epoch, when the value is new; {remedy}")
        if every_n_epochs is None:
            raise ValueError(
                f"{who} looks at the ends of epochs, which are not measured where RRACallback has every_n_steps or "
                "schedule alone; pass every_n_epochs=1 as well, or watch another value"
            )
        if max_overhead is not None:
            raise ValueError(
                f"{who} needs its value each time it looks, and RRACallback(max_overhead={max_overhead}) may leave "
                "epochs out; pass max_overhead=None to RRACallback, or watch a value that is not the monitor's"
            )
        if every % every_n_epochs:
            raise ValueError(
                f"{who} looks at epochs that RRACallback(every_n_epochs={every_n_epochs}) skips; it would fail, or "
                "judge stale values. Pass every_n_epochs=1 to RRACallback, or watch another value."
            )


def refuse_watchers(trainer: Any, reason: str) -> None:
    """Refuse every watcher of an `rra/` value, since there will be none.

    Raises:
        ValueError: the first such watcher, with the reason.
    """
    for watcher, value, _, _ in _watchers(trainer):
        raise ValueError(f"{type(watcher).__name__}(monitor={value!r}) would wait in vain: {reason}")


def log_for_watchers(module: Any, values: Mapping[str, float], together: bool, within_epoch: bool = False) -> None:
    """Put values where callbacks find them, not to the loggers, past a `log` or `log_dict` of the module's own.

    Args:
        module: LightningModule of either package.
        values: key to value.
        together: whether several ranks log them.
        within_epoch: whether it is the end of a step; the host would make means over the epoch of such values
            otherwise.
    """
    host: Any = next(kind for kind in type(module).__mro__ if kind.__name__ == "LightningModule")
    for key, value in values.items():
        host.log(
            module,
            key,
            value,
            logger=False,
            on_step=within_epoch,
            on_epoch=not within_epoch,
            batch_size=1,
            sync_dist=together,
        )


def _watchers(trainer: Any) -> Iterator[tuple[Any, str, int, str | None]]:
    """Each watcher of an `rra/` value, its interval in epochs, and what makes it read at their end, None if it does."""
    for callback in trainer.callbacks:
        try:
            value: Any = getattr(callback, "monitor", None)
        except Exception:  # of a property of somebody's; ours would not be read by it either
            continue
        if _is_ours(value):
            every = getattr(callback, "_every_n_epochs", 1)
            yield callback, value, every, _looks_at_another_time(callback, trainer)
    for config in trainer.lr_scheduler_configs:
        if config.reduce_on_plateau and _is_ours(config.monitor):
            remedy = None if config.interval == "epoch" else "let configure_optimizers say interval='epoch'"
            yield config.scheduler, config.monitor, config.frequency, remedy


def _is_ours(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("rra/")


def _looks_at_another_time(callback: Any, trainer: Any) -> str | None:
    """The option that makes the callback read at the end of the training epoch; None if it does."""
    # These decisions are the callbacks' own and private; a callback without them is taken to look at the right time.
    if getattr(callback, "_check_on_train_epoch_end", True) is False:
        return "pass check_on_train_epoch_end=True to it"
    if getattr(callback, "_every_n_train_steps", 0) or getattr(callback, "_train_time_interval", None):
        return "pass every_n_epochs=1 to it instead of steps or a time interval"
    saves_then = getattr(callback, "_should_save_on_train_epoch_end", None)
    if callable(saves_then) and not saves_then(trainer):
        return "pass save_on_train_epoch_end=True to it"
    return None
