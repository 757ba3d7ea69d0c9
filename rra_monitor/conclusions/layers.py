"""Findings in the layers of one probe, at one step or since an earlier one; rules in docs/findings.md."""

import math

import numpy as np

from rra_monitor.capture.names import displayed
from rra_monitor.conclusions.evidence import (
    SURE,
    TIED,
    Difference,
    Finding,
    fraction_difference,
    fraction_error,
    log_id_difference,
    nncs_difference,
)
from rra_monitor.measure.settings import Curve
from rra_monitor.measure.snapshot import Snapshot
from rra_monitor.metrics import nnls

ID_STEP, FALL = math.log(1.1), math.log(1.5)
"""Smallest changes of an ID: a tenth; in a collapse, a third."""

NNCS_STEP, SPIKE = 0.01, 0.1
"""Smallest changes of an NNCS: between layers, in a spike."""

ALIKE = 0.8
"""The NNLS, adjusted for chance, from which on two layers count as redundant, and a layer as settled."""


def id_peak(snapshot: Snapshot) -> Finding | None:
    """The layer of highest ID, if it is at least a tenth above both ends."""
    defined = np.flatnonzero(np.isfinite(snapshot.id))
    if len(defined) < 3:
        return None
    first, last = int(defined[0]), int(defined[-1])
    top = int(defined[np.argmax(snapshot.id[defined])])
    higher = max(first, last, key=lambda row: snapshot.id[row])
    sure = log_id_difference(snapshot, higher, snapshot, top).confidence(_pairs(snapshot), ID_STEP)
    if sure < SURE:
        return None
    start, peak, end = (float(snapshot.id[row]) for row in (first, top, last))
    names = [displayed(snapshot.layers)[row] for row in (first, top, last)]
    return Finding(
        "id_peak",
        snapshot.probe,
        (snapshot.layers[top],),
        f"{snapshot.probe}: the ID peaks at {names[1]} with {peak:.1f}, {peak / max(start, end) - 1:.0%} over the "
        f"higher end ({names[0]} {start:.1f}, {names[2]} {end:.1f}).",
        sure,
        {"start": start, "peak": peak, "end": end},
    )


