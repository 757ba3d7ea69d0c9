"""Settling: how far each layer is from its final state, epoch by epoch."""

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rra_monitor.compare.groups import Run, read_run
from rra_monitor.compare.statistics import Floats
from rra_monitor.graph.knn import KnnGraph
from rra_monitor.measure.snapshot import Snapshot
from rra_monitor.metrics import nnls, nnls_chance
from rra_monitor.runs.locate import shared_probe
from rra_monitor.runs.opened import OpenedRun
from rra_monitor.utils.terminal import passing_progress


@dataclass(frozen=True, eq=False)
class Settling:
    """The similarity of each layer to its own last state.

    Attributes:
        run: path of its store.
        probe: name of the sample.
        layers: (L,) names in execution order.
        epochs: (E,) completed epochs of the snapshots that kept their graphs, ascending.
        steps: (E,) optimiser steps of the same.
        nnls: (E, L) similarity of each layer to itself at the last of these snapshots, 0 to 1; the last row is 1.
        chance: the NNLS of unrelated layers.
    """

    run: str
    probe: str
    layers: tuple[str, ...]
    epochs: tuple[int, ...]
    steps: tuple[int, ...]
    nnls: Floats
    chance: float

    def settled(self, level: float = 0.8) -> dict[str, int | None]:
        """Layer to the first epoch from which on its similarity to the last state stays at or above a level.

        None for a layer that only the last snapshot reaches. Layers with small numbers settle first.

        Args:
            level: NNLS above chance, at most 1.

        Raises:
            ValueError: a level that is out of that range.
        """
        if not self.chance < level <= 1:
            raise ValueError(f"level={level}; expected above chance, {self.chance:.3g}, to 1")
        found: dict[str, int | None] = {}
        for layer, curve in zip(self.layers, self.nnls.T, strict=True):
            below = np.flatnonzero(curve < level)
            first = int(below[-1]) + 1 if below.size else 0
            found[layer] = None if first == len(self.epochs) - 1 else self.epochs[first]
        return found


def settling(run: str | os.PathLike[str], probe: str | None = None) -> Settling:
    """How far each layer of a run is from its final state, at every snapshot that kept its graphs.

    Holds the graphs of two snapshots at a time, and reads each once.

    Args:
        run: directory of the run.
        probe: probe to use; `train` if None, or else the first that the run has.

    Raises:
        ValueError: a run that does not exist or is empty, no such probe, fewer than two snapshots with graphs.

    Warns:
        UserWarning: graphs that cannot be read, which are left out.

    Source: the thesis's section 3.1 (training analysis), with the NNLS of Eq. 3.2.
    """
    opened = OpenedRun.at(run)
    return settling_of(read_run(opened, shared_probe([opened.store]) if probe is None else probe))


def settling_of(whole: Run) -> Settling:
    """How far each layer is from its final state, of a run that is read already; errors of `settling`."""
    store, probe = whole.store, whole.probe
    kept = set(store.graph_steps(probe))
    moments = {found.step: found for found in (*whole.epochs.values(), whole.last) if found.step in kept}
    # From the last one on, which the others are compared with.
    newest_first = sorted(moments, reverse=True)
    end: Mapping[str, KnnGraph] = {}
    rows: dict[int, list[float]] = {}
    with passing_progress() as progress:
        for step in progress.track(newest_first, description=f"epochs of {store.path}"):
            graphs = _graphs(whole, moments[step])
            if graphs:
                end = end or graphs
                rows[step] = [nnls(graphs[layer], end[layer]) for layer in whole.last.layers]
    if len(rows) < 2:
        raise ValueError(
            f"{store.path} has {len(rows)} snapshots of probe {probe!r} with graphs, and settling compares at least "
            "two; measure at more epochs, with keep_graphs='all' or a number above 1"
        )
    steps = tuple(step for step in moments if step in rows)
    return Settling(
        run=store.path,
        probe=probe,
        layers=whole.last.layers,
        epochs=tuple(moments[step].epoch for step in steps),
        steps=steps,
        nnls=np.array([rows[step] for step in steps]),
        chance=nnls_chance(whole.last.settings.n, whole.last.settings.k),
    )


def _graphs(run: Run, snapshot: Snapshot) -> Mapping[str, KnnGraph]:
    """The graphs of a snapshot; none, with a warning, where they cannot be read."""
    try:
        graphs = run.store.with_graphs(snapshot).graphs
        if set(run.last.layers) <= set(graphs):
            return graphs
        problem = f"{run.path}: the graphs of probe {run.probe!r} at step {snapshot.step} are gone"
    except ValueError as error:
        problem = str(error)
    warnings.warn(f"{problem}; settling leaves that snapshot out", stacklevel=3)
    return {}
