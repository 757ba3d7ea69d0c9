"""Findings: what the thesis reads off the curves, each by a stated rule with a stated confidence.

The rules stand in docs/findings.md. All read the layers as they are, except the pooling windows.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from rra_monitor.compare import check_comparable
from rra_monitor.evidence import SURE, TIED, Change, Finding, id_change, nncs_change, share_change
from rra_monitor.graph.knn import KnnGraph
from rra_monitor.layer_findings import (
    NNCS_STEP,
    cluster_spike,
    collapse,
    hunchback,
    id_peak,
    initial_contraction,
    redundant_layers,
    unsettled,
)
from rra_monitor.metrics import nncs
from rra_monitor.names import FULL, layer_view
from rra_monitor.snapshot import Curve, Snapshot, same_density

GAP, DRIFT_STEP = 0.02, math.log(1.2)
"""Least differences between probes: of the NNCS, and of the logarithm of the ID, a fifth, since their n may differ."""

PER_LAYER = ("id", "id_error", "ties", "zeros", "recall", "hubness")


def findings(snapshots: Mapping[str, Snapshot], previous: Mapping[str, Snapshot] | None = None) -> list[Finding]:
    """What the curves of one moment show; an empty list where they show nothing.

    Args:
        snapshots: probe to snapshot, of one network at one step. With graphs differences of NNCS are told apart more
            finely, and probes of different k / n can be compared. Other probes are compared with the one named `train`.
        previous: probe to an earlier snapshot of the same samples, for what develops over epochs.

    Returns:
        Findings in the order of the probes, then those that compare probes.

    Raises:
        ValueError: an earlier snapshot of other samples, or another k.

    Source: thesis, chapters 4 to 6; rules, least differences and confidence are ours, see docs/findings.md.
    """
    found: list[Finding | None] = []
    full = {probe: _full(snapshot) for probe, snapshot in snapshots.items()}
    for probe, snapshot in full.items():
        before = (previous or {}).get(probe)
        if before is not None:
            check_comparable(snapshot.settings, before.settings, f"the earlier snapshot of {probe!r}")
            before = _full(before)
        found += [id_peak(snapshot), hunchback(snapshot), initial_contraction(snapshot), cluster_spike(snapshot)]
        found += redundant_layers(snapshot)
        found += [collapse(snapshot, before)]
        found += [] if before is None else [unsettled(snapshot, before)]
        found += pooling_windows(snapshots[probe])
    if train := full.get("train"):
        for probe, snapshot in full.items():
            if probe != "train":
                found += [overfitting(train, snapshot), drift(train, snapshot)]
    return [finding for finding in found if finding is not None]


def pooling_windows(snapshot: Snapshot) -> list[Finding]:
    """Per stage, the average-pooling window of the highest mean NNCS over its blocks, where pooling helps (Table 7.6).

    A stage is a run of layers whose names differ in their last number alone (`layer1.0`, `layer1.1`).
    """
    views = [FULL, *(view for view in snapshot.settings.views if view.startswith("avg"))]
    if snapshot.nncs is None or len(views) < 2:
        return []
    position = {name: row for row, name in enumerate(snapshot.layers)}
    found = []
    for stage, blocks in groupby(snapshot.view().layers, lambda layer: re.sub(r"\.\d+$", "", layer)):
        layers = tuple(blocks)
        means: dict[str, float] = {}
        rows: dict[str, list[int]] = {}
        for view in views:
            names = [layer_view(layer, view) for layer in layers]
            names = [snapshot.aliases.get(name, name) for name in names]
            at = [position[name] for name in names if name in position]
            # Equal views, as of a map that is no larger than the window, enter once.
            if len(at) == len(layers) and at not in rows.values() and (snapshot.ties[at] <= TIED).all():
                rows[view], means[view] = at, float(snapshot.nncs[at].mean())
        if FULL not in rows or len(rows) < 2:
            continue
        best, second = sorted(means, key=lambda view: -means[view])[:2]
        against = {view: _mean_change(snapshot, rows[view], rows[best]) for view in (FULL, second)}
        sure = against[FULL].confidence(len(rows), NNCS_STEP)
        if best == FULL or sure < SURE:
            continue
        apart = against[second].confidence(len(rows)) >= SURE
        tail = "" if apart else ", within the sampling error"
        found.append(
            Finding(
                "pooling_window",
                snapshot.probe,
                layers,
                f"{snapshot.probe}: average pooling of {stage} separates the classes best with {_window(best)}: NNCS "
                f"{means[best]:.3f} against {means[FULL]:.3f} unpooled; {means[best] - means[second]:.3f} above the "
                f"next best, {_window(second)}{tail}.",
                sure,
                {"full": means[FULL], "best": means[best], "margin": means[best] - means[second]},
            )
        )
    return found


def overfitting(train: Snapshot, other: Snapshot) -> Finding | None:
    """The layer from which on to the last the NNCS of the training probe stays above another's, at equal k / n."""
    layers = [layer for layer in train.layers if layer in other.layers]
    curves = _at_equal_density(train, other, layers)
    if curves is None:
        return _not_comparable(train, other)
    mine, theirs = curves
    n_a, n_b = train.settings.n, other.settings.n
    sure = [
        share_change(b, n_b, a, n_a).confidence(len(layers), GAP) if np.isfinite(a) and np.isfinite(b) else 0.0
        for a, b in zip(mine, theirs, strict=True)
    ]
    first = len(layers)
    while first > 0 and sure[first - 1] >= SURE:
        first -= 1
    # A gap that is there in the data, at the first layer, is no fault of the network's.
    if first in (0, len(layers)):
        return None
    a, b = float(mine[-1]), float(theirs[-1])
    return Finding(
        "overfitting",
        other.probe,
        tuple(layers[first:]),
        f"train and {other.probe} part at {layers[first]}: NNCS {mine[first]:.3f} against {theirs[first]:.3f} there, "
        f"{a:.3f} against {b:.3f} at {layers[-1]}; from there on the network overfits.",
        min(sure[first:]),
        {"train": float(mine[first]), other.probe: float(theirs[first]), "train_last": a, f"{other.probe}_last": b},
    )


