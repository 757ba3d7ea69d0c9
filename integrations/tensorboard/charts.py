"""A record in TensorBoard's own dashboards: scalars, and charts of several of them."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

from rra_monitor.capture.names import FULL, split_view
from rra_monitor.measure.match import PREVIOUS, other_of
from rra_monitor.measure.quantities.layer_similarity import NNLS
from rra_monitor.measure.quantity import PAIRED, Quantity
from rra_monitor.measure.snapshot import Snapshot
from rra_monitor.runs.keys import metric_key
from rra_monitor.runs.record import PREVIOUS_MEAN, Record, main_curves, scalars
from rra_monitor.utils.text import brief

Choice = Literal["summaries", "layers", "all"]


def checked_choice(option: str, choice: Choice) -> Choice:
    """The choice itself, if the option has it."""
    if choice not in (choices := get_args(Choice)):
        raise ValueError(f"{option}={brief(choice)}; expected {', '.join(map(repr, choices))}")
    return choice


def chosen_scalars(record: Record, choice: Choice) -> dict[str, float]:
    """The `scalars` of a record without those that were not chosen: of pooled views, or of all layers."""
    left_out = set()
    for probe, snapshot in record.snapshots.items():
        names = main_curves(snapshot, record.matches.get(probe, {}))
        for layer in snapshot.layers:
            if choice == "summaries" or (choice == "layers" and split_view(layer)[1] != FULL):
                left_out |= {metric_key(probe, name, layer) for name in names}
    return {key: value for key, value in scalars(record).items() if key not in left_out}


def custom_layout(record: Record, choice: Choice) -> dict[str, dict[str, list[Any]]]:
    """For each probe a category with one chart of all layers per quantity and view; expressions select the tags."""
    layout: dict[str, dict[str, list[Any]]] = {}
    for probe, snapshot in record.snapshots.items():
        main = [quantity for quantity, _ in snapshot.main()]
        charts = {one.phrase: one.name for one in main}
        for name in dict.fromkeys([PREVIOUS, *record.matches.get(probe, {})]):
            charts[f"similarity to {other_of(name)} ({NNLS.symbol})"] = f"{PAIRED}{name}"
        views = {"summaries": (), "layers": (FULL,), "all": snapshot.settings.views}[choice]
        expressions = {
            title if view == FULL else f"{title}, {view}": [_tags(snapshot, quantity, view, len(views) > 1)]
            for view in views
            for title, quantity in charts.items()
        }
        for title, names in _summary_charts(main).items():
            expressions[title] = [f"^{metric_key(probe, name)}$" for name in names]
        layout[f"RRA {probe}"] = {title: ["Multiline", tags] for title, tags in expressions.items()}
    return layout


def _summary_charts(main: Sequence[Quantity]) -> dict[str, list[str]]:
    """Title to names: a chart of each quantity, and one of all fractions, which have an axis in common."""
    charts: dict[str, list[str]] = {}
    fractions = [one for one in main if one.fraction]
    for one in main:
        if not one.fraction:
            charts[f"summary of {one.symbol}"] = one.summary_names
    *most, last = [*(one.symbol for one in fractions), NNLS.symbol]
    title = f"summary of {' and '.join([', '.join(most), last] if most else [last])}"
    charts[title] = [name for one in fractions for name in one.summary_names] + [PREVIOUS_MEAN]
    return charts


def _tags(snapshot: Snapshot, quantity: str, view: str, several: bool) -> str:
    """The expression for one view of every layer; a view that equals another one is logged under that one's key."""
    key = metric_key(snapshot.probe, quantity)
    if not several:
        return f"^{key}/.*"
    names = (metric_key(snapshot.probe, quantity, name) for name in snapshot.view(view).names)
    return f"^{key}/({'|'.join(name.removeprefix(f'{key}/') for name in names)})$"
