"""The files of `rra-monitor analyze`: curves and pairs of layers as CSV and JSON, and pictures."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from rra_monitor.curves import HEALTH
from rra_monitor.figures import curves_figure, nnls_figure, views_figure
from rra_monitor.names import FULL, split_view
from rra_monitor.ratios_figure import ratios_figure
from rra_monitor.snapshot import Curve, Snapshot
from rra_monitor.tables import Row, plain

SCHEMA = 1
"""Version of `analysis.json`."""


def layer_rows(snapshot: Snapshot) -> list[Row]:
    """One row of plain values for each layer; NaN where undefined, None where there is no value."""
    settings, about = snapshot.settings, {"probe": snapshot.probe, "step": snapshot.step, "epoch": snapshot.epoch}
    return [
        about
        | {
            "layer": layer,
            "id": float(snapshot.id[at]),
            "id_error": _at(snapshot.id_error, at),
            "nncs": _at(snapshot.nncs, at),
            "nncs_chance": snapshot.nncs_chance,
            "ties": float(snapshot.ties[at]),
            "zeros": float(snapshot.zeros[at]),
            "recall": float(snapshot.recall[at]),
            "hubness": _at(snapshot.hubness, at),
            "n": settings.n,
            "k": settings.k,
        }
        for at, layer in enumerate(snapshot.layers)
    ]


def pair_rows(snapshot: Snapshot) -> list[Row]:
    """One row for each pair of layers; the CKA, where it was asked for, of pairs without pooled views."""
    full = [layer for layer in snapshot.layers if split_view(layer)[1] == FULL]
    place = {layer: at for at, layer in enumerate(full)}
    rows = []
    for a, first in enumerate(snapshot.layers):
        for b, second in enumerate(snapshot.layers):
            row: Row = {"probe": snapshot.probe, "layer_a": first, "layer_b": second}
            row |= {"nnls": float(snapshot.nnls[a, b]), "chance": snapshot.nnls_chance}
            if snapshot.cka is not None:
                both = first in place and second in place
                row["cka"] = float(snapshot.cka[place[first], place[second]]) if both else None
            rows.append(row)
    return rows


def write_analysis(snapshots: Sequence[Snapshot], folder: Path) -> list[Path]:
    """Write `layers.csv`, `layer_pairs.csv` and `analysis.json`; undefined values are empty, or null."""
    folder.mkdir(parents=True, exist_ok=True)
    tables: dict[str, Callable[[Snapshot], list[Row]]] = {"layers": layer_rows, "layer_pairs": pair_rows}
    files = []
    for name, rows_of in tables.items():
        rows = [row for snapshot in snapshots for row in rows_of(snapshot)]
        files.append(folder / f"{name}.csv")
        with files[-1].open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows({key: plain(value) for key, value in row.items()} for row in rows)
    found = [
        {
            "probe": snapshot.probe,
            "step": snapshot.step,
            "epoch": snapshot.epoch,
            "n": snapshot.settings.n,
            "k": snapshot.settings.k,
            "metric": snapshot.settings.metric,
            "fingerprint": snapshot.settings.fingerprint,
            "layers": snapshot.layers,
            "id": plain(snapshot.id),
            "id_error": None if snapshot.id_error is None else plain(snapshot.id_error),
            "nncs": None if snapshot.nncs is None else {"values": plain(snapshot.nncs), "chance": snapshot.nncs_chance},
            "nnls": {"values": plain(snapshot.nnls), "chance": snapshot.nnls_chance},
            "cka": None if snapshot.cka is None else plain(snapshot.cka),
            **{name: plain(curve) for name in HEALTH if (curve := getattr(snapshot, name)) is not None},
            "aliases": dict(snapshot.aliases),
        }
        for snapshot in snapshots
    ]
    files.append(folder / "analysis.json")
    text = json.dumps({"schema": SCHEMA, "snapshots": found}, indent=1, ensure_ascii=False, allow_nan=False)
    files[-1].write_text(text + "\n", encoding="utf-8")
    return files


def pictures(snapshots: Sequence[Snapshot], folder: Path) -> list[Path]:
    """Draw `<probe>-curves.png`, `-nnls.png`, `-ratios.png` (Fig. 5.1) and, of several views, `-views.png`."""
    files = []
    for snapshot in snapshots:
        figures = {"curves": curves_figure(snapshot), "nnls": nnls_figure(snapshot, {})}
        figures["ratios"] = ratios_figure(snapshot)
        if len(snapshot.settings.views) > 1:
            figures["views"] = views_figure(snapshot)
        for name, figure in figures.items():
            files.append(folder / f"{snapshot.probe}-{name}.png")
            figure.savefig(files[-1], dpi=150)
    return files


def _at(curve: Curve | None, at: int) -> float | None:
    return None if curve is None else float(curve[at])
