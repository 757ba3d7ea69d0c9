"""A trainer's loggers as sinks."""

from collections.abc import Iterable
from typing import Any

from rra_monitor.integrations.tensorboard.sink import TensorBoardSink
from rra_monitor.record import Record, scalars
from rra_monitor.sinks import Sink


class LoggerSink:
    """Scalars to any Lightning logger, in one `log_metrics` call per record.

    Args:
        logger: anything with `log_metrics(metrics, step)`.
    """

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def write(self, record: Record) -> None:
        """Log every scalar of the record at its step."""
        self._logger.log_metrics(scalars(record), step=record.step)


def logger_sinks(loggers: Iterable[Any]) -> list[Sink]:
    """One sink per logger.

    Loggers are recognised by the names of their classes: `lightning` and `pytorch_lightning` have classes of their own,
    and a subclass is what its base is.
    """
    sinks: list[Sink] = []
    for logger in loggers:
        names = {kind.__name__ for kind in type(logger).__mro__}
        if "DummyLogger" in names:
            continue
        if "TensorBoardLogger" in names:
            sinks.append(TensorBoardSink(lambda logger=logger: logger.experiment))  # type: ignore[misc]
        else:
            sinks.append(LoggerSink(logger))
    return sinks
