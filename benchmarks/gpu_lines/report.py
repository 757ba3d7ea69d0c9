"""Running lines one after the other: each row is printed and written at once, an error becomes a row."""

import json
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from .bench import Bench, Row

Line = Callable[[Bench], Iterator[Row]]


def report(lines: Mapping[str, Line], bench: Bench, card: str, out: Path) -> dict[str, Any]:
    """Run the lines and print their table; what it found stands in `out`, from the first row on."""
    found: dict[str, Any] = {"device": card, "torch": torch.__version__, "tiny": bench.tiny, "lines": list(lines)}
    found["rows"] = []
    out.parent.mkdir(parents=True, exist_ok=True)
    log = out.with_suffix(".log")
    log.write_text("")
    print(f"{card}, torch {torch.__version__}", flush=True)
    started = time.perf_counter()
    for name, row in rows_of(lines, bench, log):
        seconds = time.perf_counter() - started
        found["rows"].append({"name": name, **asdict(row), "seconds since start": round(seconds, 2)})
        part = out.with_name(f"{out.name}.part")
        part.write_text(json.dumps(found, indent=1))
        part.replace(out)
        print(f"{seconds:6.1f} s  {row.line}: {row.measured}", flush=True)
    print(f"\n{table(found['rows'])}\n\n{card}; written to {out.name}")
    return found


def rows_of(lines: Mapping[str, Line], bench: Bench, log: Path) -> Iterator[tuple[str, Row]]:
    """The rows of each line with its name; an error becomes the last row of its line, its traceback goes to the log."""
    for name, line in lines.items():
        try:
            bench.release()
            for row in line(bench):
                yield name, row
        except Exception as error:
            with log.open("a") as file:
                file.write(f"{name}\n{traceback.format_exc()}\n")
            words = " ".join(f"{type(error).__name__}: {error}".split())
            yield name, Row(f"{name}: failed", words[:300], "runs", False)


def table(rows: list[dict[str, Any]]) -> str:
    """Line, whether its bar is met, value and bar; rows without a bar come first, since the end is read first."""
    width = max((len(row["line"]) for row in rows), default=0)
    met = {True: "yes", False: "NO", None: ""}
    lines = []
    for row in sorted(rows, key=lambda row: bool(row["bar"])):
        bar = f"  ({row['bar']})" if row["bar"] else ""
        lines.append(f"{row['line']:<{width}}  {met[row['met']]:<3}  {row['measured']}{bar}")
    return "\n".join(lines)
