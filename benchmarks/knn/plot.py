"""The figures of this benchmark as a plot: cost against the number of samples and of features."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from cells import Measurement
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator
from methods import HALF_PRODUCT, METHODS, PEERS
from report import cells_of

COLOURS = dict(zip(METHODS, ("black", *plt.get_cmap("tab10").colors), strict=False))


def draw(by_n: Sequence[Measurement], by_d: Sequence[Measurement], note: str, file: Path) -> None:
    """Seconds above, multiples of half a product below; n at the left, d at the right; both axes logarithmic."""
    figure, axes = plt.subplots(2, 2, figsize=(11, 8.5), sharex="col")
    for column, (measured, axis) in enumerate(((by_n, "n"), (by_d, "d"))):
        first = measured[0].cell
        fixed = f"{first.layer}, d = {first.d:,}" if axis == "n" else f"n = {first.n:,}"
        axes[0, column].set_title(f"{fixed}, k = {first.k}")
        curves(axes[0, column], measured, axis, relative=False)
        curves(axes[1, column], measured, axis, relative=True)
        axes[0, column].set_ylabel("seconds")
        axes[1, column].set_ylabel("multiple of half a float32 product")
        axes[1, column].set_xlabel("samples n" if axis == "n" else "features d")
        sizes = sorted({getattr(one.cell, axis) for one in measured})
        axes[1, column].set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=45)
        axes[1, column].set_xticks([], minor=True)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=5, frameon=False, bbox_to_anchor=(0.5, 0.02))
    figure.text(0.5, 0.005, note, ha="center", fontsize=8, color="grey")
    figure.tight_layout(rect=(0, 0.09, 1, 1))
    figure.savefig(file, dpi=110)
    plt.close(figure)


def curves(axes: Axes, measured: Sequence[Measurement], axis: str, relative: bool) -> None:
    """One line per method; peers dashed."""
    cells = cells_of(measured)
    for method in dict.fromkeys(one.method for one in measured):
        points = []
        for cell, row in cells.items():
            one, unit = row[method], row[HALF_PRODUCT]
            if one.seconds and (unit.seconds or not relative):
                points.append((getattr(cell, axis), one.over(unit) if relative else one.median))
        points.sort()
        style = "--" if method in PEERS else "-"
        if points:
            xs, ys = zip(*points, strict=True)
            axes.plot(
                xs,
                ys,
                style,
                linewidth=1.3 if method in PEERS else 2,
                marker="o",
                markersize=4,
                color=COLOURS[method],
                label=method,
            )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.3)
