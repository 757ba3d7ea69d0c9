"""A run as the page shows it: a series of frames."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rra_monitor.conclusions.evidence import Finding
from rra_monitor.conclusions.findings import findings
from rra_monitor.measure.match import Match
from rra_monitor.measure.quantities import STANDARD
from rra_monitor.measure.quantity import Quantity
from rra_monitor.measure.settings import ESTIMATORS
from rra_monitor.measure.snapshot import Snapshot
from rra_monitor.page.arrays import Floats, Matrix, ProbeFrame
from rra_monitor.page.budget import Budget, too_large
from rra_monitor.page.frame import probe_frame
from rra_monitor.runs.jsonl import read_records
from rra_monitor.runs.lines import RecordLine
from rra_monitor.runs.opened import OpenedRun
from rra_monitor.runs.store import RunStore


@dataclass(frozen=True)
class Frame:
    """One step of a run at which something was measured.

    Attributes:
        step: optimiser steps taken.
        epoch: epochs completed.
        seconds: time that measuring took, NaN if unknown.
        overhead: fraction of the time since the fit began that the monitor took, NaN if unknown.
        findings: findings in the curves of the frame.
    """

    step: int
    epoch: int
    seconds: float = math.nan
    overhead: float = math.nan
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, eq=False)
class ProbeSeries:
    """One probe over the M frames of a run.

    Attributes:
        n: number of samples.
        k: number of neighbours.
        classes: number of classes, None for unlabelled data.
        chances: name of each quantity that has a chance level to that level.
        layers: (L,) names in execution order.
        views: (V,) measured views.
        curves: name to (M, V, L) values, NaN where undefined or not measured at that frame.
        matrices: kind to matrix over the frames.
        estimator: method by which the ID was estimated.
    """

    n: int
    k: int
    classes: int | None
    chances: Mapping[str, float]
    layers: tuple[str, ...]
    views: tuple[str, ...]
    curves: Mapping[str, Floats]
    matrices: Mapping[str, Matrix]
    estimator: str = ESTIMATORS[0]


@dataclass(frozen=True, eq=False)
class RunSeries:
    """A run.

    Attributes:
        name: name for the reader.
        frames: (M,) frames by step.
        probes: name to its series over these frames.
        group: name of its group of seeds, if any.
        quantities: quantities that its snapshots have, in the order in which they are shown.
    """

    name: str
    frames: tuple[Frame, ...]
    probes: Mapping[str, ProbeSeries]
    group: str | None = None
    quantities: tuple[Quantity, ...] = STANDARD


def stored_series(run: OpenedRun | RunStore, name: str, group: str | None = None) -> RunSeries:
    """A run as its store has it, without reading any graph.

    A snapshot that cannot be shown is left out, with a warning; so are the earliest frames if the arrays of all of
    them would be too large for the data read, see `budget`.

    Raises:
        ValueError: no snapshot that can be read.
    """
    opened = run if isinstance(run, OpenedRun) else OpenedRun(run)
    store = opened.store
    snapshots: dict[int, dict[str, Snapshot]] = {}
    matches: dict[tuple[int, str], Mapping[str, Match]] = {}
    for probe in store.probes():
        for each, compared in opened.compared(probe):
            snapshots.setdefault(each.step, {})[probe] = each
            matches[each.step, probe] = compared
    parts = _parts(store, snapshots, matches)
    if not parts:
        raise ValueError(f"{store.path} holds no snapshot that can be read; give the directory of a run")
    records = read_records(store)
    frames: list[Frame] = []
    before: dict[str, Snapshot] = {}
    for step, shown in parts.items():
        here = {probe: snapshots[step][probe] for probe in shown}
        frames.append(_frame(step, here, before, records.get(step)))
        before |= here
    probes = {}
    for probe, last in sorted(before.items()):
        labels = last.settings.labels
        probes[probe] = stacked(
            [shown.get(probe) for shown in parts.values()],
            n=last.settings.n,
            k=last.settings.k,
            classes=None if labels is None else len(np.unique(labels)),
            chances=last.chances(),
            estimator=last.settings.estimator,
        )
    named = {one.name: one for last in before.values() for one in last.quantities}
    return RunSeries(name, tuple(frames), probes, group, tuple(named.values()))


def _parts(
    store: RunStore,
    snapshots: Mapping[int, Mapping[str, Snapshot]],
    matches: Mapping[tuple[int, str], Mapping[str, Match]],
) -> dict[int, dict[str, ProbeFrame]]:
    """Step to probe to its part of the frame, for the newest frames that fit; by step."""
    budget, parts, left_out = Budget(), {}, 0
    for step in sorted(snapshots, reverse=True):
        here, read = {}, 0
        for probe, snapshot in snapshots[step].items():
            compared = matches[step, probe]
            try:
                here[probe] = probe_frame(snapshot, compared)
            except ValueError as error:
                warnings.warn(f"{store.path}, step {step} of probe {probe!r} is left out: {error}", stacklevel=3)
                continue
            read += snapshot.nnls.size + sum(match.nnls.size for match in compared.values())
        if here and budget.take(here, read):
            parts[step] = here
        elif here and parts:
            warnings.warn(f"{store.path}: {too_large(len(parts), len(snapshots) - left_out)}", stacklevel=3)
            break
        else:
            left_out += 1
            if here:
                warnings.warn(
                    f"{store.path}, step {step} is left out: it has too many views for its layers", stacklevel=3
                )
    return dict(reversed(parts.items()))


def stacked(parts: Sequence[ProbeFrame | None], **about: Any) -> ProbeSeries:
    """The parts of one probe, one for each frame or None, along a new first axis.

    Layers and views of all parts are kept, those of the last part first; where a part lacks one, values are NaN.

    Args:
        parts: parts, at least one of them not None.
        about: the other fields of a `ProbeSeries`.
    """
    found = [part for part in reversed(parts) if part is not None]
    layers = tuple(dict.fromkeys(layer for part in found for layer in part.layers))
    views = tuple(dict.fromkeys(view for part in found for view in part.views))
    curves = {}
    for name in dict.fromkeys(name for part in found for name in part.curves):
        kind = next(part.curves[name].dtype for part in found if name in part.curves)
        values = np.full((len(parts), len(views), len(layers)), np.nan, kind)
        for frame, part in enumerate(parts):
            if part is not None and name in part.curves:
                values[frame][np.ix_(_places(views, part.views), _places(layers, part.layers))] = part.curves[name]
        curves[name] = values
    kinds = dict.fromkeys(kind for part in found for kind in part.matrices)
    matrices = {
        kind: _stacked_matrix([None if part is None else part.matrices.get(kind) for part in parts]) for kind in kinds
    }
    return ProbeSeries(layers=layers, views=views, curves=curves, matrices=matrices, **about)


def _stacked_matrix(parts: Sequence[Matrix | None]) -> Matrix:
    found = [part for part in reversed(parts) if part is not None]
    rows = tuple(dict.fromkeys(row for part in found for row in part.rows))
    columns = tuple(dict.fromkeys(column for part in found for column in part.columns))
    views = tuple(dict.fromkeys(view for part in found for view in part.views))
    values = np.full((len(parts), len(views), len(rows), len(columns)), np.nan, found[0].values.dtype)
    for frame, part in enumerate(parts):
        if part is not None:
            at = (_places(views, part.views), _places(rows, part.rows), _places(columns, part.columns))
            values[frame][np.ix_(*at)] = part.values
    return Matrix(rows, columns, views, values)


def _places(all_names: tuple[str, ...], names: tuple[str, ...]) -> list[int]:
    if all_names == names:
        return list(range(len(names)))
    place = {name: position for position, name in enumerate(all_names)}
    return [place[name] for name in names]


def _frame(step: int, here: Mapping[str, Snapshot], before: Mapping[str, Snapshot], record: RecordLine | None) -> Frame:
    epoch = next(iter(here.values())).epoch
    if record is not None and record.epoch == epoch:
        return Frame(step, epoch, record.seconds, record.overhead, record.findings)
    try:
        found = tuple(findings(here, {probe: each for probe, each in before.items() if probe in here}))
    except ValueError:  # the samples changed within the run
        found = tuple(findings(here))
    return Frame(step, epoch, sum(each.seconds for each in here.values()), findings=found)
