"""Pictures of a snapshot: curves over the layers and heatmaps of layer similarity. Needs matplotlib."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from rra_monitor.record import PREVIOUS, Match
from rra_monitor.snapshot import Curve, Snapshot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INCHES_PER_LAYER = 0.24
FAINT, BOLD, CHANCE = "#9aa5b1", "#1f5fa8", "#b0413e"


def curves_figure(snapshot: Snapshot, first: Snapshot | None = None) -> "Figure":
    """ID and NNCS over the layers, with the chance level of NNCS and, faintly, the first snapshot of the run."""
    figure = _figure(max(6.4, 1.6 + INCHES_PER_LAYER * len(snapshot.layers)), 6.0)
    panels = [("intrinsic dimension (ID)", "id")] + ([("class similarity (NNCS)", "nncs")] if snapshot.nncs is not None else [])
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    where = np.arange(len(snapshot.layers))
    for axis, (title, name) in zip(axes, panels, strict=True):
        if first is not None and first.layers == snapshot.layers and first.step != snapshot.step:
            axis.plot(where, getattr(first, name), "o-", color=FAINT, markersize=3, label=f"epoch {first.epoch}")
        axis.plot(where, getattr(snapshot, name), "o-", color=BOLD, markersize=4, label=f"epoch {snapshot.epoch}")
        if name == "nncs" and snapshot.nncs_chance is not None:
            axis.axhline(snapshot.nncs_chance, color=CHANCE, linestyle=":", label="chance")
            axis.set_ylim(0, 1.02)
        else:
            axis.set_ylim(bottom=0)
        axis.set_ylabel(title)
        axis.grid(alpha=0.3)
        axis.legend(frameon=False, fontsize=8)
    _name_ticks(axes[-1], snapshot.layers, "x")
    figure.suptitle(f"{snapshot.probe}: n = {snapshot.settings.n}, k = {snapshot.settings.k}", fontsize=10)
    return figure


def nnls_figure(snapshot: Snapshot, matches: Mapping[str, Match]) -> "Figure":
    """NNLS heatmaps side by side, 0 to 1: with itself, the previous snapshot, and each reference."""
    panels: list[tuple[str, tuple[str, ...], Curve]] = [
        (f"with itself, epoch {snapshot.epoch}", snapshot.layers, snapshot.nnls)
    ]
    for name, match in matches.items():
        other = "previous" if name == PREVIOUS else name.removeprefix("ref-")
        panels.append((f"with {other}, epoch {match.epoch}", match.layers, match.nnls))
    side = max(3.2, INCHES_PER_LAYER * len(snapshot.layers))
    figure = _figure(side * len(panels) + 1.8, side + 1.6)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (title, layers, matrix) in zip(axes, panels, strict=True):
        image = axis.imshow(matrix, vmin=0, vmax=1, cmap="viridis")
        axis.set_title(title, fontsize=10)
        _name_ticks(axis, layers, "x")
        _name_ticks(axis, snapshot.layers if axis is axes[0] else ("",) * len(snapshot.layers), "y")
    figure.colorbar(image, ax=list(axes), label="NNLS", shrink=0.8)
    chance = f"chance {snapshot.nnls_chance:.3f}"
    figure.suptitle(f"{snapshot.probe}: layer similarity (NNLS), {chance}; rows are this snapshot's layers", fontsize=10)
    return figure


def _figure(width: float, height: float) -> "Figure":
    # A figure of its own, not pyplot's: nothing global is touched in the process that trains.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _name_ticks(axis: "Axes", layers: tuple[str, ...], which: str) -> None:
    where = np.arange(len(layers))
    if which == "x":
        axis.set_xticks(where, layers, rotation=90, fontsize=7)
    else:
        axis.set_yticks(where, layers, fontsize=7)
