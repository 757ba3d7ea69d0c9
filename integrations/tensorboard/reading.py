"""A run of the page's, from the packed tensors that TensorBoard has loaded."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rra_monitor.evidence import Finding
from rra_monitor.integrations.tensorboard.listing import Run
from rra_monitor.integrations.tensorboard.tags import CURVES, FINDINGS, MOMENT, NNLS
from rra_monitor.page.moments import Floats, Matrix, ProbeMoment
from rra_monitor.page.series import Moment, RunSeries, stacked

Event = tuple[int, float]
"""A step and a wall time: what the tensors of one record share."""

ABOUT = ("n", "k", "classes", "nncs_chance", "nnls_chance")


@dataclass
class _Part:
    """What was found of one probe at one moment."""

    about: dict[str, Any] = field(default_factory=dict)
    layers: tuple[str, ...] = ()
    views: tuple[str, ...] = ()
    curves: dict[str, Floats] = field(default_factory=dict)
    matrices: dict[str, Matrix] = field(default_factory=dict)


def run_series(run: Run, read: Callable[[str], Sequence[Any]]) -> tuple[RunSeries, list[str]]:
    """The run, and notes on what of it can not be read.

    Args:
        run: with its tags and their descriptions.
        read: a tag to its data in the order of their writing, each with `step`, `wall_time` and `numpy`.

    Raises:
        ValueError: nothing of it can be read.
    """
    notes = list(run.notes)
    of_kind: dict[str, list[str]] = defaultdict(list)
    for tag, about in run.tags.items():
        of_kind[about["kind"]].append(tag)
    moments = _moments([datum for tag in of_kind[MOMENT] for datum in read(tag)], notes)
    findings = _findings([pair for tag in of_kind[FINDINGS] for pair in _of(read(tag), moments)], notes)
    parts: dict[str, dict[Event, _Part]] = defaultdict(lambda: defaultdict(_Part))
    for kind, add in ((CURVES, _add_curves), (NNLS, _add_matrix)):
        for tag in of_kind[kind]:
            for event, datum in _of(read(tag), moments):
                try:
                    for number, probe in enumerate(run.tags[tag]["probes"]):
                        add(parts[probe["name"]][event], run.tags[tag], probe, datum.numpy, number)
                except (ValueError, KeyError, IndexError, TypeError) as error:
                    notes.append(f"{tag} at step {datum.step} is left out: it is not as described ({error!r})")
    probes = {}
    for probe, of_event in parts.items():
        whole = {event: part for event, part in of_event.items() if part.about}
        if whole:
            last = whole[max(whole)]
            probes[probe] = stacked([_probe_moment(whole.get(event)) for event in moments], **last.about)
    if not probes:
        raise ValueError(f"run {run.name!r} has no snapshot that can be read. {' '.join(notes)}".rstrip())
    read_moments = [
        Moment(step, epoch, seconds, overhead, findings.get((step, wall), ()))
        for (step, wall), (epoch, seconds, overhead) in moments.items()
    ]
    return RunSeries(run.name, tuple(read_moments), probes), notes


def _moments(data: Sequence[Any], notes: list[str]) -> dict[Event, tuple[int, float, float]]:
    """Epoch, seconds and overhead of the events that count, by step.

    A training that is resumed, or measures a step again, writes on from there: what was written before for this step
    and later ones is void, as in the run's store. The fast loader sees to it within a tag, the other one does not.
    """
    counting: list[tuple[Event, tuple[int, float, float]]] = []
    for datum in data:
        try:
            epoch, seconds, overhead = map(float, datum.numpy)
            moment = (round(epoch), seconds, overhead)
        except (ValueError, TypeError) as error:
            notes.append(f"the moment at step {datum.step} is left out: {error}")
            continue
        while counting and counting[-1][0][0] >= datum.step:
            counting.pop()
        counting.append(((datum.step, datum.wall_time), moment))
    return dict(counting)


def _of(data: Sequence[Any], moments: Mapping[Event, Any]) -> Iterator[tuple[Event, Any]]:
    """The data of the events that count."""
    for datum in data:
        if (event := (datum.step, datum.wall_time)) in moments:
            yield event, datum


def _add_curves(part: _Part, about: Mapping[str, Any], probe: Mapping[str, Any], values: Any, number: int) -> None:
    layers, views = tuple(probe["layers"]), tuple(probe["views"])
    for place, name in enumerate(about["metrics"]):
        curve = _cut(values[place], number, len(views), len(layers))
        # A comparison has its place in the axis before it has its first value.
        if name in probe["curves"] and not (name.startswith("nnls_") and np.isnan(curve).all()):
            part.curves[name] = curve
    part.about = {name: probe[name] for name in ABOUT}
    part.layers, part.views = layers, views


def _add_matrix(part: _Part, about: Mapping[str, Any], probe: Mapping[str, Any], values: Any, number: int) -> None:
    rows, columns, views = tuple(probe["rows"]), tuple(probe["columns"]), tuple(probe["views"])
    cut = _cut(values, number, len(views), len(rows), len(columns))
    part.matrices[about["matrix"]] = Matrix(rows, columns, views, cut)


def _cut(values: Any, number: int, *shape: int) -> Floats:
    """A probe's own part of a tensor that is padded to the largest probe."""
    found: Floats = np.asarray(values, dtype=np.float64)[number][tuple(slice(size) for size in shape)]
    if found.shape != shape:
        raise ValueError(f"shape {found.shape}, expected {shape}")
    return found


def _probe_moment(part: _Part | None) -> ProbeMoment | None:
    return None if part is None else ProbeMoment(part.layers, part.views, part.curves, part.matrices)


def _findings(found: Sequence[tuple[Event, Any]], notes: list[str]) -> dict[Event, tuple[Finding, ...]]:
    findings = {}
    for event, datum in found:
        try:
            plain = json.loads(np.asarray(datum.numpy, dtype=object).item())
            findings[event] = tuple(Finding(**{**each, "layers": tuple(each["layers"])}) for each in plain)
        except (ValueError, KeyError, TypeError) as error:
            notes.append(f"the findings at step {datum.step} are left out ({error!r})")
    return findings
