"""A run for the page, from the packed tensors that TensorBoard has loaded."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from rra_monitor.conclusions.evidence import Finding
from rra_monitor.integrations.tensorboard.listing import LoggedRun
from rra_monitor.integrations.tensorboard.notes import few, left_out
from rra_monitor.integrations.tensorboard.tags import CURVES, FINDINGS, MOMENT, NNLS
from rra_monitor.integrations.tensorboard.values import check_values, checked_findings, moment, parts_of
from rra_monitor.measure.quantities import layer_similarity
from rra_monitor.measure.quantity import PAIRED, Quantity
from rra_monitor.page.arrays import Floats, Matrix, ProbeFrame
from rra_monitor.page.budget import Budget, numbers, too_large
from rra_monitor.page.series import Frame, RunSeries, stacked

Event = tuple[int, float]
"""A step and a wall time, which the tensors of one record share."""

ABOUT = ("n", "k", "classes", "chances", "estimator")


@dataclass
class _Part:
    """The data of one probe at one moment."""

    about: dict[str, Any] = field(default_factory=dict)
    quantities: dict[str, Quantity] = field(default_factory=dict)
    layers: tuple[str, ...] = ()
    views: tuple[str, ...] = ()
    curves: dict[str, Floats] = field(default_factory=dict)
    matrices: dict[str, Matrix] = field(default_factory=dict)


def run_series(run: LoggedRun, read: Callable[[str], Sequence[Any]]) -> tuple[RunSeries, list[str]]:
    """The run, and notes on its parts that cannot be read.

    Args:
        run: run with its tags and their descriptions.
        read: function from a tag to its data in the order of writing, each with `step`, `wall_time` and `numpy`.

    Raises:
        ValueError: nothing of it can be read.
    """
    notes = list(run.notes)
    of_kind: dict[str, list[str]] = defaultdict(list)
    for tag, about in run.tags.items():
        of_kind[about["kind"]].append(tag)
    moments = _moments([datum for tag in of_kind[MOMENT] for datum in read(tag)], notes)
    found = _findings([pair for tag in of_kind[FINDINGS] for pair in _of(read(tag), moments)], notes)
    tensors: dict[Event, list[tuple[str, Any]]] = {event: [] for event in moments}
    for tag in (*of_kind[CURVES], *of_kind[NNLS]):
        for event, datum in _of(read(tag), moments):
            tensors[event].append((tag, datum.numpy))
    shown = _shown(run, tensors, notes)
    if not any(shown.values()):
        raise ValueError(f"run {run.name!r} has no snapshot that can be read. {' '.join(few(notes))}".rstrip())
    probes = {}
    for probe in sorted({probe for here in shown.values() for probe in here}):
        last = next(here[probe] for here in reversed(shown.values()) if probe in here)
        moment_parts = [_probe_frame(here[probe]) if probe in here else None for here in shown.values()]
        probes[probe] = stacked(moment_parts, **last.about)
    read_moments = [
        Frame(event[0], epoch, seconds, overhead, found.get(event, ()))
        for event, (epoch, seconds, overhead) in moments.items()
        if event in shown
    ]
    quantities: dict[str, Quantity] = {}
    for part in chain.from_iterable(here.values() for here in shown.values()):
        quantities |= part.quantities
    return RunSeries(run.name, tuple(read_moments), probes, quantities=tuple(quantities.values())), notes


def _shown(
    run: LoggedRun, tensors: Mapping[Event, Sequence[tuple[str, Any]]], notes: list[str]
) -> dict[Event, dict[str, _Part]]:
    """Moment to probe to its data, for the newest moments that fit; in the order of the moments."""
    budget, shown = Budget(), {}
    for event in reversed(list(tensors)):
        here = _parts(run, event[0], tensors[event], notes)
        whole = {probe: _probe_frame(part) for probe, part in here.items()}
        if budget.take(whole, sum(map(numbers, whole.values()))):
            shown[event] = here
        elif shown:
            notes.append(too_large(len(shown), len(tensors)))
            break
        else:
            notes.append(left_out(f"the snapshot at step {event[0]}", "it has too many probes, metrics or views"))
    return dict(reversed(shown.items()))


def _parts(run: LoggedRun, step: int, tensors: Sequence[tuple[str, Any]], notes: list[str]) -> dict[str, _Part]:
    parts: dict[str, _Part] = defaultdict(_Part)
    for tag, values in tensors:
        about = run.tags[tag]
        try:
            if about["kind"] == CURVES:
                _add_curves(parts, about, values)
            else:
                _add_matrix(parts, about, values)
        except ValueError as error:
            notes.append(left_out(f"{tag} at step {step}", f"it is not as described: {error}"))
    return {probe: part for probe, part in parts.items() if part.about}


def _moments(data: Sequence[Any], notes: list[str]) -> dict[Event, tuple[int, float, float]]:
    """Epoch, seconds and overhead of the valid events, by step.

    A training that is resumed, or measures a step again, continues from there: earlier events of this step and later
    ones are invalid, as in the run's store. The fast loader drops them within a tag, the other one does not.
    """
    counting: list[tuple[Event, tuple[int, float, float]]] = []
    for datum in data:
        try:
            if datum.step < 0:
                raise ValueError("expected a step from 0")
            found = moment(datum.numpy)
        except ValueError as error:
            notes.append(left_out(f"the snapshot at step {datum.step}", error))
            continue
        while counting and counting[-1][0][0] >= datum.step:
            counting.pop()
        counting.append(((datum.step, datum.wall_time), found))
    return dict(counting)


def _of(data: Sequence[Any], moments: Mapping[Event, Any]) -> Iterator[tuple[Event, Any]]:
    """The data of the valid events."""
    for datum in data:
        if (event := (datum.step, datum.wall_time)) in moments:
            yield event, datum


def _add_curves(parts: dict[str, _Part], about: Mapping[str, Any], values: Any) -> None:
    shapes = [(len(about["metrics"]), len(probe["views"]), len(probe["layers"])) for probe in about["probes"]]
    by_probe = np.moveaxis(values, 1, 0) if np.ndim(values) > 1 else values
    known = {one.name: one for one in about["quantities"]}
    for probe, found in zip(about["probes"], parts_of(by_probe, shapes), strict=True):
        curves = {}
        for name, curve in zip(about["metrics"], found, strict=True):
            # A comparison has its place in the axis before it has its first value.
            if name in probe["curves"] and not (name.startswith(PAIRED) and np.isnan(curve).all()):
                check_values(name, curve, known.get(name, layer_similarity.NNLS))
                curves[name] = curve
        part = parts[probe["name"]]
        part.about = {name: probe[name] for name in ABOUT}
        part.layers, part.views, part.curves = probe["layers"], probe["views"], curves
        part.quantities |= known


def _add_matrix(parts: dict[str, _Part], about: Mapping[str, Any], values: Any) -> None:
    shapes = [(len(probe["views"]), len(probe["rows"]), len(probe["columns"])) for probe in about["probes"]]
    for probe, found in zip(about["probes"], parts_of(values, shapes), strict=True):
        check_values(about["matrix"], found, about["quantity"])
        if found.size:
            part = parts[probe["name"]]
            part.matrices[about["matrix"]] = Matrix(probe["rows"], probe["columns"], probe["views"], found)
            part.quantities[about["quantity"].name] = about["quantity"]


def _probe_frame(part: _Part) -> ProbeFrame:
    return ProbeFrame(part.layers, part.views, part.curves, part.matrices)


def _findings(found: Sequence[tuple[Event, Any]], notes: list[str]) -> dict[Event, tuple[Finding, ...]]:
    of_event = {}
    for event, datum in found:
        try:
            of_event[event] = checked_findings(datum.numpy)
        except ValueError as error:
            notes.append(left_out(f"the list of findings at step {datum.step}", error))
    return of_event
