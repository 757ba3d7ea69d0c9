"""`records.jsonl`: writing one line per record, and reading them."""

import dataclasses
import json
import math
import warnings
from functools import partial
from typing import Any

from rra_monitor.measure.settings import Curve
from rra_monitor.measure.snapshot import Snapshot
from rra_monitor.runs.lines import RECORDS, RecordLine, mended, record_lines
from rra_monitor.runs.record import Record
from rra_monitor.runs.store import RunStore


class JSONLSink:
    """One line of JSON per record in `records.jsonl` of a run: every curve, without matrices and graphs.

    Undefined values are null. A step that a process measures again has a second line; the last one counts. A truncated
    or second line that an earlier process left is removed before the next one writes its first line.

    Args:
        store: store of the run.
    """

    def __init__(self, store: RunStore) -> None:
        self._store = store

    def write(self, record: Record) -> None:
        """Append one line, where the store is writable."""
        if self._store.writable:
            line = json.dumps(record_as_json(record)) + "\n"
            self._store.write_text(RECORDS, line, partial(mended, without=record.step))


def record_as_json(record: Record) -> dict[str, Any]:
    """A record as plain values."""
    probes = {}
    for probe, snapshot in record.snapshots.items():
        probes[probe] = {
            "layers": list(snapshot.layers),
            "views": list(snapshot.settings.views),
            "aliases": dict(snapshot.aliases),
            **{one.name: _plain(snapshot.curves.get(one.name)) for one in snapshot.quantities if not one.of_pairs},
            "weights": snapshot.weights,
            "n": snapshot.settings.n,
            "k": snapshot.settings.k,
            "estimator": snapshot.settings.estimator,
            **{f"{name}_chance": chance for name, chance in _chances(snapshot).items()},
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
        "interval": record.interval,
        "findings": [dataclasses.asdict(finding) for finding in record.findings],
        "probes": probes,
    }


def _chances(snapshot: Snapshot) -> dict[str, float | None]:
    """Name of each quantity that has a chance level to it; None without the labels that it needs."""
    levels = snapshot.chances()
    return {one.name: levels.get(one.name) for one in snapshot.quantities if one.chance is not None}


def _plain(curve: Curve | None) -> list[float | None] | None:
    if curve is None:
        return None
    return [None if math.isnan(value) else float(value) for value in curve]


def read_records(store: RunStore) -> dict[int, RecordLine]:
    """Step to the last line that was written for it; truncated lines are left out."""
    path = f"{store.path}/{RECORDS}"
    try:
        records, foreign = record_lines(store.read_bytes(RECORDS))
    except ValueError as error:
        warnings.warn(f"{path} is left out: {error}", stacklevel=2)
        return {}
    if foreign:
        lines = "a line is" if foreign == 1 else f"{foreign} lines are"
        warnings.warn(f"{path}: {lines} cut off or foreign and left out", stacklevel=2)
    return records
