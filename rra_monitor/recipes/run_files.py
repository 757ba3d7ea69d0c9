"""Files in the folder of a training besides checkpoints and snapshots: writing and reading them."""

import csv
import importlib.metadata
import io
import json
import os
import platform
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from rra_monitor.recipes.described import checked_description, fits
from rra_monitor.recipes.options import PLACE
from rra_monitor.recipes.plan import TrainingPlan

CONFIG, RUN, RESULT, METRICS = "config.json", "run.json", "result.json", "metrics.csv"
CHECKPOINT = Path("checkpoints", "last.ckpt")
ACCURACIES = ("train_accuracy", "val_accuracy")

LONGEST_STEP = 19
"""Number of digits."""

MOST_BYTES = 16 << 20
"""Largest file that is read. A description of 1,000 classes has 30 kB."""

IN_WORDS = frozenset({"source", "accuracy", "deviation", "note"})
"""Fields of a recipe that no training depends on."""

PACKAGES = ("rra-monitor", "torch", "torchvision", "lightning", "torchmetrics", "numpy", "pynndescent", "scikit-learn")


def write_description(folder: Path, plan: TrainingPlan, **facts: Any) -> None:
    """Write the options, for `rra-monitor train --config`, and the resulting settings, with the versions."""
    folder.mkdir(parents=True, exist_ok=True)
    described = _described(plan)
    _write(
        folder / CONFIG,
        {name: value for name, value in described["options"].items() if name not in ("resume", "seeds")},
    )
    _write(folder / RUN, {**described, **facts, "versions": versions()})


def _described(plan: TrainingPlan) -> dict[str, Any]:
    """The options, and what follows from them."""
    values = asdict(plan)
    return {"options": values.pop("options"), "plan": values}


def versions() -> dict[str, str]:
    """Versions of Python, the relevant packages and CUDA, and the processor."""
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
    """The description written by `write_description`, or None.

    Raises:
        ValueError: see `checked_description`.
    """
    found = _read(folder / RUN)
    return None if found is None else checked_description(found, folder / RUN)


def write_result(folder: Path, result: Mapping[str, Any]) -> None:
    """Write the final numbers, which also say that the training is finished."""
    _write(folder / RESULT, result)


def read_result(folder: Path) -> dict[str, Any] | None:
    """The final numbers of a finished training, or None.

    Raises:
        ValueError: a file without such numbers.
    """
    found = _read(folder / RESULT)
    if found is not None and (wrong := [name for name in ACCURACIES if not fits(found.get(name), float)]):
        raise ValueError(
            f"{folder / RESULT} is damaged ({wrong[0]} is {found.get(wrong[0])!r:.80}, expected a number); delete the "
            "run's folder, or restore the file"
        )
    return found


def refuse_links_out(folder: Path) -> None:
    """Refuse a run's folder with links that lead out of it: writing through them would change other files.

    Raises:
        ValueError: the first such link.
    """
    for within in (folder, folder / CHECKPOINT.parent):
        for entry in sorted(within.iterdir()) if within.is_dir() else ():
            _refuse_a_way_out(entry, folder)


def differing_options(folder: Path, plan: TrainingPlan) -> list[str]:
    """The settings that differ from those of the training in the folder, with both values."""
    there = read_description(folder)
    if there is None:
        return []
    # Through JSON, which turns tuples into lists.
    here = json.loads(json.dumps(_described(plan)))
    found = [
        f"--{name.replace('_', '-')} {there['options'].get(name)!s:.200} there, {value!s:.200} here"
        for name, value in here["options"].items()
        if name not in PLACE and there["options"].get(name) != value
    ]
    return found or [
        f"the recipe itself, which has changed since ({change})" for change in _changes(there["plan"], here["plan"])
    ]


def _changes(there: Any, here: Any, name: str = "plan") -> Iterator[str]:
    """What differs, down to single values."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in (key for key in there | here if key not in IN_WORDS):
            yield from _changes(there.get(key), here.get(key), f"{name}.{key}")
    elif there != here:
        yield f"{name}: {there!s:.200} there, {here!s:.200} here"


class MetricsFile:
    """One row of numbers per epoch, in a CSV file that a resumed training continues.

    Lightning's CSVLogger starts a new file after a resume, and would have a column for every layer's curve.
    If the file cannot be written (a full disk), there is a warning; training goes on, and the next row writes it whole.

    Args:
        file: file of the rows.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._rows: list[dict[str, str]] = []

    def cut(self, step: int) -> None:
        """Continue with the rows of the file up to a step; later and truncated rows are dropped."""
        there = _rows(self._file)
        self._rows = [row for row in there if int(row["step"]) <= step]
        if self._rows != there:
            self._rewrite()

    def rows(self) -> list[dict[str, str]]:
        """The rows that the file holds."""
        return _rows(self._file)

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row."""
        self._rows.append({name: str(value) for name, value in row.items()})
        self._rewrite()

    def _rewrite(self) -> None:
        names = list(dict.fromkeys(name for row in self._rows for name in row))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, names)
        writer.writeheader()
        writer.writerows(self._rows)
        try:
            _replace(self._file, text.getvalue())
        except OSError as error:
            warnings.warn(f"{self._file} lacks its last row; training goes on: {error!r}", stacklevel=3)


def _rows(file: Path) -> list[dict[str, str]]:
    """The complete rows of a file of numbers; none without a file."""
    # A machine that went down may have left half a line, or zeros in the place of one.
    text = (_text(file) or "").replace("\0", "")
    rows = csv.DictReader(text[: text.rfind("\n") + 1].splitlines())
    try:
        return [row for row in rows if None not in row and None not in row.values() and _is_step(row.get("step", ""))]
    except csv.Error as error:
        raise ValueError(f"{file} is damaged ({error}); delete it, the training goes on without its rows") from error


def _is_step(text: str) -> bool:
    return text.isdecimal() and len(text) < LONGEST_STEP


def _write(file: Path, content: Mapping[str, Any]) -> None:
    _replace(file, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _replace(file: Path, text: str) -> None:
    """Write a file as a whole or not at all."""
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    try:
        # A link that lies there is not followed.
        partial.unlink(missing_ok=True)
        with partial.open("x", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            stream.write(text)
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def _read(file: Path) -> dict[str, Any] | None:
    """The object in a file of JSON; None without a file."""
    text = _text(file)
    if text is None:
        return None
    try:
        found = json.loads(text)
    # ValueError: also numbers of too many digits. RecursionError: brackets within brackets.
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is damaged ({error}); delete the run's folder, or restore the file") from error
    if not isinstance(found, dict):
        raise ValueError(f"{file} is damaged (a {type(found).__name__} in place of an object); restore it")
    return found


def _text(file: Path) -> str | None:
    """The text of a file of a run; None if there is none.

    Raises:
        ValueError: not a regular file, one that is too large, or a link out of the folder.
    """
    if not file.exists():
        return None
    _refuse_a_way_out(file, file.parent)
    if not file.is_file():
        raise ValueError(f"{file} is no file; delete it")
    if (size := file.stat().st_size) > MOST_BYTES:
        raise ValueError(f"{file} has {size} bytes, expected at most {MOST_BYTES}; restore or delete it")
    return file.read_bytes().decode(errors="replace")


def _refuse_a_way_out(path: Path, folder: Path) -> None:
    # realpath, and not resolve, which fails for a link to itself.
    if path.is_symlink() and not Path(place := os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise ValueError(f"{path} is a link out of the run's folder, to {place}; put there what it leads to")
