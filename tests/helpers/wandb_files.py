"""Reads back what W&B wrote offline."""

import json
import struct
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import ArtifactRecord, MetricRecord, Record

BLOCK = 32 * 1024
FULL, LAST = 1, 4


@dataclass
class OfflineRun:
    """One process of a run.

    Attributes:
        folder: of the run.
        history: key to value of each logged row.
        metrics: name to definitions.
        config: the last of each key.
        artifacts: in their order.
    """

    folder: Path
    history: list[dict[str, Any]]
    metrics: dict[str, list[MetricRecord]]
    config: dict[str, Any]
    artifacts: list[ArtifactRecord]

    def rows(self, key):
        """The rows that have the key."""
        return [row for row in self.history if key in row]

    def table(self):
        """The rows of the newest table."""
        path = self.folder / "files" / self.rows("rra/table")[-1]["rra/table"]["path"]
        return [tuple(row) for row in json.loads(path.read_text())["data"]]

    def files(self):
        return [path for path in self.folder.rglob("*") if path.is_file()]


def offline_runs(path):
    """Every process's run below a directory, by time."""
    return [_offline_run(file) for file in sorted(Path(path).rglob("*.wandb"), key=lambda file: file.stat().st_mtime)]


def _offline_run(file):
    run = OfflineRun(file.parent, [], defaultdict(list), {}, [])
    for record in _finished(file):
        kind = record.WhichOneof("record_type")
        if kind == "history":
            run.history.append(_row(record.history.item))
        elif kind == "metric":
            run.metrics[record.metric.name or record.metric.glob_name].append(record.metric)
        elif kind == "config":
            run.config |= {item.key: json.loads(item.value_json) for item in record.config.update}
        elif kind == "artifact":
            run.artifacts.append(record.artifact)
        elif kind == "request" and record.request.HasField("log_artifact"):
            run.artifacts.append(record.request.log_artifact.artifact)
    return run


def _finished(file, seconds=300):
    """Its records, once the last is there: another process writes them, and a run's `finish` does not wait for it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        records = list(_records(file.read_bytes()))
        if any(record.WhichOneof("record_type") == "exit" for record in records):
            return records
        time.sleep(0.02)
    raise TimeoutError(f"{file} has no end; was the run finished?")


def _row(items):
    """Key to value; an image or a table is a dictionary, whose items stand one by one in the file."""
    row = {}
    for item in items:
        key, *inner = item.nested_key or [item.key]
        value = json.loads(item.value_json)
        if inner:
            (name,) = inner
            row.setdefault(key, {})[name] = value
        else:
            row[key] = value
    return row


def _records(data):
    """The format: 7 bytes of header; blocks, whose last bytes stay empty where no header fits; parts of records."""
    at, parts = 7, []
    while at + 7 <= len(data):
        left = BLOCK - at % BLOCK
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        parts.append(data[at + 7 : at + 7 + length])
        at += 7 + length
        if kind in (FULL, LAST) and at <= len(data):
            yield Record.FromString(b"".join(parts))
            parts = []
