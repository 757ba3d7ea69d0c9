"""A trainer's loggers as sinks."""

from collections.abc import Iterable
from functools import partial
from typing import Any

from rra_monitor.integrations.tensorboard.charts import Choice
from rra_monitor.integrations.tensorboard.sink import TensorBoardSink
from rra_monitor.integrations.wandb.sink import WandbSink
from rra_monitor.runs.record import Record, scalars
from rra_monitor.runs.sinks import Sink
from rra_monitor.runs.store import RunStore


class LoggerSink:
    """Scalars to any Lightning logger, in one `log_metrics` call per record.

    Args:
        logger: logger with `log_metrics(metrics, step)`.

    Attributes:
        name: name of the logger's class, for warnings.
    """

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self.name = type(logger).__name__

    def write(self, record: Record) -> None:
        """Log every scalar of the record at its step."""
        self._logger.log_metrics(scalars(record), step=record.step)


def logger_sinks(
    loggers: Iterable[Any],
    store: RunStore | None = None,
    artifacts: bool = False,
    tensorboard_scalars: Choice = "summaries",
) -> list[Sink]:
    """One sink per logger.

    Loggers are recognised by the names of their classes: `lightning` and `pytorch_lightning` have classes of their own,
    and a subclass counts as its base.

    Args:
        loggers: loggers of a trainer.
        store: store of the same run, for sinks that read what an earlier process wrote.
        artifacts: whether the store's snapshots become artifacts of loggers that have them (W&B).
        tensorboard_scalars: scalars for TensorBoard, see `TensorBoardSink`.

    Raises:
        ValueError: artifacts without a W&B logger, or of a store that is not in a local directory.
    """
    sinks: list[Sink] = []
    for logger in loggers:
        names = {kind.__name__ for kind in type(logger).__mro__}
        if "DummyLogger" in names:
            continue
        if "TensorBoardLogger" in names:
            sinks.append(TensorBoardSink(partial(getattr, logger, "experiment"), tensorboard_scalars))
        elif "WandbLogger" in names:
            sinks.append(WandbSink.of_logger(logger, store, artifacts))
        else:
            sinks.append(LoggerSink(logger))
    if artifacts and not any(isinstance(sink, WandbSink) for sink in sinks):
        raise ValueError("artifacts=True, but no logger has artifacts; add a WandbLogger, or pass artifacts=False")
    return sinks