def hunchback(snapshot: Snapshot) -> Finding | None:
    """Whether the ID is an arch with one maximum, or with a second: one that stands out by a tenth, or a shelf."""
    if id_peak(snapshot) is None:
        return None
    sure = {row: _prominence(snapshot, row).confidence(_pairs(snapshot), ID_STEP) for row in _maxima(snapshot.id)}
    rows = [row for row, confidence in sure.items() if confidence >= SURE]
    if len(rows) not in (1, 2):
        return None
    layers, ids = tuple(snapshot.layers[row] for row in rows), [float(snapshot.id[row]) for row in rows]
    shown = displayed(snapshot.layers)
    names = [shown[row] for row in rows]
    confidence = min(sure[row] for row in rows)
    if len(rows) == 1 and (shelf := _shelf(snapshot, rows[0])):
        level, sure_of_shelf = shelf
        values = {"first": ids[0], "shelf": float(snapshot.id[level].mean())}
        start, end = shown[level[0]], shown[level[-1]]
        return Finding(
            "double_hunchback",
            snapshot.probe,
            (layers[0], *(snapshot.layers[row] for row in level)),
            f"{snapshot.probe}: the ID curve is a double hunchback: {ids[0]:.1f} at {names[0]}, and a shelf from "
            f"{start} to {end}, where it levels off at {values['shelf']:.1f} and then falls on.",
            min(confidence, sure_of_shelf),
            values,
        )
    if len(rows) == 1:
        sentence = f"the ID curve is a hunchback: one maximum, {ids[0]:.1f} at {names[0]}; no other stands out."
        return Finding("hunchback", snapshot.probe, layers, f"{snapshot.probe}: {sentence}", confidence, {"id": ids[0]})
    valley = float(np.nanmin(snapshot.id[rows[0] : rows[1]]))
    return Finding(
        "double_hunchback",
        snapshot.probe,
        layers,
        f"{snapshot.probe}: the ID curve is a double hunchback: {ids[0]:.1f} at {names[0]} and {ids[1]:.1f} at "
        f"{names[1]}, {valley:.1f} between them.",
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
    fall, rise = nncs_difference(snapshot, bottom, 0), nncs_difference(snapshot, bottom, top)
    sure = min(change.confidence(_pairs(snapshot), NNCS_STEP) for change in (fall, rise))
    if sure < SURE:
        return None
    above = np.flatnonzero(curve[bottom:] >= curve[0])
    names = displayed(snapshot.layers)
    back = f"it is back at {names[bottom + above[0]]}" if above.size else "and it does not come back to that"
    return Finding(
        "initial_contraction",
        snapshot.probe,
        snapshot.layers[1 : bottom + 1],
        f"{snapshot.probe}: the NNCS first falls, from {curve[0]:.3f} at {names[0]} to {curve[bottom]:.3f} at "
        f"{names[bottom]}; {back}.",
        sure,
        {"start": float(curve[0]), "bottom": float(curve[bottom])},
    )


def cluster_spike(snapshot: Snapshot) -> Finding | None:
    """One or two steps in the second half of the layers with at least half of the NNCS curve's whole rise.

    They also have twice their fraction of the steps, so that an even rise over few layers is not a spike.
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
        change = nncs_difference(snapshot, start, start + width)
        sure = change.confidence(_pairs(snapshot), max(SPIKE, whole * max(0.5, 2 * width / steps)))
        if sure >= SURE:
            before, after = float(curve[start]), float(curve[start + width])
            names = displayed(snapshot.layers)[start : start + width + 1]
            return Finding(
                "cluster_spike",
                snapshot.probe,
                snapshot.layers[start + 1 : start + width + 1],
                f"{snapshot.probe}: the NNCS jumps from {before:.3f} at {names[0]} to {after:.3f} at {names[-1]}, "
                f"{change.value / whole:.0%} of its whole range over the layers.",
                sure,
                {"before": before, "after": after, "share": change.value / whole},
            )
    return None


def redundant_layers(snapshot: Snapshot) -> list[Finding]:
    """Runs of consecutive layers with nearly the same neighbourhoods.

    The NNLS of each pair, adjusted for chance, is at least 0.8, or 0.5 and 0.1 above the median of the other pairs.
    """
    n, chance = snapshot.settings.n, snapshot.nnls_chance
    pairs = np.array([snapshot.nnls[row, row + 1] for row in range(len(snapshot.layers) - 1)])
    sure = np.zeros(len(pairs) + 1)
    for row, value in enumerate(pairs):
        others = np.delete(pairs, row)
        usual = float(np.nanmedian(others)) if np.isfinite(others).any() else 1.0
        bars = (chance + ALIKE * (1 - chance), max(chance + 0.5 * (1 - chance), usual + 0.1))
        sure[row] = Difference(float(value) - min(bars), fraction_error(float(value), n)).confidence(len(pairs))
    found, row = [], 0
    while row < len(pairs):
        stop = row
        while sure[stop] >= SURE:
            stop += 1
        if stop > row:
            layers, lowest = snapshot.layers[row : stop + 1], float(pairs[row:stop].min())
            names = displayed(snapshot.layers)[row : stop + 1]
            if len(layers) == 2:
                similar = f"{names[0]} and {names[1]} have nearly the same neighbourhoods: NNLS {lowest:.2f}"
            else:
                similar = f"{names[0]} to {names[-1]} have nearly the same neighbourhoods: NNLS {lowest:.2f} or more"
            median = float(np.nanmedian(pairs))
            sentence = (
                f"{snapshot.probe}: {similar} from layer to layer (median of all consecutive layers {median:.2f}, "
                f"chance {chance:.3f})."
            )
            values = {"nnls": lowest, "median": median, "chance": chance}
            found.append(
                Finding("redundant_layers", snapshot.probe, layers, sentence, float(sure[row:stop].min()), values)
            )
        row = max(stop, row + 1)
    return found


def collapse(snapshot: Snapshot, before: Snapshot | None) -> Finding | None:
    """Layers whose ID fell by a third or became undefined while a tenth more of the samples became tied or duplicate.

    Compared with the same layer of the earlier snapshot, or without one with the layer before.
    """
    sure, sentences = {}, []
    for row, (layer, shown) in enumerate(zip(snapshot.layers, displayed(snapshot.layers), strict=True)):
        base = snapshot if before is None else before
        at = row - 1 if before is None else base.layers.index(layer) if layer in base.layers else -1
        if at < 0 or not base.id[at] > 0:
            continue
        n = snapshot.settings.n
        shares = {"ties": (base.ties[at], snapshot.ties[row]), "duplicates": (base.zeros[at], snapshot.zeros[row])}
        tries = 2 * len(snapshot.layers)
        rises = {name: fraction_difference(a, n, b, n).confidence(tries, 0.1) for name, (a, b) in shares.items()}
        name = max(rises, key=lambda name: (rises[name], shares[name][1]))
        gone = not snapshot.id[row] > 0
        fall = 1.0 if gone else log_id_difference(snapshot, row, base, at).confidence(len(snapshot.layers), FALL)
        if min(fall, rises[name]) >= SURE:
            sure[layer] = min(fall, rises[name])
            now = "undefined" if gone else f"{snapshot.id[row]:.1f}"
            sentences.append(
                f"{shown} (ID {base.id[at]:.1f} to {now}, {name} {shares[name][0]:.0%} to {shares[name][1]:.0%})"
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
        confidence = Difference(bar - value, fraction_error(value, snapshot.settings.n)).confidence(len(shared))
        if confidence >= SURE and _ties(snapshot, layer) <= TIED and _ties(before, layer) <= TIED:
            values[layer], sure[layer] = value, confidence
    if not values:
        return None
    least = min(values, key=lambda layer: values[layer])
    shown = dict(zip(snapshot.layers, displayed(snapshot.layers), strict=True))
    return Finding(
        "unsettled",
        snapshot.probe,
        tuple(values),
        f"{snapshot.probe}: {len(values)} of {len(shared)} layers have not settled since epoch {before.epoch}, the "
        f"earliest {shown[next(iter(values))]}; least settled is {shown[least]}, with NNLS {values[least]:.2f} with "
        f"its earlier state (settled is {bar:.2f}).",
        min(sure.values()),
        values,
    )


def _maxima(curve: Curve) -> list[int]:
    """Positions of inner local maxima, the first of equals; undefined values are skipped."""
    rows = np.flatnonzero(np.isfinite(curve))
    values = curve[rows]
    inner = range(1, len(rows) - 1)
    return [int(rows[i]) for i in inner if values[i] > values[i - 1] and values[i] >= values[i + 1]]


def _shelf(snapshot: Snapshot, top: int) -> tuple[list[int], float] | None:
    """The longest level part of the ID's fall from its maximum, at least two steps, and its confidence.

    Level means a range of a tenth at most, and less than half of the change that as many steps bring before and after.
    """
    defined = np.flatnonzero(np.isfinite(snapshot.id))
    fall = [int(row) for row in defined[defined >= top]]
    for steps in range(len(fall) - 3, 1, -1):
        sure = {}
        for first in range(1, len(fall) - 1 - steps):
            level = fall[first : first + steps + 1]
            sides = (fall[: first + 1], fall[first + steps :])
            if math.log(snapshot.id[level].max() / snapshot.id[level].min()) <= ID_STEP:
                sure[first] = min(_steeper(snapshot, side, level) for side in sides)
        if sure and (best := max(sure, key=lambda first: sure[first])) and sure[best] >= SURE:
            return fall[best : best + steps + 1], sure[best]
    return None


def _steeper(snapshot: Snapshot, side: list[int], level: list[int]) -> float:
    """Confidence that the ID falls on one side of a level part by a tenth, and twice as steeply as within it."""
    whole = log_id_difference(snapshot, side[-1], snapshot, side[0])
    within = log_id_difference(snapshot, level[-1], snapshot, level[0])
    share = (len(level) - 1) / (len(side) - 1) / 2
    # The layer where both meet has a part in both.
    error = max(whole.error, within.error) * math.sqrt(share**2 + share + 1)
    steeper = Difference(share * whole.value - abs(within.value), error)
    return min(whole.confidence(_pairs(snapshot), ID_STEP), steeper.confidence(_pairs(snapshot)))


def _prominence(snapshot: Snapshot, row: int) -> Difference:
    """Height of a maximum of the ID above the higher of the two valleys between it and higher layers or the ends."""
    curve = snapshot.id
    valleys = []
    for side, higher in ((np.arange(row - 1, -1, -1), np.greater_equal), (np.arange(row + 1, len(curve)), np.greater)):
        barrier = np.flatnonzero(higher(curve[side], curve[row]))
        reach = side[: barrier[0]] if barrier.size else side
        valleys.append(int(reach[np.nanargmin(curve[reach])]))
    return log_id_difference(snapshot, max(valleys, key=lambda at: curve[at]), snapshot, row)


def _pairs(snapshot: Snapshot) -> int:
    """Number of pairs of layers in a curve: the places at which a difference can be found."""
    return len(snapshot.layers) * (len(snapshot.layers) - 1) // 2


def _ties(snapshot: Snapshot, layer: str) -> float:
    return float(snapshot.ties[snapshot.layers.index(layer)])
