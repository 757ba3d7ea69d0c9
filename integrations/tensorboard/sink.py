"""Records as TensorBoard scalars, grouped by a custom-scalars layout, and figures."""

from collections.abc import Callable
from typing import Any

from rra_monitor.figures import curves_figure, nnls_figure, views_figure
from rra_monitor.names import FULL, metric_key
from rra_monitor.record import PREVIOUS, Record, scalars
from rra_monitor.snapshot import Snapshot

TITLES = {
    "id": "intrinsic dimension (ID)",
    "nncs": "class similarity (NNCS)",
    PREVIOUS: "similarity to previous (NNLS)",
}

SUMMARY_CHARTS = {
    "summary of ID": ("id_peak", "id_last"),
    "summary of NNCS and NNLS": ("nncs_last", "nnls_prev_mean"),
}
"""Two charts, since a dimension and a share have no common axis."""


class TensorBoardSink:
    """Writes through a `SummaryWriter` that someone else opens and closes.

    Args:
        writer: returns the `SummaryWriter` (torch's or tensorboardX's); called at each record.
    """

    def __init__(self, writer: Callable[[], Any]) -> None:
        self._writer = writer
        self._first: dict[str, Snapshot] = {}
        self._layout: dict[str, dict[str, list[Any]]] = {}

    def write(self, record: Record) -> None:
        """Scalars by key, the layout when it changes, and the figures `curves`, `nnls` and `views` of each probe."""
        writer = self._writer()
        for key, value in scalars(record).items():
            writer.add_scalar(key, value, record.step)
        # Charts are added and never dropped: a reference need not have a value at every epoch.
        layout = {title: self._layout.get(title, {}) | charts for title, charts in custom_layout(record).items()}
        if layout != self._layout:
            writer.add_custom_scalars(layout)
            self._layout = layout
        for probe, snapshot in record.snapshots.items():
            first = self._first.setdefault(probe, snapshot)
            writer.add_figure(metric_key(probe, "curves"), curves_figure(snapshot, first), record.step)
            writer.add_figure(metric_key(probe, "nnls"), nnls_figure(snapshot, record.matches[probe]), record.step)
            if len(snapshot.settings.views) > 1:
                writer.add_figure(metric_key(probe, "views"), views_figure(snapshot), record.step)


def custom_layout(record: Record) -> dict[str, dict[str, list[Any]]]:
    """For each probe a category with a chart per quantity and view, all layers in it; tags are chosen by expression."""
    layout: dict[str, dict[str, list[Any]]] = {}
    for probe, snapshot in record.snapshots.items():
        quantities = ["id"] + ([] if snapshot.nncs is None else ["nncs"])
        charts = {TITLES[quantity]: quantity for quantity in quantities}
        charts[TITLES[PREVIOUS]] = f"nnls_{PREVIOUS}"
        for name in record.matches[probe]:
            if name != PREVIOUS:
                charts[f"similarity to {name.removeprefix('ref-')} (NNLS)"] = f"nnls_{name}"
        expressions = {
            title if view == FULL else f"{title}, {view}": [_tags(snapshot, quantity, view)]
            for view in snapshot.settings.views
            for title, quantity in charts.items()
        }
        for title, names in SUMMARY_CHARTS.items():
            expressions[title] = [f"^{metric_key(probe, quantity)}$" for quantity in names]
        layout[f"RRA {probe}"] = {title: ["Multiline", tags] for title, tags in expressions.items()}
    return layout


def _tags(snapshot: Snapshot, quantity: str, view: str) -> str:
    """The expression for one view of every layer; a view that equals another one is logged under that one's key."""
    key = metric_key(snapshot.probe, quantity)
    if len(snapshot.settings.views) == 1:
        return f"^{key}/.*"
    names = (metric_key(snapshot.probe, quantity, name) for name in snapshot.view(view).names)
    return f"^{key}/({'|'.join(name.removeprefix(f'{key}/') for name in names)})$"
