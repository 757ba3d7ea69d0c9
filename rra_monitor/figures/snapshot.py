"""Pictures of a snapshot: curves over the layers and heatmaps of layer similarity. Needs matplotlib."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rra_monitor.capture.names import FULL, displayed, split_view
from rra_monitor.measure.match import Match, other_of
from rra_monitor.measure.quantity import Quantity
from rra_monitor.measure.settings import Curve
from rra_monitor.measure.snapshot import Snapshot
from rra_monitor.utils.text import PICTURED_LETTERS, in_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INCH_PER_LAYER = 0.24
INCH_PER_LETTER = 0.065
LEGEND_COLUMNS = 4
NAMED = 400
"""Largest number of layer names at an axis; of more, some are left out evenly."""

DOTS, PIXELS, SIDE = 150, 40_000_000, 60_000
"""Dots per inch of a picture, and its largest number of pixels, in all and along a side."""

FAINT, BOLD, CHANCE = "#9aa5b1", "#1f5fa8", "#b0413e"

Panel = tuple[str, tuple[str, ...], tuple[str, ...], Curve]
"""A heatmap: its title, the names of its rows and of its columns, the values."""


def curves_figure(snapshot: Snapshot, first: Snapshot | None = None) -> "Figure":
    """The main quantities over the layers, with their chance levels and, faintly, an earlier snapshot.

    Pooled views are thinner lines in colours of their own. Where near-duplicates rule the ID, its censored estimate is
    a thin dashed line.
    """
    panels = snapshot.main()
    chances = snapshot.chances()
    layers = snapshot.view().layers
    shown = displayed(layers)
    names, left = _letters(shown), 0.7
    width, height = max(6.4, 1.6 + INCH_PER_LAYER * len(layers)), 2.5 * len(panels)
    more = sum(len(_beside(snapshot, quantity)) for quantity, _ in panels)
    legend = ceil((2 + len(snapshot.settings.views) + more) / LEGEND_COLUMNS)
    top = 0.15 + 0.2 * legend
    figure, axes = _panels(width, height, len(panels), 1, left=left, right=0.15, bottom=names, top=top, gap=0.15)
    where = np.arange(len(layers))
    for axis, (quantity, curve) in zip(axes, panels, strict=True):
        if first is not None and _before(first, snapshot) and quantity.name in first.curves:
            earlier = first.curves[quantity.name][first.view().indices]
            axis.plot(where, earlier, "o-", color=FAINT, markersize=3, label=f"epoch {first.epoch}")
        full = curve[snapshot.view().indices]
        axis.plot(where, full, "o-", color=BOLD, markersize=4, label=f"epoch {snapshot.epoch}")
        for second, values in _beside(snapshot, quantity):
            axis.plot(where, values, ".--", color=BOLD, linewidth=0.9, markersize=3, label=second.symbol)
        for number, view in enumerate(snapshot.settings.views):
            if view != FULL:
                rows = snapshot.view(view)
                at = [layers.index(layer) for layer in rows.layers]
                axis.plot(
                    at,
                    curve[rows.indices],
                    ".-",
                    color=f"C{number}",
                    linewidth=0.9,
                    markersize=3,
                    label=in_picture(view),
                )
        if quantity.name in chances:
            axis.axhline(chances[quantity.name], color=CHANCE, linestyle=":", label="chance")
        if quantity.fraction:
            axis.set_ylim(0, 1.02)
        elif quantity.low >= 0:
            axis.set_ylim(bottom=0)
        axis.set_ylabel(quantity.phrase, fontsize=9)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.3)
        axis.set_xticks(*_ticks(shown if axis is axes[-1] else [""] * len(where)), rotation=90, fontsize=7)
    title = f"{in_picture(snapshot.probe)}: n = {snapshot.settings.n}, k = {snapshot.settings.k}"
    figure.suptitle(title, x=left / figure.get_figwidth(), ha="left", fontsize=10)
    handles, labels = _legend(axes)
    figure.legend(handles, labels, loc="upper right", ncols=LEGEND_COLUMNS, frameon=False, fontsize=8)
    return figure


def _beside(snapshot: Snapshot, quantity: Quantity) -> list[tuple[Quantity, Curve]]:
    """What is drawn in the panel of a quantity, too: curves of full views, where another curve is above 0 in some."""
    rows = snapshot.view().indices
    measured = {one.name: curve[rows] for one, curve in snapshot.measured()}
    found = [one for one, _ in snapshot.measured() if one.beside == quantity.name]
    return [(one, measured[one.name]) for one in found if np.any(measured.get(one.beside_where, np.zeros(1)) > 0)]


def _before(first: Snapshot, snapshot: Snapshot) -> bool:
    """Whether the first snapshot is another one, of the same layers."""
    return first.layers == snapshot.layers and first.step != snapshot.step


def _legend(axes: Sequence["Axes"]) -> tuple[list[Any], list[str]]:
    """Handles and labels of all panels, each label once."""
    found: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    return list(found.values()), list(found)


def nnls_figure(snapshot: Snapshot, matches: Mapping[str, Match]) -> "Figure":
    """NNLS heatmaps side by side, 0 to 1: with itself, the previous snapshot, and each reference. Full views alone."""
    full = snapshot.view()
    layers = displayed(full.layers)
    panels = [(f"with itself, epoch {snapshot.epoch}", layers, layers, snapshot.intra(FULL))]
    for name, match in matches.items():
        columns = np.array([at for at, layer in enumerate(match.layers) if split_view(layer)[1] == FULL], dtype=np.intp)
        names = displayed([match.layers[column] for column in columns])
        title = f"with {other_of(name)}, epoch {match.epoch}"
        panels.append((title, layers, names, match.nnls[np.ix_(full.indices, columns)]))
    return _heatmaps(snapshot, panels, "rows are this snapshot's layers")


def views_figure(snapshot: Snapshot) -> "Figure":
    """Each pooled view's NNLS heatmaps, 0 to 1: with itself above, of the full view with it below (Eq. 6.1)."""
    full = snapshot.view().layers
    layers, pooled = displayed(full), [view for view in snapshot.settings.views if view != FULL]
    named = dict(zip(full, layers, strict=True))
    of_view = {view: tuple(named[layer] for layer in snapshot.view(view).layers) for view in pooled}
    intra = [(f"{view} with {view}", of_view[view], of_view[view], snapshot.intra(view)) for view in pooled]
    inter = [(f"full (rows) with {view}", layers, of_view[view], snapshot.inter(view)) for view in pooled]
    return _heatmaps(snapshot, intra + inter, f"epoch {snapshot.epoch}", lines=2)


