"""Findings: what the thesis reads from the curves, each by a stated rule with a stated confidence.

The rules are in docs/findings.md. All use the full views, except the pooling windows.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from rra_monitor.conclusions.evidence import TIED, Finding
from rra_monitor.conclusions.layers import (
    cluster_spike,
    collapse,
    hunchback,
    id_peak,
    initial_contraction,
    redundant_layers,
    unsettled,
)
from rra_monitor.conclusions.near_duplicates import ruling_near_duplicates
from rra_monitor.conclusions.pooling import pooling_windows
from rra_monitor.conclusions.probes import drift, overfitting
from rra_monitor.measure.match import check_comparable
from rra_monitor.measure.snapshot import Snapshot


def findings(snapshots: Mapping[str, Snapshot], previous: Mapping[str, Snapshot] | None = None) -> list[Finding]:
    """What the curves of one step show; an empty list where they show nothing.

    Args:
        snapshots: probe to snapshot, of one network at one step. With graphs, smaller differences of NNCS are
            found, and probes of different k / n can be compared. Other probes are compared with the one named `train`.
        previous: probe to an earlier snapshot of the same samples, for changes over epochs.

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
        found += [ruling_near_duplicates(snapshot)]
        found += [id_peak(snapshot), hunchback(snapshot), initial_contraction(snapshot), cluster_spike(snapshot)]
        found += redundant_layers(snapshot)
        same = before is not None and before.settings.estimator == snapshot.settings.estimator
        found += [collapse(snapshot, before if same else None)]
        found += [] if before is None else [unsettled(snapshot, before)]
        found += pooling_windows(snapshots[probe])
    if train := full.get("train"):
        for probe, snapshot in full.items():
            if probe != "train":
                found += [overfitting(train, snapshot), drift(train, snapshot)]
    return [finding for finding in found if finding is not None]


def _full(snapshot: Snapshot) -> Snapshot:
    """The layers as they are, without views; NNCS and NNLS undefined where most samples are tied."""
    rows = snapshot.view().indices
    layers = tuple(snapshot.layers[row] for row in rows)
    tied = snapshot.ties[rows] > TIED
    similarity = snapshot.nnls[np.ix_(rows, rows)].copy()
    similarity[tied], similarity[:, tied] = np.nan, np.nan
    full = replace(
        snapshot,
        layers=layers,
        curves={name: curve[rows] for name, curve in snapshot.curves.items()},
        graphs={layer: snapshot.graphs[layer] for layer in layers if layer in snapshot.graphs},
        aliases={},
    )
    classes = None if full.nncs is None else np.where(tied, np.nan, full.nncs)
    return full.changed(nnls=similarity, nncs=classes)