def drift(train: Snapshot, other: Snapshot) -> Finding | None:
    """Layers whose IDs differ by a fifth between two probes, whose n differ by no more than a factor of 2."""
    if max(train.settings.n, other.settings.n) > 2 * min(train.settings.n, other.settings.n):
        return None
    column = {layer: row for row, layer in enumerate(other.layers)}
    ratios, sure = {}, {}
    for row, layer in enumerate(train.layers):
        if layer in column:
            change = id_change(train, row, other, column[layer])
            confidence = Change(abs(change.value), change.error).confidence(2 * len(train.layers), DRIFT_STEP)
            if confidence >= SURE:
                ratios[layer], sure[layer] = change.value, confidence
    if not ratios:
        return None
    worst = max(ratios, key=lambda layer: abs(ratios[layer]))
    here, there = train.id[train.layers.index(worst)], other.id[column[worst]]
    return Finding(
        "drift",
        other.probe,
        tuple(ratios),
        f"the ID curves of train and {other.probe} part in {len(ratios)} of {len(train.layers)} layers, most at "
        f"{worst}: {here:.1f} against {there:.1f}; the two partitions are not alike to the network.",
        min(sure.values()),
        {"train": float(here), other.probe: float(there)},
    )


def _not_comparable(train: Snapshot, other: Snapshot) -> Finding | None:
    if train.nncs is None or other.nncs is None:
        return None
    here, there = train.settings, other.settings
    return Finding(
        "not_comparable",
        other.probe,
        (),
        f"the NNCS of train (k/n = {here.k}/{here.n}) and {other.probe} ({there.k}/{there.n}) are not comparable; keep "
        "the graphs, or measure both with k in proportion to n, to see where they part.",
        1.0,
        {"train": here.ndr, other.probe: there.ndr},
    )


def _at_equal_density(train: Snapshot, other: Snapshot, layers: list[str]) -> tuple[Curve, Curve] | None:
    """The NNCS of both at k / n within a tenth, the denser graphs cut to fewer neighbours where they differ."""
    if train.nncs is None or other.nncs is None or not layers:
        return None
    n_a, n_b = train.settings.n, other.settings.n
    # The most neighbours that bring both to one density.
    choices = [(round(k * n_a / n_b), k) for k in range(other.settings.k, 0, -1)]
    fitting = [(a, b) for a, b in choices if 1 <= a <= train.settings.k and same_density(a, n_a, b, n_b)]
    if not fitting:
        return None
    curves = []
    for side, k in zip((train, other), fitting[0], strict=True):
        rows = [side.layers.index(layer) for layer in layers]
        assert side.nncs is not None
        curve = side.nncs[rows]
        if k != side.settings.k:
            if any(layer not in side.graphs for layer in layers):
                return None
            kept = [side.graphs[layer] for layer in layers]
            fewer = [KnnGraph(graph.indices[:, :k], graph.distances[:, :k]) for graph in kept]
            curve = np.where(np.isnan(curve), np.nan, [nncs(graph, side.settings.labels) for graph in fewer])
        curves.append(curve)
    return curves[0], curves[1]


def _full(snapshot: Snapshot) -> Snapshot:
    """The layers as they are, without views; NNCS and NNLS undefined where most samples are tied."""
    rows = snapshot.view().indices
    layers = tuple(snapshot.layers[row] for row in rows)
    tied = snapshot.ties[rows] > TIED
    nnls_rows = snapshot.nnls[np.ix_(rows, rows)].copy()
    nnls_rows[tied], nnls_rows[:, tied] = np.nan, np.nan
    return replace(
        snapshot,
        layers=layers,
        nncs=None if snapshot.nncs is None else np.where(tied, np.nan, snapshot.nncs[rows]),
        nnls=nnls_rows,
        graphs={layer: snapshot.graphs[layer] for layer in layers if layer in snapshot.graphs},
        aliases={},
        **{name: _rows(getattr(snapshot, name), rows) for name in PER_LAYER},
    )


def _rows(curve: Curve | None, rows: npt.NDArray[np.intp]) -> Any:
    return None if curve is None else curve[rows]


def _mean_change(snapshot: Snapshot, rows_a: list[int], rows_b: list[int]) -> Change:
    """Between means over blocks, whose errors, being of the same samples, do not average out."""
    changes = [nncs_change(snapshot, a, b) for a, b in zip(rows_a, rows_b, strict=True)]
    return Change(
        sum(change.value for change in changes) / len(changes), sum(change.error for change in changes) / len(changes)
    )


def _window(view: str) -> str:
    if view == FULL:
        return "no pooling"
    return "the global window" if view.endswith("-global") else f"windows of {view.removeprefix('avg')}"
