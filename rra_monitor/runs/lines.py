"""The lines of `records.jsonl`: checked reading, and repair."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rra_monitor.capture.names import check_name, unseen
from rra_monitor.conclusions.evidence import Finding
from rra_monitor.runs.checks import LAST_STEP

RECORDS = "records.jsonl"
"""The name of the JSON lines file in a run's directory."""

BEGINNING = b'{"step": '
"""The first bytes of every line."""

LINE_BYTES = 8 << 20
"""Longest line that is read; its findings can also be computed from the curves. A line of 10,000 layers has 2 MB."""

SENTENCE = 20_000
"""Longest sentence of a finding in characters."""


@dataclass(frozen=True)
class RecordLine:
    """The facts that are read from one line; the curves are read from the snapshots.

    Attributes:
        step: optimiser steps taken.
        epoch: epochs completed.
        seconds: time that measuring took.
        overhead: fraction of the time since the recorder was made that the monitor took, 0 to 1.
        findings: findings in the curves.
    """

    step: int
    epoch: int
    seconds: float
    overhead: float
    findings: tuple[Finding, ...]


def record_lines(data: bytes) -> tuple[dict[int, RecordLine], int]:
    """Step to the last line that was written for it, and the number of lines that are truncated or foreign."""
    lines: dict[int, RecordLine] = {}
    foreign = 0
    for line in data.splitlines():
        try:
            record = _parsed(line)
            step = _whole(record["step"])
        except (KeyError, ValueError):
            foreign += 1
            continue
        try:
            lines[step] = _checked(record)
        except (KeyError, TypeError, ValueError):
            foreign += 1
    return lines, foreign


def mended(data: bytes, without: int | None = None) -> bytes:
    """The lines without the traces of a killed writer: the last line of each step, and no truncated line.

    A last line without its end is kept if it is whole. Other lines that cannot be read may be another program's; they
    stay.

    Args:
        data: contents of the file.
        without: step that is measured again, whose line goes.
    """
    lines = data.split(b"\n")
    rest = lines.pop()
    if rest and _step(rest) is not None:
        lines.append(rest)
    lines = [line for line in lines if not _is_cut_off(line)]
    steps = [_step(line) for line in lines]
    last = {step: place for place, step in enumerate(steps) if step != without}
    kept = (line for place, line in enumerate(lines) if steps[place] is None or last.get(steps[place]) == place)
    return b"".join(line + b"\n" for line in kept)


def parted(data: bytes, after: int) -> tuple[bytes, bytes]:
    """The mended lines up to a step, among them those that cannot be read, and those of later steps."""
    earlier: list[bytes] = []
    later: list[bytes] = []
    for line in mended(data).splitlines(keepends=True):
        step = _step(line)
        (later if step is not None and step > after else earlier).append(line)
    return b"".join(earlier), b"".join(later)


def _is_cut_off(line: bytes) -> bool:
    """Whether a line is the beginning of one of ours: the disk was full, or its writer was killed."""
    return not line or (line.startswith(BEGINNING) and not line.endswith(b"}") and _step(line) is None)


def _step(line: bytes) -> int | None:
    """The step of a line that can be read."""
    try:
        return _whole(_parsed(line)["step"])
    except (KeyError, TypeError, ValueError):
        return None


def _parsed(line: bytes) -> dict[str, Any]:
    if len(line) > LINE_BYTES:
        raise ValueError(f"a line of {len(line):,} bytes")
    try:
        record = json.loads(line)
    except RecursionError:
        raise ValueError("nested without end") from None
    if not isinstance(record, dict):
        raise ValueError("no record")
    return record


def _checked(record: Mapping[str, Any]) -> RecordLine:
    return RecordLine(
        step=_whole(record["step"]),
        epoch=_whole(record["epoch"]),
        seconds=_number(record["seconds"]),
        overhead=_number(record["overhead"]),
        findings=tuple(_finding(each) for each in _list(record["findings"])),
    )


def _finding(stored: Mapping[str, Any]) -> Finding:
    sentence, confidence, values = stored["sentence"], _number(stored["confidence"]), stored["values"]
    if not isinstance(sentence, str) or len(sentence) > SENTENCE or unseen(sentence) is not None:
        raise ValueError("no sentence")
    if confidence > 1 or not isinstance(values, dict):
        raise ValueError("no finding")
    return Finding(
        kind=check_name(stored["kind"], "the kind of a finding"),
        probe=check_name(stored["probe"], "the probe of a finding"),
        layers=tuple(check_name(layer, "a layer of a finding") for layer in _list(stored["layers"])),
        sentence=sentence,
        confidence=confidence,
        values={check_name(name, "a value's name"): _value(value) for name, value in values.items()},
    )


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("no list")
    return value


def _whole(value: object) -> int:
    if type(value) is not int or not 0 <= value <= LAST_STEP:
        raise ValueError("no step or epoch")
    return value


def _number(value: object) -> float:
    """A finite number, at least 0."""
    number = _value(value)
    if not 0 <= number < math.inf:
        raise ValueError("no finite number from 0 on")
    return number


def _value(value: object) -> float:
    """Any number, NaN included, but not infinity."""
    if type(value) not in (int, float) or abs(value) > 1e300:  # type: ignore[arg-type]
        raise ValueError("no number")
    return float(value)  # type: ignore[arg-type]
