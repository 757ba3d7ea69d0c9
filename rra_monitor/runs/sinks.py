"""Destinations of records: a protocol of one method, and sending to several."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, runtime_checkable

from rra_monitor.runs.bounded import Bounded
from rra_monitor.runs.record import Record

SINK_SECONDS = 60.0
"""Longest time that the training waits for one call of a sink."""


class Sink(Protocol):
    """Anything that takes records. It is called in a thread of its own, for a bounded time.

    So what belongs to the calling thread (the active run of mlflow's own functions, say) is not there; pass it on.
    """

    def write(self, record: Record) -> None:
        """Take one record."""


@runtime_checkable
class Closing(Protocol):
    """A sink that writes something at the end."""

    def close(self) -> None:
        """Write what is held back; more records may follow, and another end."""


class FanOut:
    """Several sinks as one. A sink that fails or hangs is reported once and does not stop the others.

    One that hangs is left out until its call has returned.
    """

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = list(sinks)
        self._threads = [Bounded(f"rra-{type(sink).__name__}") for sink in sinks]
        self._here: set[int] = set()
        self._said: set[tuple[int, str]] = set()

    def write(self, record: Record) -> None:
        """Pass the record to every sink."""
        for position, sink in enumerate(self._sinks):
            self._attempt(position, partial(sink.write, record))

    def close(self) -> None:
        """Close the sinks that are `Closing`."""
        for position, sink in enumerate(self._sinks):
            if isinstance(sink, Closing):
                self._attempt(position, sink.close)
            self._threads[position].close()

    def _attempt(self, position: int, act: Callable[[], None]) -> None:
        try:
            if position in self._here:
                act()
            elif not self._threads[position].hangs and not self._threads[position].call(act, SINK_SECONDS):
                self._say(
                    position,
                    "hangs",
                    f"has not returned within {SINK_SECONDS:g} s and is left out until it does; training goes on",
                )
        except Exception as error:
            if position not in self._here and _needs_its_thread(error):
                self._here.add(position)
                self._say(
                    position, "here", f"is called without a bound on its time, since it needs its own thread: {error!r}"
                )
                self._attempt(position, act)
            else:
                self._say(position, "failed", f"failed and is not reported again: {error!r}")

    def _say(self, position: int, kind: str, text: str) -> None:
        if (position, kind) not in self._said:
            self._said.add((position, kind))
            warnings.warn(f"{_name_of(self._sinks[position])} {text}", stacklevel=4)


def _name_of(sink: Sink) -> str:
    """The name that a sink gives itself, as one that stands for a logger does, or that of its class."""
    name = getattr(sink, "name", None)
    return name if isinstance(name, str) else type(sink).__name__


def _needs_its_thread(error: Exception) -> bool:
    """Whether a call was refused because of the thread it came from, as by connections of sqlite3."""
    return type(error).__name__ == "ProgrammingError" and "thread" in str(error)
