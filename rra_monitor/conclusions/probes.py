"""What two probes of one network show together: overfitting and drift."""

import math

import numpy as np

from rra_monitor.capture.names import displayed
from rra_monitor.conclusions.evidence import SURE, Difference, Finding, fraction_difference, log_id_difference
from rra_monitor.measure.settings import Curve, same_density
from rra_monitor.measure.snapshot import Snapshot
from rra_monitor.metrics import nncs

GAP, DRIFT_STEP = 0.02, math.log(1.2)
"""Smallest differences between probes: of the NNCS; of the logarithm of the ID, a fifth, since their n may differ."""


def overfitting(train: Snapshot, other: Snapshot) -> Finding | None:
    """The layer from which on to the last the NNCS of the training probe stays above another's, at equal k / n."""
    layers = [layer for layer in train.layers if layer in other.layers]
    curves = _at_equal_density(train, other, layers)
    if curves is None:
        return _not_comparable(train, other)
    mine, theirs = curves
    n_a, n_b = train.settings.n, other.settings.n
    sure = [
        fraction_difference(b, n_b, a, n_a).confidence(len(layers), GAP) if np.isfinite(a) and np.isfinite(b) else 0.0
        for a, b in zip(mine, theirs, strict=True)
    ]
    first = len(layers)
    while first > 0 and sure[first - 1] >= SURE:
        first -= 1
    # A gap that is there in the data, at the first layer, is no fault of the network's.
    if first in (0, len(layers)):
        return None
    a, b = float(mine[-1]), float(theirs[-1])
    shown = displayed(layers)
    return Finding(
        "overfitting",
        other.probe,
        tuple(layers[first:]),
        f"train and {other.probe} part at {shown[first]}: NNCS {mine[first]:.3f} against {theirs[first]:.3f} there, "
        f"{a:.3f} against {b:.3f} at {shown[-1]}; from there on the network overfits.",
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
            change = log_id_difference(train, row, other, column[layer])
            confidence = Difference(abs(change.value), change.error).confidence(2 * len(train.layers), DRIFT_STEP)
            if confidence >= SURE:
                ratios[layer], sure[layer] = change.value, confidence
    if not ratios:
        return None
    worst = max(ratios, key=lambda layer: abs(ratios[layer]))
    row = train.layers.index(worst)
    here, there = train.id[row], other.id[column[worst]]
    return Finding(
        "drift",
        other.probe,
        tuple(ratios),
        f"the ID curves of train and {other.probe} part in {len(ratios)} of {len(train.layers)} layers, most at "
        f"{displayed(train.layers)[row]}: {here:.1f} against {there:.1f}; the two partitions are not alike to the "
        "network.",
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
            fewer = [side.graphs[layer].nearest(k) for layer in layers]
            curve = np.where(np.isnan(curve), np.nan, [nncs(graph, side.settings.labels) for graph in fewer])
        curves.append(curve)
    return curves[0], curves[1]
