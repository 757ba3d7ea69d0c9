"""Groups of runs: the curves of several seeds of one recipe, their mean and standard deviation."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from rra_monitor.compare.statistics import Floats
from rra_monitor.measure.quantity import Quantity
from rra_monitor.measure.settings import Settings
from rra_monitor.measure.snapshot import Snapshot
from rra_monitor.runs.opened import OpenedRun
from rra_monitor.runs.store import RunStore

When = int | Literal["last"]
"""Completed epochs, or the last snapshot of each run."""


@dataclass(frozen=True, eq=False)
class Run:
    """One probe of one run, without graphs.

    Attributes:
        opened: run as it was opened.
        probe: name of the sample.
        epochs: completed epochs to the first snapshot of each.
        last: the newest snapshot.
    """

    opened: OpenedRun
    probe: str
    epochs: dict[int, Snapshot]
    last: Snapshot

    @property
    def path(self) -> str:
        """Path of its store."""
        return self.opened.path

    @property
    def store(self) -> RunStore:
        """Store that reads its graphs."""
        return self.opened.store

    def at(self, moment: When) -> Snapshot:
        """The snapshot of an epoch, or the last.

        Raises:
            ValueError: the run has none of that epoch.
        """
        if moment == "last":
            return self.last
        if moment not in self.epochs:
            found = ", ".join(map(str, self.epochs))
            raise ValueError(
                f"{self.path} has no snapshot of probe {self.probe!r} at epoch {moment}; its epochs: {found}"
            )
        return self.epochs[moment]


@dataclass(frozen=True, eq=False)
class Group:
    """The curves of R runs of one recipe (its seeds, for example) for one probe.

    Attributes:
        name: name of the group.
        probe: name of the sample.
        runs: (R,) paths.
        layers: (L,) names in execution order.
        settings: settings of the first run's last snapshot; all runs have its n, k, metric and estimator.
        epochs: (E,) completed epochs at which all runs have a snapshot, ascending.
        last_epochs: (R,) epoch of each run's last snapshot.
        quantities: quantities of layers that any run has, in the order in which they are shown.
        curves: name of each quantity of layers to (R, E + 1, L) values at those epochs and, last, of each run's last
            snapshot; NaN where undefined or not measured. `id` and `nncs` are properties, too.
        nnls: (R, E + 1, L, L) similarities of the layers of one run with each other, 0 to 1, at the same epochs.
        chances: name of each quantity that has a chance level to that level, the mean over the runs.
    """

    name: str
    probe: str
    runs: tuple[str, ...]
    layers: tuple[str, ...]
    settings: Settings
    epochs: tuple[int, ...]
    last_epochs: tuple[int, ...]
    quantities: tuple[Quantity, ...]
    curves: Mapping[str, Floats]
    nnls: Floats
    chances: Mapping[str, float]

    @property
    def id(self) -> Floats:
        """(R, E + 1, L) intrinsic dimensions."""
        return self.curves["id"]

    @property
    def nncs(self) -> Floats | None:
        """(R, E + 1, L) class similarities, 0 to 1; None for unlabelled data."""
        return self.curves.get("nncs")

    @property
    def ties(self) -> Floats:
        """(R, E + 1, L) fractions of samples with a tied k-th distance."""
        return self.curves["ties"]

    @property
    def nncs_chance(self) -> float | None:
        """The NNCS of features without class information; None for unlabelled data."""
        return self.chances.get("nncs")

    @property
    def nnls_chance(self) -> float:
        """The NNLS of unrelated layers."""
        return self.chances["nnls"]

    @property
    def moments(self) -> tuple[When, ...]:
        """(E + 1,) what the second axis of the arrays stands for."""
        return (*self.epochs, "last")


def read_run(opened: OpenedRun, probe: str) -> Run:
    """The curves of one probe of a run.

    Raises:
        ValueError: no such probe, or no readable snapshot of it.

    Warns:
        UserWarning: snapshots with other layers, n, k, metric or estimator than the last, which are left out.
    """
    store = opened.store
    if probe not in store.probes():
        raise ValueError(f"{store.path} has no probe {probe!r}; its probes: {', '.join(store.probes())}")
    snapshots = [snapshot for snapshot, _ in opened.compared(probe)]
    if not snapshots:
        raise ValueError(f"no snapshot of probe {probe!r} in {store.path} can be read; the warnings above say why")
    last = snapshots[-1]
    alike = [snapshot for snapshot in snapshots if _difference(_facts(snapshot), _facts(last)) is None]
    if len(alike) < len(snapshots):
        other = next(snapshot for snapshot in snapshots if snapshot not in alike)
        warnings.warn(
            f"{store.path}: {len(snapshots) - len(alike)} of {len(snapshots)} snapshots of probe {probe!r} were "
            f"measured otherwise than the last and are left out ({_difference(_facts(other), _facts(last))})",
            stacklevel=2,
        )
    # In reverse, so that the first snapshot of an epoch stands, as in RunStore.epochs.
    epochs = {snapshot.epoch: snapshot for snapshot in reversed(alike)}
    return Run(opened, probe, dict(sorted(epochs.items())), last)


def group_of(name: str, runs: Sequence[Run]) -> Group:
    """The curves of runs that were measured with the same settings.

    Raises:
        ValueError: other layers, n, k, metric, estimator, or labels in some runs alone; both values are named.
    """
    first = runs[0]
    for run in runs[1:]:
        difference = _difference(_facts(first.last), _facts(run.last))
        if difference:
            raise ValueError(
                f"group {name!r} cannot be averaged: {difference} ({first.path} and {run.path}). The runs of a group "
                "are seeds of one recipe; put these into two groups"
            )
    epochs = tuple(sorted(set.intersection(*(set(run.epochs) for run in runs))))
    moments: list[list[Snapshot]] = [[*(run.epochs[epoch] for epoch in epochs), run.last] for run in runs]
    named = {one.name: one for run in runs for one, _ in run.last.measured()}
    chances: dict[str, list[float]] = {}
    for run in runs:
        for quantity, chance in run.last.chances().items():
            chances.setdefault(quantity, []).append(chance)
    return Group(
        name=name,
        probe=first.probe,
        runs=tuple(run.path for run in runs),
        layers=first.last.layers,
        settings=first.last.settings,
        epochs=epochs,
        last_epochs=tuple(run.last.epoch for run in runs),
        quantities=tuple(named.values()),
        curves={each: np.array([[_curve(snapshot, each) for snapshot in run] for run in moments]) for each in named},
        nnls=np.array([[snapshot.nnls for snapshot in run] for run in moments]),
        chances={each: float(np.mean(values)) for each, values in chances.items()},
    )


def _curve(snapshot: Snapshot, name: str) -> Floats:
    values = snapshot.curves.get(name)
    return np.full(len(snapshot.layers), np.nan) if values is None else values


def _facts(snapshot: Snapshot) -> dict[str, Any]:
    settings = snapshot.settings
    return {
        "n": settings.n,
        "k": settings.k,
        "metric": settings.metric,
        "estimator": settings.estimator,
        "labels": "absent" if snapshot.nncs is None else "present",
        "layers": snapshot.layers,
    }


def _difference(here: dict[str, Any], there: dict[str, Any]) -> str | None:
    """The first fact in which two snapshots differ, with both values; None if there is none."""
    for name in ("n", "k", "metric", "estimator", "labels"):
        if here[name] != there[name]:
            return f"{name} {here[name]} against {there[name]}"
    if here["layers"] == there["layers"]:
        return None
    mine, theirs = here["layers"], there["layers"]
    pairs = ((a, b) for a, b in zip(mine, theirs, strict=False) if a != b)
    a, b = next(pairs, ("", ""))
    return f"{len(mine)} layers against {len(theirs)}" + (f", {a!r} against {b!r} the first that differ" if a else "")
