"""Pictures of a snapshot: curves over the layers and heatmaps of layer similarity. Needs matplotlib."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from rra_monitor.record import PREVIOUS, Match
from rra_monitor.snapshot import Curve, Snapshot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INCH_PER_LAYER = 0.24
INCH_PER_LETTER = 0.065
FAINT, BOLD, CHANCE = "#9aa5b1", "#1f5fa8", "#b0413e"


def curves_figure(snapshot: Snapshot, first: Snapshot | None = None) -> "Figure":
    """ID and NNCS over the layers, with the chance level of NNCS and, faintly, an earlier snapshot."""
    panels = [("intrinsic dimension (ID)", "id")] + (
        [("class similarity (NNCS)", "nncs")] if snapshot.nncs is not None else []
    )
    names, left = _letters(snapshot.layers), 0.7
    width, height = max(6.4, 1.6 + INCH_PER_LAYER * len(snapshot.layers)), 2.5 * len(panels)
    figure, axes = _panels(width, height, len(panels), 1, left=left, right=0.15, bottom=names, top=0.35, gap=0.15)
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
        axis.set_ylabel(title, fontsize=9)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.3)
        axis.set_xticks(where, snapshot.layers if axis is axes[-1] else [""] * len(where), rotation=90, fontsize=7)
    title = f"{snapshot.probe}: n = {snapshot.settings.n}, k = {snapshot.settings.k}"
    figure.suptitle(title, x=left / figure.get_figwidth(), ha="left", fontsize=10)
    figure.legend(*axes[-1].get_legend_handles_labels(), loc="upper right", ncols=3, frameon=False, fontsize=8)
    return figure


def nnls_figure(snapshot: Snapshot, matches: Mapping[str, Match]) -> "Figure":
    """NNLS heatmaps side by side, 0 to 1: with itself, the previous snapshot, and each reference."""
    panels: list[tuple[str, tuple[str, ...], Curve]] = [
        (f"with itself, epoch {snapshot.epoch}", snapshot.layers, snapshot.nnls)
    ]
    for name, match in matches.items():
        other = "previous" if name == PREVIOUS else name.removeprefix("ref-")
        panels.append((f"with {other}, epoch {match.epoch}", match.layers, match.nnls))
    side = max(2.8, INCH_PER_LAYER * len(snapshot.layers))
    names = max(_letters(layers) for _, layers, _ in panels)
    figure, axes = _panels(
        side * len(panels), side, 1, len(panels), left=names, right=0.8, bottom=names, top=0.65, gap=0.15
    )
    for axis, (title, layers, matrix) in zip(axes, panels, strict=True):
        image = axis.imshow(matrix, vmin=0, vmax=1, cmap="viridis", aspect="auto")
        axis.set_title(title, fontsize=9)
        axis.set_xticks(np.arange(len(layers)), layers, rotation=90, fontsize=7)
        rows = snapshot.layers if axis is axes[0] else [""] * len(snapshot.layers)
        axis.set_yticks(np.arange(len(snapshot.layers)), rows, fontsize=7)
    box = axes[-1].get_position()
    bar = figure.add_axes((box.x1 + 0.15 / figure.get_figwidth(), box.y0, 0.12 / figure.get_figwidth(), box.height))
    figure.colorbar(image, cax=bar).ax.tick_params(labelsize=7)
    chance = f"chance {snapshot.nnls_chance:.3f}"
    figure.suptitle(
        f"{snapshot.probe}: layer similarity (NNLS, {chance}); rows are this snapshot's layers", fontsize=10
    )
    return figure


def _panels(
    width: float,
    height: float,
    rows: int,
    columns: int,
    left: float,
    right: float,
    bottom: float,
    top: float,
    gap: float,
) -> tuple["Figure", list["Axes"]]:
    """A figure whose panels take width by height inches, with margins and gaps in inches.

    Margins are computed, since matplotlib's own layout engines draw everything twice. It is a figure of its own, not
    pyplot's: nothing global is touched in the process that trains.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    wide, high = width + left + right + gap * (columns - 1), height + bottom + top + gap * (rows - 1)
    figure = Figure(figsize=(wide, high))
    FigureCanvasAgg(figure)
    figure.subplots_adjust(
        left=left / wide,
        right=1 - right / wide,
        bottom=bottom / high,
        top=1 - top / high,
        wspace=gap * columns / width,
        hspace=gap * rows / height,
    )
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def _letters(layers: tuple[str, ...]) -> float:
    """Inches that the longest name takes."""
    return 0.15 + INCH_PER_LETTER * max(map(len, layers))
