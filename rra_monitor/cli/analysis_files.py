"""The files of `rra-monitor analyze`: curves and pairs of layers as CSV and JSON, and pictures."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from rra_monitor.capture.names import FULL, split_view
from rra_monitor.compare.tables import write_csv, write_json
from rra_monitor.figures.ratios import ratios_figure
from rra_monitor.figures.snapshot import curves_figure, nnls_figure, resolution, views_figure
from rra_monitor.measure.quantities import HEALTH
from rra_monitor.measure.snapshot import Curve, Snapshot
from rra_monitor.utils.text import Row, plain

SCHEMA = 1
"""Version of `analysis.json`."""

LETTERS = 100
"""Longest part of a probe's name in the name of a file, in characters."""


def layer_rows(snapshot: Snapshot) -> list[Row]:
    """One row of plain values for each layer; NaN where undefined, None where there is no value."""
    settings, about = snapshot.settings, {"probe": snapshot.probe, "step": snapshot.step, "epoch": snapshot.epoch}
    return [
        about
        | {
            "layer": layer,
            "id": float(snapshot.id[at]),
            "id_error": float(snapshot.id_error[at]),
            "nncs": _at(snapshot.nncs, at),
            "nncs_chance": snapshot.nncs_chance,
            "ties": float(snapshot.ties[at]),
            "zeros": float(snapshot.zeros[at]),
            "recall": float(snapshot.recall[at]),
            "hubness": float(snapshot.hubness[at]),
            "n": settings.n,
            "k": settings.k,
        }
        for at, layer in enumerate(snapshot.layers)
    ]


def pair_rows(snapshot: Snapshot) -> Iterator[Row]:
    """One row for each pair of layers; the CKA, if it was asked for, of pairs without pooled views."""
    full = [layer for layer in snapshot.layers if split_view(layer)[1] == FULL]
    place = {layer: at for at, layer in enumerate(full)}
    for a, first in enumerate(snapshot.layers):
        for b, second in enumerate(snapshot.layers):
            row: Row = {"probe": snapshot.probe, "layer_a": first, "layer_b": second}
            row |= {"nnls": float(snapshot.nnls[a, b]), "chance": snapshot.nnls_chance}
            if snapshot.cka is not None:
                both = first in place and second in place
                row["cka"] = float(snapshot.cka[place[first], place[second]]) if both else None
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
            "fingerprint": snapshot.settings.fingerprint,
            "layers": snapshot.layers,
            "id": plain(snapshot.id),
            "id_error": plain(snapshot.id_error),
            "nncs": None if snapshot.nncs is None else {"values": plain(snapshot.nncs), "chance": snapshot.nncs_chance},
            "nnls": {"values": plain(snapshot.nnls), "chance": snapshot.nnls_chance},
            "cka": None if snapshot.cka is None else plain(snapshot.cka),
            **{name: plain(curve) for name in HEALTH if (curve := getattr(snapshot, name)) is not None},
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


def _at(curve: Curve | None, at: int) -> float | None:
    return None if curve is None else float(curve[at])
