"""The files of `rra-monitor analyze`: curves and pairs of layers as CSV and JSON, and pictures."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from rra_monitor.capture.names import FULL, split_view
from rra_monitor.compare.tables import write_csv, write_json
from rra_monitor.figures.ratios import ratios_figure
from rra_monitor.figures.snapshot import curves_figure, nnls_figure, resolution, views_figure
from rra_monitor.measure.quantity import Quantity
from rra_monitor.measure.snapshot import Snapshot
from rra_monitor.utils.text import Row, plain

SCHEMA = 1
"""Version of `analysis.json`."""

LETTERS = 100
"""Longest part of a probe's name in the name of a file, in characters."""


def layer_rows(snapshot: Snapshot) -> list[Row]:
    """One row of plain values for each layer; NaN where undefined, None where there is no value."""
    chances = snapshot.chances()
    settings, about = snapshot.settings, {"probe": snapshot.probe, "step": snapshot.step, "epoch": snapshot.epoch}
    return [
        about
        | {
            "layer": layer,
            **_values(snapshot, at, chances),
            "n": settings.n,
            "k": settings.k,
            "estimator": settings.estimator,
        }
        for at, layer in enumerate(snapshot.layers)
    ]


def pair_rows(snapshot: Snapshot) -> Iterator[Row]:
    """One row for each pair of layers; None where a quantity is not of pooled views."""
    full = [layer for layer in snapshot.layers if split_view(layer)[1] == FULL]
    place = {layer: at for at, layer in enumerate(full)}
    chance = snapshot.nnls_chance
    for a, first in enumerate(snapshot.layers):
        for b, second in enumerate(snapshot.layers):
            row: Row = {"probe": snapshot.probe, "layer_a": first, "layer_b": second}
            for quantity in snapshot.quantities:
                if quantity.name in snapshot.matrices:
                    values = snapshot.matrices[quantity.name]
                    whole = len(values) == len(snapshot.layers)
                    places = (a, b) if whole else (place.get(first), place.get(second))
                    row[quantity.name] = None if None in places else float(values[places])
            row["chance"] = chance
            yield row


def write_analysis(snapshots: Sequence[Snapshot], folder: Path) -> list[Path]:
    """Write `layers.csv`, `layer_pairs.csv` and `analysis.json`; undefined values are empty, or null."""
    folder.mkdir(parents=True, exist_ok=True)
    tables: dict[str, Callable[[Snapshot], Iterable[Row]]] = {"layers": layer_rows, "layer_pairs": pair_rows}
    written = [
        write_csv(folder / f"{name}.csv", chain.from_iterable(map(rows_of, snapshots)))
        for name, rows_of in tables.items()
    ]
    found = [
        {
            "probe": snapshot.probe,
            "step": snapshot.step,
            "epoch": snapshot.epoch,
            "n": snapshot.settings.n,
            "k": snapshot.settings.k,
            "metric": snapshot.settings.metric,
            "estimator": snapshot.settings.estimator,
            "fingerprint": snapshot.settings.fingerprint,
            "layers": snapshot.layers,
            **{one.name: _as_json(snapshot, one) for one in snapshot.quantities},
            "aliases": dict(snapshot.aliases),
        }
        for snapshot in snapshots
    ]
    written.append(write_json(folder / "analysis.json", {"schema": SCHEMA, "snapshots": found}))
    return [file for file in written if file is not None]


def pictures(snapshots: Sequence[Snapshot], folder: Path) -> list[Path]:
    """Draw `<probe>-curves.png`, `-nnls.png`, `-ratios.png` (Fig. 5.1) and, with several views, `-views.png`."""
    files = []
    for snapshot in snapshots:
        figures = {"curves": curves_figure(snapshot), "nnls": nnls_figure(snapshot, {})}
        figures["ratios"] = ratios_figure(snapshot)
        if len(snapshot.settings.views) > 1:
            figures["views"] = views_figure(snapshot)
        for name, figure in figures.items():
            files.append(folder / f"{_file_name(snapshot.probe)}-{name}.png")
            figure.savefig(files[-1], dpi=resolution(figure))
    return files


def _file_name(probe: str) -> str:
    """A probe's name as the beginning of a file's; names that a `Monitor` accepts are unchanged."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", probe)[:LETTERS]


def _values(snapshot: Snapshot, at: int, chances: Mapping[str, float]) -> Row:
    """The values of one layer by quantity, a chance level after its quantity; None without labels."""
    row = Row()
    for one in snapshot.quantities:
        if not one.of_pairs:
            row[one.name] = float(snapshot.curves[one.name][at]) if one.name in snapshot.curves else None
            if one.chance is not None:
                row[f"{one.name}_chance"] = chances.get(one.name)
    return row


def _as_json(snapshot: Snapshot, quantity: Quantity) -> Any:
    """The values of a quantity, with its chance level if it has one; None where it was not measured."""
    values = (snapshot.matrices if quantity.of_pairs else snapshot.curves).get(quantity.name)
    if values is None or quantity.chance is None:
        return None if values is None else plain(values)
    return {"values": plain(values), "chance": quantity.chance_for(snapshot.settings)}
