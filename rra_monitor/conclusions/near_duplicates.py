"""Whether near-duplicates among the samples rule the ID of a probe; rule in docs/findings.md."""

import math

import numpy as np

from rra_monitor.capture.names import displayed
from rra_monitor.conclusions.evidence import SURE, Difference, Finding
from rra_monitor.measure.settings import ESTIMATORS
from rra_monitor.measure.snapshot import Snapshot
from rra_monitor.metrics import near_duplicates
from rra_monitor.metrics._near_duplicates import CENSORED, CHANCE

NAMED = 3
"""Largest number of pairs of samples that are named."""


def ruling_near_duplicates(snapshot: Snapshot) -> Finding | None:
    """Layers whose ID is higher by a twentieth or more without the near-duplicates; only of maximum likelihood."""
    shares, censored = snapshot.near_duplicates, snapshot.id_censored
    if snapshot.settings.estimator != ESTIMATORS[0] or shares is None or censored is None:
        return None
    rows = np.flatnonzero(shares > 0)
    if not rows.size:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        rises = np.nan_to_num(censored[rows] / snapshot.id[rows], nan=0.0)
    worst = int(rows[np.argmax(rises)])
    sure = max(1 - CHANCE * len(snapshot.layers), _excess(snapshot, worst).confidence(len(snapshot.layers)))
    if sure < SURE:
        return None
    plain, other, share = (float(curve[worst]) for curve in (snapshot.id, censored, shares))
    if other > plain:
        levels = f"the ID is {plain:.1f} by maximum likelihood and {other:.1f} by the censored estimate"
        remedy = "measure with estimator='censored', or look at the samples"
    else:
        levels = f"the ID is {plain:.1f}, and no estimator is made for so many"
        remedy = "take the duplicates out of the samples"
    return Finding(
        "near_duplicates",
        snapshot.probe,
        tuple(snapshot.layers[row] for row in rows),
        f"{snapshot.probe}: near-duplicates rule the ID in {len(rows)} of {len(snapshot.layers)} "
        f"layers, most at {displayed(snapshot.layers)[worst]}, where {share:.2%} of the samples have one: {levels}; "
        f"{remedy}{_named_pairs(snapshot, worst)}.",
        sure,
        {"share": share, "plain": plain, "censored": other, "layers": float(len(rows))},
    )


def _excess(snapshot: Snapshot, row: int) -> Difference:
    """The relative difference of both estimates, with twice the variance that independent ratios give it.

    The two samples of a pair share r1, so a graph has as few as half as many independent ratios.
    """
    count = snapshot.settings.n * (1 - float(snapshot.zeros[row]))
    curve = snapshot.id_censored
    assert curve is not None
    error = math.sqrt(2 * (1 / (count * (1 - CENSORED)) - 1 / count)) if count > 0 else math.inf
    return Difference(float(curve[row] / snapshot.id[row]) - 1, error)


def _named_pairs(snapshot: Snapshot, row: int) -> str:
    """The ids of a few pairs, where the graph was kept: " 12 and 407, 33 and 90 (and 8 more pairs)"."""
    graph = snapshot.graphs.get(snapshot.layers[row])
    if graph is None:
        return ""
    pairs = dict.fromkeys(tuple(sorted((int(at), int(graph.indices[at, 0])))) for at in near_duplicates(graph).rows)
    ids = snapshot.settings.ids
    named = ", ".join(f"{ids[a]} and {ids[b]}" for a, b in list(pairs)[:NAMED])
    more = len(pairs) - NAMED
    return f" with ids {named}" + (f" and {more} more pairs" if more > 0 else "") if pairs else ""
