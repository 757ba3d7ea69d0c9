"""Findings: what the thesis reads off the curves, each by a stated rule with a stated confidence.

The rules stand in docs/findings.md. All read the layers as they are, except the pooling windows.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np

from rra_monitor.compare import check_comparable
from rra_monitor.graph.knn import KnnGraph
from rra_monitor.metrics import adjusted, nncs, nnls
from rra_monitor.names import FULL, layer_view
from rra_monitor.sampling import Change, id_change, nncs_change, share_change, share_error
from rra_monitor.snapshot import Curve, Snapshot

SURE = 0.99
"""A finding of less confidence is none."""

ID_STEP, DRIFT_STEP, FALL = math.log(1.1), math.log(1.2), math.log(1.5)
"""Least changes of an ID: a tenth; between probes, whose n may differ, a fifth; in a collapse, by a third."""

NNCS_STEP, GAP, SPIKE = 0.01, 0.02, 0.1
"""Least changes of an NNCS: between layers, between probes, in a spike."""

ALIKE = 0.8
"""An NNLS (adjusted for chance) from which on two layers count as one, and a layer as settled; as in `Settling`."""

TIED = 0.5
"""A share of tied samples above which NNCS and NNLS mean little and are not read."""


@dataclass(frozen=True)
class Finding:
    """One thing that the curves show.

    Attributes:
        kind: `id_peak`, `hunchback`, `double_hunchback`, `initial_contraction`, `cluster_spike`, `overfitting`, `drift`,
            `redundant_layers`, `collapse`, `unsettled`, `pooling_window`; or `not_comparable`, a note on two probes.
        probe: in which it was found; of a comparison the one that is not `train`.
        layers: that it is about, in execution order.
        sentence: one, with the numbers in it.
        confidence: 0.99 to 1, that another draw of the samples would not undo it; other seeds are not covered.
        values: the numbers by name.
    """

    kind: str
    probe: str
    layers: tuple[str, ...]
    sentence: str
    confidence: float
    values: Mapping[str, float] = field(default_factory=dict)


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


def id_peak(snapshot: Snapshot) -> Finding | None:
    """The layer of highest ID, where it lies over both ends by a tenth at least."""
    defined = np.flatnonzero(np.isfinite(snapshot.id))
    if len(defined) < 3:
        return None
    first, last = int(defined[0]), int(defined[-1])
    top = int(defined[np.argmax(snapshot.id[defined])])
    higher = max(first, last, key=lambda row: snapshot.id[row])
    sure = id_change(snapshot, higher, snapshot, top).confidence(_pairs(snapshot), ID_STEP)
    if sure < SURE:
        return None
    start, peak, end = (float(snapshot.id[row]) for row in (first, top, last))
    names = [snapshot.layers[row] for row in (first, top, last)]
    return Finding(
        "id_peak",
        snapshot.probe,
        (names[1],),
        f"{snapshot.probe}: the ID peaks at {names[1]} with {peak:.1f}, {peak / max(start, end) - 1:.0%} over the higher "
        f"end ({names[0]} {start:.1f}, {names[2]} {end:.1f}).",
        sure,
        {"start": start, "peak": peak, "end": end},
    )


def hunchback(snapshot: Snapshot) -> Finding | None:
    """Whether the ID is an arch with one maximum or with two that stand out by a tenth at least."""
    if id_peak(snapshot) is None:
        return None
    sure = {row: _prominence(snapshot, row).confidence(_pairs(snapshot), ID_STEP) for row in _maxima(snapshot.id)}
    rows = [row for row, confidence in sure.items() if confidence >= SURE]
    if len(rows) not in (1, 2):
        return None
    layers, ids = tuple(snapshot.layers[row] for row in rows), [float(snapshot.id[row]) for row in rows]
    confidence = min(sure[row] for row in rows)
    if len(rows) == 1:
        sentence = f"the ID curve is a hunchback: one maximum, {ids[0]:.1f} at {layers[0]}; no other stands out."
        return Finding("hunchback", snapshot.probe, layers, f"{snapshot.probe}: {sentence}", confidence, {"id": ids[0]})
    valley = float(np.nanmin(snapshot.id[rows[0] : rows[1]]))
    return Finding(
        "double_hunchback",
        snapshot.probe,
        layers,
        f"{snapshot.probe}: the ID curve is a double hunchback: {ids[0]:.1f} at {layers[0]} and {ids[1]:.1f} at "
        f"{layers[1]}, {valley:.1f} between them.",
        confidence,
        {"first": ids[0], "valley": valley, "second": ids[1]},
    )


def initial_contraction(snapshot: Snapshot) -> Finding | None:
    """Whether the NNCS falls below the first layer's in the first half of the layers, and rises again."""
    curve = snapshot.nncs
    if curve is None or len(curve) < 4 or np.isnan(curve[0]) or np.isnan(curve[1 : (len(curve) + 1) // 2]).all():
        return None
    bottom = 1 + int(np.nanargmin(curve[1 : (len(curve) + 1) // 2]))
    top = bottom + int(np.nanargmax(curve[bottom:]))
    fall, rise = nncs_change(snapshot, bottom, 0), nncs_change(snapshot, bottom, top)
    sure = min(change.confidence(_pairs(snapshot), NNCS_STEP) for change in (fall, rise))
    if sure < SURE:
        return None
    above = np.flatnonzero(curve[bottom:] >= curve[0])
    names = snapshot.layers
    back = f"it is back at {names[bottom + above[0]]}" if above.size else "and it does not come back to that"
    return Finding(
        "initial_contraction",
        snapshot.probe,
        names[1 : bottom + 1],
        f"{snapshot.probe}: the NNCS first falls, from {curve[0]:.3f} at {names[0]} to {curve[bottom]:.3f} at "
        f"{names[bottom]}; {back}.",
        sure,
        {"start": float(curve[0]), "bottom": float(curve[bottom])},
    )


def cluster_spike(snapshot: Snapshot) -> Finding | None:
    """One or two steps in the second half of the layers with at least half of the NNCS curve's whole rise.

    They also have twice their share of the steps, so that an even rise over few layers is no spike.
    """
    curve = snapshot.nncs
    if curve is None or np.isnan(curve).all():
        return None
    steps, whole = len(curve) - 1, float(np.nanmax(curve) - np.nanmin(curve))
    for width in (1, 2):
        starts = np.arange((steps + 1) // 2, steps - width + 1)
        rises = curve[starts + width] - curve[starts]
        if not starts.size or np.isnan(rises).all():
            continue
        start = int(starts[np.nanargmax(rises)])
        change = nncs_change(snapshot, start, start + width)
        sure = change.confidence(_pairs(snapshot), max(SPIKE, whole * max(0.5, 2 * width / steps)))
        if sure >= SURE:
            before, after = float(curve[start]), float(curve[start + width])
            names = snapshot.layers[start : start + width + 1]
            return Finding(
                "cluster_spike",
                snapshot.probe,
                names[1:],
                f"{snapshot.probe}: the NNCS jumps from {before:.3f} at {names[0]} to {after:.3f} at {names[-1]}, "
                f"{change.value / whole:.0%} of its whole range over the layers.",
                sure,
                {"before": before, "after": after, "share": change.value / whole},
            )
    return None


def redundant_layers(snapshot: Snapshot) -> list[Finding]:
    """Runs of consecutive layers with nearly the same neighbourhoods.

    Of each pair, NNLS adjusted for chance is 0.8 at least, or 0.5 and 0.1 above the median of the other pairs.
    """
    n, chance = snapshot.settings.n, snapshot.nnls_chance
    pairs = np.array([snapshot.nnls[row, row + 1] for row in range(len(snapshot.layers) - 1)])
    sure = np.zeros(len(pairs) + 1)
    for row, value in enumerate(pairs):
        others = np.delete(pairs, row)
        usual = float(np.nanmedian(others)) if np.isfinite(others).any() else 1.0
        bars = (chance + ALIKE * (1 - chance), max(chance + 0.5 * (1 - chance), usual + 0.1))
        sure[row] = Change(float(value) - min(bars), share_error(float(value), n)).confidence(len(pairs))
    found, row = [], 0
    while row < len(pairs):
        stop = row
        while sure[stop] >= SURE:
            stop += 1
        if stop > row:
            layers, lowest = snapshot.layers[row : stop + 1], float(pairs[row:stop].min())
            names = f"{layers[0]} and {layers[1]}" if len(layers) == 2 else f"{layers[0]} to {layers[-1]}"
            sentence = (
                f"{snapshot.probe}: {names} have nearly the same neighbourhoods, layer by layer an NNLS of "
                f"{lowest:.2f} or more (median of all consecutive layers {np.nanmedian(pairs):.2f}, chance {chance:.3f})."
            )
            values = {"nnls": lowest, "median": float(np.nanmedian(pairs)), "chance": chance}
            found.append(
                Finding("redundant_layers", snapshot.probe, layers, sentence, float(sure[row:stop].min()), values)
            )
        row = max(stop, row + 1)
    return found


def collapse(snapshot: Snapshot, before: Snapshot | None) -> Finding | None:
    """Layers whose ID fell by a third or became undefined while the share of tied or duplicate samples rose by a tenth.

    Against the same layer of the earlier snapshot, or where there is none against the layer before it.
    """
    sure, sentences = {}, []
    for row, layer in enumerate(snapshot.layers):
        base = snapshot if before is None else before
        at = row - 1 if before is None else base.layers.index(layer) if layer in base.layers else -1
        if at < 0 or not base.id[at] > 0:
            continue
        n = snapshot.settings.n
        shares = {"ties": (base.ties[at], snapshot.ties[row]), "duplicates": (base.zeros[at], snapshot.zeros[row])}
        tries = 2 * len(snapshot.layers)
        rises = {name: share_change(a, n, b, n).confidence(tries, 0.1) for name, (a, b) in shares.items()}
        name = max(rises, key=lambda name: (rises[name], shares[name][1]))
        gone = not snapshot.id[row] > 0
        fall = 1.0 if gone else id_change(snapshot, row, base, at).confidence(len(snapshot.layers), FALL)
        if min(fall, rises[name]) >= SURE:
            sure[layer] = min(fall, rises[name])
            now = "undefined" if gone else f"{snapshot.id[row]:.1f}"
            sentences.append(
                f"{layer} (ID {base.id[at]:.1f} to {now}, {name} {shares[name][0]:.0%} to {shares[name][1]:.0%})"
            )
    if not sure:
        return None
    since = "from the layer before" if before is None else f"since epoch {before.epoch}"
    return Finding(
        "collapse",
        snapshot.probe,
        tuple(sure),
        f"{snapshot.probe}: collapsed {since}: {', '.join(sentences)}.",
        min(sure.values()),
        {"layers": float(len(sure))},
    )


def unsettled(snapshot: Snapshot, before: Snapshot) -> Finding | None:
    """Layers whose NNLS with their own earlier state, adjusted for chance, is below 0.8; needs both graphs."""
    shared = [layer for layer in snapshot.layers if layer in snapshot.graphs and layer in before.graphs]
    values, sure = {}, {}
    bar = snapshot.nnls_chance + ALIKE * (1 - snapshot.nnls_chance)
    for layer in shared:
        value = nnls(snapshot.graphs[layer], before.graphs[layer])
        confidence = Change(bar - value, share_error(value, snapshot.settings.n)).confidence(len(shared))
        if confidence >= SURE and _ties(snapshot, layer) <= TIED and _ties(before, layer) <= TIED:
            values[layer], sure[layer] = value, confidence
    if not values:
        return None
    least = min(values, key=lambda layer: values[layer])
    return Finding(
        "unsettled",
        snapshot.probe,
        tuple(values),
        f"{snapshot.probe}: {len(values)} of {len(shared)} layers have not settled since epoch {before.epoch}, first "
        f"{next(iter(values))}, most {least} (NNLS {values[least]:.2f} with its earlier state; settled is {bar:.2f}).",
        min(sure.values()),
        values,
    )


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
        means, rows = {}, {}
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
                f"{means[best]:.3f} against {means[FULL]:.3f} unpooled; {means[best] - means[second]:.3f} above the next "
                f"best, {_window(second)}{tail}.",
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
        f"the ID curves of train and {other.probe} part in {len(ratios)} of {len(train.layers)} layers, most at {worst}: "
        f"{here:.1f} against {there:.1f}; the two partitions are not alike to the network.",
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
        f"the NNCS of train (k/n = {here.k}/{here.n}) and {other.probe} ({there.k}/{there.n}) are not comparable: where "
        "they part can be told at equal k/n, or from stored graphs.",
        1.0,
        {"train": here.ndr, other.probe: there.ndr},
    )


def _at_equal_density(train: Snapshot, other: Snapshot, layers: list[str]) -> tuple[Curve, Curve] | None:
    """The NNCS of both at k / n within a tenth; the denser graphs without their farthest neighbours where they differ."""
    if train.nncs is None or other.nncs is None or not layers:
        return None
    density = min(train.settings.ndr, other.settings.ndr)
    curves = []
    for side in (train, other):
        n, k = side.settings.n, max(1, round(density * side.settings.n))
        if abs(k / n / density - 1) > 0.1:
            return None
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
        **{name: getattr(snapshot, name)[rows] for name in ("id", "ties", "zeros", "recall")},
    )


def _maxima(curve: Curve) -> list[int]:
    """Positions of inner local maxima, the first of equals; undefined values are passed over."""
    rows = np.flatnonzero(np.isfinite(curve))
    values = curve[rows]
    inner = range(1, len(rows) - 1)
    return [int(rows[i]) for i in inner if values[i] > values[i - 1] and values[i] >= values[i + 1]]


def _prominence(snapshot: Snapshot, row: int) -> Change:
    """How far a maximum of the ID stands over the higher of the two valleys that part it from higher layers or ends."""
    curve = snapshot.id
    valleys = []
    for side, higher in ((np.arange(row - 1, -1, -1), np.greater_equal), (np.arange(row + 1, len(curve)), np.greater)):
        barrier = np.flatnonzero(higher(curve[side], curve[row]))
        reach = side[: barrier[0]] if barrier.size else side
        valleys.append(int(reach[np.nanargmin(curve[reach])]))
    return id_change(snapshot, max(valleys, key=lambda at: curve[at]), snapshot, row)


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


def _pairs(snapshot: Snapshot) -> int:
    """How many pairs of layers a curve has: the places at which a difference can turn up."""
    return len(snapshot.layers) * (len(snapshot.layers) - 1) // 2


def _ties(snapshot: Snapshot, layer: str) -> float:
    return float(snapshot.ties[snapshot.layers.index(layer)])
