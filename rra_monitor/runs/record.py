"""A record: the snapshots of one step with their comparisons, which sinks receive."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rra_monitor.capture.names import INPUT
from rra_monitor.conclusions.evidence import Finding
from rra_monitor.measure.match import PREVIOUS, Match
from rra_monitor.measure.snapshot import Snapshot
from rra_monitor.runs.keys import metric_key

SUMMARIES = ("id_peak", "id_last", "nncs_last", "nnls_prev_mean")
"""Quantities of a probe as a whole."""


@dataclass(frozen=True, eq=False)
class Record:
    """The result of one measurement.

    Attributes:
        step: optimiser steps taken.
        epoch: epochs completed.
        snapshots: probe to snapshot.
        matches: probe to comparison name to comparison.
        findings: findings in the curves, see `findings`.
        seconds: time that measuring, comparing and storing took.
        overhead: seconds of the monitor over all seconds since it began, 0 to 1.
    """

    step: int
    epoch: int
    snapshots: Mapping[str, Snapshot]
    matches: Mapping[str, Mapping[str, Match]]
    seconds: float
    overhead: float
    findings: tuple[Finding, ...] = ()


def scalars(record: Record) -> dict[str, float]:
    """Every defined value of a record under its `metric_key`, with `rra/epoch`, `rra/seconds` and `rra/overhead`.

    Where a graph is an approximation, `rra/<probe>/recall` is the lowest recall of the layers. If rows of an exact one
    were wrong and it was built again, `rra/<probe>/failed` is their number.

    Undefined values (an ID without ratios, a layer that the other run does not have) are left out.
    """
    values: dict[str, float] = {}
    for probe, snapshot in record.snapshots.items():
        curves = {"id": snapshot.id}
        if snapshot.nncs is not None:
            curves["nncs"] = snapshot.nncs
        for name, match in record.matches.get(probe, {}).items():
            curves[f"nnls_{name}"] = match.same_layer(snapshot.layers)
        for quantity, curve in curves.items():
            for layer, value in zip(snapshot.layers, curve, strict=True):
                values[metric_key(probe, quantity, layer)] = float(value)
        if (snapshot.recall < 1).any():
            values[metric_key(probe, "recall")] = float(snapshot.recall.min())
        if snapshot.failed is not None and snapshot.failed.any():
            values[metric_key(probe, "failed")] = float(snapshot.failed.sum())
    values |= summaries(record)
    values |= {"rra/seconds": record.seconds, "rra/overhead": record.overhead}
    return {"rra/epoch": float(record.epoch)} | {key: value for key, value in values.items() if not math.isnan(value)}


def summaries(record: Record) -> dict[str, float]:
    """One value per probe and quantity of `SUMMARIES`, by key, which a callback may monitor. Of the full views alone.

    `id_peak` is the largest ID of all layers, `id_last` and `nncs_last` are the last layer's, `nnls_prev_mean` is the
    mean over the layers after the input of the similarity to the previous snapshot.
    """
    values: dict[str, float] = {}
    for probe, snapshot in record.snapshots.items():
        full = snapshot.view()
        last = full.indices[-1]
        found = {"id_peak": _nan_max(snapshot.id[full.indices]), "id_last": float(snapshot.id[last])}
        if snapshot.nncs is not None:
            found["nncs_last"] = float(snapshot.nncs[last])
        if match := record.matches.get(probe, {}).get(PREVIOUS):
            same = match.same_layer(snapshot.layers)[full.indices[[layer != INPUT for layer in full.layers]]]
            found["nnls_prev_mean"] = float(np.mean(same[~np.isnan(same)])) if (~np.isnan(same)).any() else math.nan
        values |= {metric_key(probe, quantity): value for quantity, value in found.items()}
    return {key: value for key, value in values.items() if not math.isnan(value)}


def _nan_max(values: npt.NDArray[np.float64]) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.max()) if defined.size else math.nan
