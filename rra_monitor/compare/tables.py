"""Tables of a comparison as rows of plain values, and the files that hold them."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from rra_monitor.compare.comparison import Comparison
from rra_monitor.compare.groups import Group
from rra_monitor.compare.pairs import WITHIN_RUN, Pairs
from rra_monitor.compare.settling import Settling
from rra_monitor.compare.statistics import Floats, deviation, mean
from rra_monitor.utils.text import Row, plain

SCHEMA = 1
"""Version of `comparison.json`."""


FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First characters of a formula in a spreadsheet, which may start a program."""


def curve_rows(comparison: Comparison) -> Iterator[Row]:
    """Every curve of every group, by epoch and layer: mean, standard deviation and number of runs where it is defined.

    The epoch `last` stands for the last snapshot of each run.
    """
    for group in comparison.groups.values():
        for quantity, values, chance in _curves(group):
            average, spread, count = mean(values), deviation(values), (~np.isnan(values)).sum(axis=0)
            for at, moment in enumerate(group.moments):
                for row, layer in enumerate(group.layers):
                    yield {
                        "group": group.name,
                        "probe": group.probe,
                        "epoch": moment,
                        "layer": layer,
                        "quantity": quantity,
                        "mean": float(average[at, row]),
                        "sd": float(spread[at, row]),
                        "runs": int(count[at, row]),
                        "chance": chance,
                    }


def within_run_rows(comparison: Comparison) -> Iterator[Row]:
    """NNLS of the layers of one run with each other, in the last snapshot: mean and standard deviation over runs."""
    for group in comparison.groups.values():
        average, spread = mean(group.nnls[:, -1]), deviation(group.nnls[:, -1])
        for a, layer_a in enumerate(group.layers):
            for b, layer_b in enumerate(group.layers):
                yield {
                    "group": group.name,
                    "layer_a": layer_a,
                    "layer_b": layer_b,
                    "mean": float(average[a, b]),
                    "sd": float(spread[a, b]),
                    "runs": len(group.runs),
                    "chance": group.nnls_chance,
                }


def nnls_rows(comparison: Comparison) -> Iterator[Row]:
    """Mean NNLS of every layer of one group with every layer of another, over all pairs of runs."""
    for pairs in _defined(comparison):
        matrix = pairs.mean()
        for a, layer_a in enumerate(pairs.layers_a):
            for b, layer_b in enumerate(pairs.layers_b):
                yield {
                    "group_a": pairs.a,
                    "group_b": pairs.b,
                    "layer_a": layer_a,
                    "layer_b": layer_b,
                    "mean": float(matrix[a, b]),
                    "pairs": len(pairs.runs),
                    "chance": pairs.chance,
                }


def same_layer_rows(comparison: Comparison) -> Iterator[Row]:
    """NNLS of the layers with the same name in both groups: mean and standard deviation over all pairs."""
    for pairs in _defined(comparison):
        average, spread = mean(pairs.same_layer()), pairs.same_layer_deviation()
        for row, layer in enumerate(pairs.layers_a):
            if layer in pairs.layers_b:
                yield {
                    "group_a": pairs.a,
                    "group_b": pairs.b,
                    "layer": layer,
                    "mean": float(average[row]),
                    "sd": float(spread[row]),
                    "pairs": len(pairs.runs),
                    "chance": pairs.chance,
                }


def settling_rows(runs: Sequence[Settling]) -> Iterator[Row]:
    """NNLS of each layer of each run with its own last state, by epoch."""
    for found in runs:
        for at, epoch in enumerate(found.epochs):
            for row, layer in enumerate(found.layers):
                yield {
                    "run": found.run,
                    "probe": found.probe,
                    "epoch": epoch,
                    "step": found.steps[at],
                    "layer": layer,
                    "nnls": float(found.nnls[at, row]),
                    "chance": found.chance,
                }


def comparison_as_json(comparison: Comparison, runs: Sequence[Settling] = ()) -> dict[str, Any]:
    """A comparison as plain values; undefined ones are None."""
    groups = []
    for group in comparison.groups.values():
        settings = group.settings
        curves = {name: _summary(values) | {"chance": chance} for name, values, chance in _curves(group)}
        groups.append(
            {
                "name": group.name,
                "probe": group.probe,
                "runs": group.runs,
                "n": settings.n,
                "k": settings.k,
                "metric": settings.metric,
                "estimator": settings.estimator,
                "layers": group.layers,
                "moments": group.moments,
                "last_epochs": group.last_epochs,
                **curves,
                WITHIN_RUN: _summary(group.nnls[:, -1]) | {"chance": group.nnls_chance},
            }
        )
    return {
        "schema": SCHEMA,
        "paired_at": comparison.moment,
        "groups": groups,
        "pairs": [_pairs_as_json(pairs) for pairs in comparison.pairs.values()],
        "settling": [
            {"run": found.run, "probe": found.probe, "layers": found.layers, "epochs": found.epochs}
            | {"nnls": plain(found.nnls), "chance": found.chance}
            for found in runs
        ],
        "notes": comparison.notes,
    }


def write_tables(comparison: Comparison, folder: Path, runs: Sequence[Settling] = ()) -> list[Path]:
    """Write every table as CSV and all of it as JSON; returns the files. Earlier files are replaced.

    Undefined values are empty in the CSV and null in the JSON; a table without rows has no file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tables = {
        "curves": curve_rows(comparison),
        "within_run": within_run_rows(comparison),
        "nnls": nnls_rows(comparison),
        "same_layer": same_layer_rows(comparison),
        "settling": settling_rows(runs),
    }
    files = [file for name, table in tables.items() if (file := write_csv(folder / f"{name}.csv", table))]
    return [*files, write_json(folder / "comparison.json", comparison_as_json(comparison, runs))]


def write_csv(file: Path, rows: Iterable[Row]) -> Path | None:
    """Write rows of one form as they come; None, and no file, where there are none.

    Names come from files. One that a spreadsheet would take for a formula gets an apostrophe before it.
    """
    rows = iter(rows)
    first = next(rows, None)
    if first is None:
        file.unlink(missing_ok=True)
        return None
    with file.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(first))
        writer.writeheader()
        writer.writerows({key: _csv_cell(value) for key, value in row.items()} for row in chain([first], rows))
    return file


def write_json(file: Path, content: Mapping[str, Any]) -> Path:
    """Write plain values; NaN is refused. Halves of surrogate pairs, in a path for example, are preserved."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    file.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    return file


def _csv_cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else plain(value)


def _curves(group: Group) -> list[tuple[str, Floats, float | None]]:
    """Name, values (R, E + 1, L) and chance level of each curve of a group."""
    return [(one.name, group.curves[one.name], group.chances.get(one.name)) for one in group.quantities]


def _defined(comparison: Comparison) -> list[Pairs]:
    return [pairs for pairs in comparison.pairs.values() if pairs.comparable]


def _pairs_as_json(pairs: Pairs) -> dict[str, Any]:
    about: dict[str, Any] = {"a": pairs.a, "b": pairs.b, "layers_a": pairs.layers_a, "layers_b": pairs.layers_b}
    about |= {"pairs": len(pairs.runs), "chance": pairs.chance, "refused": dict(pairs.refused)}
    if not pairs.comparable:
        return about | {"nnls": None, "same_layer": None}
    same = {"mean": plain(mean(pairs.same_layer())), "sd": plain(pairs.same_layer_deviation())}
    return about | {"nnls": plain(pairs.mean()), "same_layer": same}


def _summary(values: Floats) -> dict[str, Any]:
    return {"mean": plain(mean(values)), "sd": plain(deviation(values))}
