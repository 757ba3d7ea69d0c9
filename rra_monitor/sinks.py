"""Where records go: a protocol of one method, the JSON lines file, and sending to several."""

import dataclasses
import json
import math
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

from rra_monitor.record import RECORDS, Record
from rra_monitor.record_lines import mended
from rra_monitor.snapshot import Curve
from rra_monitor.store import RunStore


class Sink(Protocol):
    """Anything that takes records."""

    def write(self, record: Record) -> None:
        """Take one record."""


@runtime_checkable
class Closing(Protocol):
    """A sink that has something to write at the end."""

    def close(self) -> None:
        """Write it; more records may follow, and another end."""


class JSONLSink:
    """One line of JSON per record in `records.jsonl` of a run: every curve, without matrices and graphs.

    Undefined values are null. A moment that was measured again has a second line; the last one counts. What a killed
    process left, a line that is cut off or a second one of a step, is mended before the first line of the next.
    """

    def __init__(self, store: RunStore) -> None:
        self._store = store

    def write(self, record: Record) -> None:
        """Append one line."""
        self._store.write_text(RECORDS, json.dumps(as_json(record)) + "\n", mended)


class FanOut:
    """Several sinks as one. A sink that fails is reported once and does not stop the others."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = list(sinks)
        self._failed: set[int] = set()

    def write(self, record: Record) -> None:
        """Hand the record to every sink."""
        for position, sink in enumerate(self._sinks):
            self._attempt(position, partial(sink.write, record))

    def close(self) -> None:
        """Tell the end to the sinks that are `Closing`."""
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


def as_json(record: Record) -> dict[str, Any]:
    """A record as plain values."""
    probes = {}
    for probe, snapshot in record.snapshots.items():
        probes[probe] = {
            "layers": list(snapshot.layers),
            "views": list(snapshot.settings.views),
            "aliases": dict(snapshot.aliases),
            "id": _plain(snapshot.id),
            "nncs": None if snapshot.nncs is None else _plain(snapshot.nncs),
            "ties": _plain(snapshot.ties),
            "zeros": _plain(snapshot.zeros),
            "recall": _plain(snapshot.recall),
            "id_error": None if snapshot.id_error is None else _plain(snapshot.id_error),
            "hubness": None if snapshot.hubness is None else _plain(snapshot.hubness),
            "n": snapshot.settings.n,
            "k": snapshot.settings.k,
            "nncs_chance": snapshot.nncs_chance,
            "nnls_chance": snapshot.nnls_chance,
            "nnls": {
                name: {"epoch": match.epoch, "step": match.step, "layers": _plain(match.same_layer(snapshot.layers))}
                for name, match in record.matches.get(probe, {}).items()
            },
        }
    return {
        "step": record.step,
        "epoch": record.epoch,
        "seconds": record.seconds,
        "overhead": record.overhead,
        "findings": [dataclasses.asdict(finding) for finding in record.findings],
        "probes": probes,
    }


def _plain(curve: Curve) -> list[float | None]:
    return [None if math.isnan(value) else float(value) for value in curve]
