"""A record in TensorBoard's own dashboards: scalars, and charts of several of them."""

from typing import Any, Literal, get_args

from rra_monitor.capture.names import FULL, split_view
from rra_monitor.measure.match import PREVIOUS
from rra_monitor.measure.snapshot import Snapshot
from rra_monitor.runs.keys import metric_key
from rra_monitor.runs.record import Record, scalars

Choice = Literal["summaries", "layers", "all"]


def checked_choice(option: str, choice: Choice) -> Choice:
    """The choice itself, if the option has it."""
    if choice not in (choices := get_args(Choice)):
        raise ValueError(f"{option}={choice!r}; expected {', '.join(map(repr, choices))}")
    return choice


TITLES = {
    "id": "intrinsic dimension (ID)",
    "nncs": "class similarity (NNCS)",
    PREVIOUS: "similarity to previous (NNLS)",
}

SUMMARY_CHARTS = {
    "summary of ID": ("id_peak", "id_last"),
    "summary of NNCS and NNLS": ("nncs_last", "nnls_prev_mean"),
}
"""Two charts, since a dimension and a fraction have no common axis."""


def chosen_scalars(record: Record, choice: Choice) -> dict[str, float]:
    """The `scalars` of a record without those that were not chosen: of pooled views, or of all layers."""
    left_out = set()
    for probe, snapshot in record.snapshots.items():
        quantities = ["id", "nncs", *(f"nnls_{name}" for name in record.matches.get(probe, {}))]
        for layer in snapshot.layers:
            if choice == "summaries" or (choice == "layers" and split_view(layer)[1] != FULL):
                left_out |= {metric_key(probe, quantity, layer) for quantity in quantities}
    return {key: value for key, value in scalars(record).items() if key not in left_out}


def custom_layout(record: Record, choice: Choice) -> dict[str, dict[str, list[Any]]]:
    """For each probe a category with one chart of all layers per quantity and view; expressions select the tags."""
    layout: dict[str, dict[str, list[Any]]] = {}
    for probe, snapshot in record.snapshots.items():
        quantities = ["id"] + ([] if snapshot.nncs is None else ["nncs"])
        charts = {TITLES[quantity]: quantity for quantity in quantities}
        charts[TITLES[PREVIOUS]] = f"nnls_{PREVIOUS}"
        for name in record.matches.get(probe, {}):
            if name != PREVIOUS:
                charts[f"similarity to {name.removeprefix('ref-')} (NNLS)"] = f"nnls_{name}"
        views = {"summaries": (), "layers": (FULL,), "all": snapshot.settings.views}[choice]
        expressions = {
            title if view == FULL else f"{title}, {view}": [_tags(snapshot, quantity, view, len(views) > 1)]
            for view in views
            for title, quantity in charts.items()
        }
        for title, names in SUMMARY_CHARTS.items():
            expressions[title] = [f"^{metric_key(probe, quantity)}$" for quantity in names]
        layout[f"RRA {probe}"] = {title: ["Multiline", tags] for title, tags in expressions.items()}
    return layout


def _tags(snapshot: Snapshot, quantity: str, view: str, several: bool) -> str:
    """The expression for one view of every layer; a view that equals another one is logged under that one's key."""
    key = metric_key(snapshot.probe, quantity)
    if not several:
        return f"^{key}/.*"
    names = (metric_key(snapshot.probe, quantity, name) for name in snapshot.view(view).names)
    return f"^{key}/({'|'.join(name.removeprefix(f'{key}/') for name in names)})$"
