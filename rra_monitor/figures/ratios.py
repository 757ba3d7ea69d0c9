"""The picture of Fig. 5.1: the ratios r2 / r1 of each layer beside the distribution that TwoNN assumes."""

from math import ceil
from typing import TYPE_CHECKING

from rra_monitor.capture.names import displayed
from rra_monitor.measure.snapshot import Snapshot
from rra_monitor.metrics import ratio_histogram
from rra_monitor.utils.text import in_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 5

PANELS = 600
"""Largest number of layers and views drawn; of more, some are left out evenly."""

SEEN, ASSUMED = "#9aa5b1", "#b0413e"


def ratios_figure(snapshot: Snapshot) -> "Figure":
    """One panel per layer and view: the histogram of r2 / r1 from 1 to 1.05, and the Pareto density of the same ID.

    Where the line departs from the bars, near-duplicates or a mixture of dimensions bias the ID.

    Args:
        snapshot: a snapshot with graphs.
    """
    from matplotlib.figure import Figure

    step = ceil(len(snapshot.layers) / PANELS)
    layers, shown = snapshot.layers[::step], displayed(snapshot.layers)[::step]
    rows = ceil(len(layers) / COLUMNS)
    figure = Figure(figsize=(2.1 * COLUMNS, 1.7 * rows + 0.6), layout="constrained")
    axes = list(figure.subplots(rows, COLUMNS, squeeze=False, sharex=True).flat)
    for axis, layer, name in zip(axes, layers, shown, strict=False):
        found = ratio_histogram(snapshot.graphs[layer])
        middles = (found.edges[1:] + found.edges[:-1]) / 2
        axis.bar(middles, found.density, width=found.edges[1] - found.edges[0], color=SEEN, label="measured")
        axis.plot(middles, found.pareto, color=ASSUMED, linewidth=1.2, label="assumed by TwoNN")
        beyond = found.beyond / max(found.counts.sum() + found.beyond, 1)
        axis.set_title(f"{in_picture(name)}\nID {found.dimension:.1f}; {beyond:.0%} beyond", fontsize=7)
        axis.set_yticks([])
        axis.tick_params(labelsize=7)
    for axis in axes[len(layers) :]:
        axis.set_axis_off()
    handles, labels = figure.axes[0].get_legend_handles_labels()
    some = "" if len(layers) == len(snapshot.layers) else f" ({len(layers)} of {len(snapshot.layers)} layers)"
    figure.suptitle(f"{in_picture(snapshot.probe)}: density of r2 / r1{some}", x=0.01, ha="left", fontsize=10)
    figure.legend(handles, labels, loc="upper right", ncols=2, frameon=False, fontsize=8)
    return figure