def montage(snapshot: Snapshot, matches: Mapping[str, Match], first: Snapshot | None = None) -> npt.NDArray[np.uint8]:
    """Everything above in one picture (height, width, 3): the curves, the heatmaps and, of several views, theirs."""
    figures = [curves_figure(snapshot, first), nnls_figure(snapshot, matches)]
    if len(snapshot.settings.views) > 1:
        figures.append(views_figure(snapshot))
    pictures = [_pixels(figure) for figure in figures]
    width = max(picture.shape[1] for picture in pictures)
    # White to the right of the narrower ones.
    wide = [
        np.pad(picture, ((0, 0), (0, width - picture.shape[1]), (0, 0)), constant_values=255) for picture in pictures
    ]
    return np.concatenate(wide)


def _pixels(figure: "Figure") -> npt.NDArray[np.uint8]:
    """(height, width, 3) of a drawn figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(min(figure.get_dpi(), resolution(figure)))
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def _heatmaps(snapshot: Snapshot, panels: Sequence[Panel], about: str, lines: int = 1) -> "Figure":
    """Panels under one scale, in one line with the names of the rows at the first, or in several with names at each."""
    side, across = max(2.8, INCH_PER_LAYER * len(snapshot.view().layers)), len(panels) // lines
    names = max(_letters(rows + columns) for _, rows, columns, _ in panels)
    gap = 0.15 if lines == 1 else names + 0.25
    figure, axes = _panels(
        side * across, side * lines, lines, across, left=names, right=0.8, bottom=names, top=0.65, gap=gap
    )
    for axis, (title, rows, columns, matrix) in zip(axes, panels, strict=True):
        image = axis.imshow(matrix, vmin=0, vmax=1, cmap="viridis", aspect="auto")
        axis.set_title(in_picture(title), fontsize=9)
        axis.set_xticks(*_ticks(columns), rotation=90, fontsize=7)
        axis.set_yticks(*_ticks(rows if axis is axes[0] or lines > 1 else [""] * len(rows)), fontsize=7)
    box = axes[-1].get_position()
    bar = figure.add_axes((box.x1 + 0.15 / figure.get_figwidth(), box.y0, 0.12 / figure.get_figwidth(), box.height))
    figure.colorbar(image, cax=bar).ax.tick_params(labelsize=7)
    chance = f"chance {snapshot.nnls_chance:.3f}"
    wide, high = figure.get_size_inches()
    title = f"{in_picture(snapshot.probe)}: layer similarity (NNLS, {chance}); {about}"
    figure.suptitle(title, x=names / wide, y=1 - 0.1 / high, ha="left", fontsize=10)
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

    Margins are computed, because matplotlib's layout engines draw everything twice. The figure does not belong to
    pyplot, so nothing global changes in the process that trains.
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


def resolution(figure: "Figure") -> float:
    """Dots per inch at which a figure has at most `PIXELS`, and `SIDE` along its longer side."""
    wide, high = figure.get_size_inches()
    return float(min(DOTS, (PIXELS / (wide * high)) ** 0.5, SIDE / max(wide, high)))


def _ticks(names: Sequence[str]) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Positions and names at an axis."""
    step = max(1, ceil(len(names) / NAMED))
    return np.arange(0, len(names), step), [in_picture(name) for name in names[::step]]


def _letters(layers: tuple[str, ...]) -> float:
    """Inches that the longest name takes."""
    return 0.15 + INCH_PER_LETTER * min(max(map(len, layers)), PICTURED_LETTERS)
