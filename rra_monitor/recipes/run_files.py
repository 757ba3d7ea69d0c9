"""What a training leaves in its folder beside checkpoints and snapshots, and what is read from it again."""

import csv
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from rra_monitor.recipes.options import PLACE, TrainOptions
from rra_monitor.recipes.overrides import Plan

CONFIG, RUN, RESULT, METRICS = "config.json", "run.json", "result.json", "metrics.csv"
CHECKPOINT = Path("checkpoints", "last.ckpt")

PACKAGES = ("rra-monitor", "torch", "torchvision", "lightning", "torchmetrics", "numpy", "pynndescent", "scikit-learn")


def write_description(folder: Path, options: TrainOptions, plan: Plan, **facts: Any) -> None:
    """Write the options, for `rra-monitor train --config`, and all that they came to, with the versions."""
    folder.mkdir(parents=True, exist_ok=True)
    given = {name: value for name, value in asdict(options).items() if name not in ("resume", "seeds")}
    _write(folder / CONFIG, given)
    _write(folder / RUN, {"options": asdict(options), "plan": asdict(plan), **facts, "versions": versions()})


def versions() -> dict[str, str]:
    """Of Python, the packages that matter, CUDA and the processor."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    found["cuda"] = f"{torch.version.cuda}, {cuda}" if cuda else "none"
    return found | {"platform": platform.platform(), "threads": str(torch.get_num_threads())}


def read_description(folder: Path) -> dict[str, Any] | None:
    """What `write_description` left, or None."""
    return _read(folder / RUN)


def write_result(folder: Path, result: Mapping[str, Any]) -> None:
    """Write the final numbers, which also say that the training is finished."""
    _write(folder / RESULT, result)


def read_result(folder: Path) -> dict[str, Any] | None:
    """The final numbers of a finished training, or None."""
    return _read(folder / RESULT)


def differing_options(folder: Path, options: TrainOptions, plan: Plan) -> list[str]:
    """What decides a training and differs from what the folder's was trained with, with both values."""
    there = read_description(folder)
    if there is None:
        return []
    # Through JSON, which turns tuples into lists.
    here = json.loads(json.dumps({"options": asdict(options), "plan": asdict(plan)}))
    found = [
        f"--{name.replace('_', '-')} {there['options'].get(name)} there, {value} here"
        for name, value in here["options"].items()
        if name not in PLACE and there["options"].get(name) != value
    ]
    return found or ([] if there["plan"] == here["plan"] else ["the recipe itself, which has changed since"])


class MetricsFile:
    """One row of numbers per epoch, in a CSV file that a resumed training goes on with.

    Lightning's CSVLogger starts its file anew after a resume, and would hold a column for every layer's curve.

    Args:
        file: that the rows go to.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def rows(self) -> list[dict[str, str]]:
        """The rows that are there."""
        if not self._file.exists():
            return []
        with self._file.open(newline="", encoding="utf-8") as stream:
            return list(csv.DictReader(stream))

    def cut(self, step: int) -> None:
        """Drop the rows after a step."""
        if rows := self.rows():
            self._rewrite([row for row in rows if int(row["step"]) <= step])

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row."""
        self._rewrite([*self.rows(), {name: str(value) for name, value in row.items()}])

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        names = list(dict.fromkeys(name for row in rows for name in row))
        with self._file.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, names)
            writer.writeheader()
            writer.writerows(rows)


def _write(file: Path, content: Mapping[str, Any]) -> None:
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(file)


def _read(file: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except json.JSONDecodeError as error:
        raise ValueError(f"{file} is damaged ({error}); delete the run's folder, or restore the file") from error
    return dict(found)
