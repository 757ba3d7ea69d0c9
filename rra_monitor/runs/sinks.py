"""Destinations of records: a protocol of one method, and sending to several."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, runtime_checkable

from rra_monitor.runs.record import Record


class Sink(Protocol):
    """Anything that takes records."""

    def write(self, record: Record) -> None:
        """Take one record."""


@runtime_checkable
class Closing(Protocol):
    """A sink that writes something at the end."""

    def close(self) -> None:
        """Write what is held back; more records may follow, and another end."""


class FanOut:
    """Several sinks as one. A sink that fails is reported once and does not stop the others."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = list(sinks)
        self._failed: set[int] = set()

    def write(self, record: Record) -> None:
        """Pass the record to every sink."""
        for position, sink in enumerate(self._sinks):
            self._attempt(position, partial(sink.write, record))

    def close(self) -> None:
        """Close the sinks that are `Closing`."""
        for position, sink in enumerate(self._sinks):
            if isinstance(sink, Closing):
                self._attempt(position, sink.close)

    def _attempt(self, position: int, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:
            if position not in self._failed:
                self._failed.add(position)
                name = type(self._sinks[position]).__name__
                warnings.warn(f"{name} failed and is not reported again: {error!r}", stacklevel=3)
