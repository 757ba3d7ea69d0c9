"""Groups of runs: the curves of several seeds of one recipe, their mean and standard deviation."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from rra_monitor.compare.statistics import Floats
from rra_monitor.measure.quantities import HEALTH
from rra_monitor.measure.snapshot import Settings, Snapshot
from rra_monitor.runs.store import RunStore

When = int | Literal["last"]
"""Completed epochs, or the last snapshot of each run."""

OTHERS = ("id_error", *HEALTH)


@dataclass(frozen=True, eq=False)
class Run:
    """One probe of one run, without graphs.

    Attributes:
        path: path of its store.
        store: store that reads its graphs.
        probe: name of the sample.
        epochs: completed epochs to the first snapshot of each.
        last: the newest snapshot.
    """

    path: str
    store: RunStore
    probe: str
    epochs: dict[int, Snapshot]
    last: Snapshot

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
        settings: settings of the first run's last snapshot; all runs have its n, k and metric.
        epochs: (E,) completed epochs at which all runs have a snapshot, ascending.
        last_epochs: (R,) epoch of each run's last snapshot.
        id: (R, E + 1, L) intrinsic dimensions at those epochs and, last, of each run's last snapshot.
        nncs: (R, E + 1, L) class similarities, 0 to 1, at the same epochs; None for unlabelled data.
        nnls: (R, E + 1, L, L) similarities of the layers of one run with each other, 0 to 1, at the same epochs.
        others: name to (R, E + 1, L): the standard error of the ID and the health of the graphs, as in a `Snapshot`;
            NaN where rows were not checked.
        nncs_chance: the NNCS of features without class information; None for unlabelled data.
        nnls_chance: the NNLS of unrelated layers.
    """

    name: str
    probe: str
    runs: tuple[str, ...]
    layers: tuple[str, ...]
    settings: Settings
    epochs: tuple[int, ...]
    last_epochs: tuple[int, ...]
    id: Floats
    nncs: Floats | None
    nnls: Floats
    others: Mapping[str, Floats]
    nncs_chance: float | None
    nnls_chance: float

    @property
    def moments(self) -> tuple[When, ...]:
        """(E + 1,) what the second axis of the arrays stands for."""
        return (*self.epochs, "last")


def read_run(store: RunStore, probe: str) -> Run:
    """The curves of one probe of a run.

    Raises:
        ValueError: no such probe, or no readable snapshot of it.

    Warns:
        UserWarning: snapshots with other layers, n, k or metric than the last, which are left out.
    """
    if probe not in store.probes():
        raise ValueError(f"{store.path} has no probe {probe!r}; its probes: {', '.join(store.probes())}")
    snapshots = store.curves(probe)
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
    return Run(store.path, store, probe, dict(sorted(epochs.items())), last)


def group_of(name: str, runs: Sequence[Run]) -> Group:
    """The curves of runs that were measured with the same settings.

    Raises:
        ValueError: other layers, n, k, metric, or labels in some runs alone; both values are named.
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
    chances = [chance for run in runs if (chance := run.last.nncs_chance) is not None]
    return Group(
        name=name,
        probe=first.probe,
        runs=tuple(run.path for run in runs),
        layers=first.last.layers,
        settings=first.last.settings,
        epochs=epochs,
        last_epochs=tuple(run.last.epoch for run in runs),
        id=np.array([[snapshot.id for snapshot in run] for run in moments]),
        nncs=np.array([[snapshot.nncs for snapshot in run] for run in moments], dtype=float) if chances else None,
        nnls=np.array([[snapshot.nnls for snapshot in run] for run in moments]),
        others={name: np.array([[_curve(snapshot, name) for snapshot in run] for run in moments]) for name in OTHERS},
        nncs_chance=float(np.mean(chances)) if chances else None,
        nnls_chance=first.last.nnls_chance,
    )


def _curve(snapshot: Snapshot, name: str) -> Floats:
    values = getattr(snapshot, name)
    return np.full(len(snapshot.layers), np.nan) if values is None else np.asarray(values, dtype=float)


def _facts(snapshot: Snapshot) -> dict[str, Any]:
    settings = snapshot.settings
    return {
        "n": settings.n,
        "k": settings.k,
        "metric": settings.metric,
        "labels": "absent" if snapshot.nncs is None else "present",
        "layers": snapshot.layers,
    }


def _difference(here: dict[str, Any], there: dict[str, Any]) -> str | None:
    """The first fact in which two snapshots differ, with both values; None if there is none."""
    for name in ("n", "k", "metric", "labels"):
        if here[name] != there[name]:
            return f"{name} {here[name]} against {there[name]}"
    if here["layers"] == there["layers"]:
        return None
    mine, theirs = here["layers"], there["layers"]
    pairs = ((a, b) for a, b in zip(mine, theirs, strict=False) if a != b)
    a, b = next(pairs, ("", ""))
    return f"{len(mine)} layers against {len(theirs)}" + (f", {a!r} against {b!r} the first that differ" if a else "")
