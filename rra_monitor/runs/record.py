"""A record: the snapshots of one step with their comparisons, which sinks receive."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from rra_monitor.capture.names import INPUT
from rra_monitor.conclusions.evidence import Finding
from rra_monitor.measure.match import PREVIOUS, Match, same_layer_curves
from rra_monitor.measure.quantity import PAIRED, Quantity
from rra_monitor.measure.settings import Curve
from rra_monitor.measure.snapshot import Snapshot
from rra_monitor.runs.keys import metric_key

PREVIOUS_MEAN = f"{PAIRED}{PREVIOUS}_mean"
"""Name of the mean similarity to the previous snapshot."""


@dataclass(frozen=True, eq=False)
class Record:
    """The result of one measurement.

    Attributes:
        step: optimiser steps taken.
        epoch: epochs completed.
        snapshots: probe to snapshot.
        matches: probe to its comparisons by name.
        findings: findings in the curves, see `findings`.
        seconds: time that measuring, comparing and storing took.
        overhead: fraction of the time since the fit began, or the recorder was made, that the monitor took, 0 to 1.
        interval: number of moments that were asked for of which one is measured, see `Schedule`.
    """

    step: int
    epoch: int
    snapshots: Mapping[str, Snapshot]
    matches: Mapping[str, Mapping[str, Match]]
    seconds: float
    overhead: float
    findings: tuple[Finding, ...] = ()
    interval: int = 1


def scalars(record: Record) -> dict[str, float]:
    """Every defined value of a record under its `metric_key`, with `rra/epoch`, `rra/seconds` and `rra/overhead`.

    These are the `main_curves` of the layers, and for each probe the `summaries`, and `rra/<probe>/<quantity>` of the
    quantities that have a worst value: `recall` is the lowest where a graph is an approximation, `failed` the number of
    rows that were wrong where an exact graph was built again.

    Undefined values (an ID without ratios, a layer that the other run does not have) are left out.
    """
    values: dict[str, float] = {}
    for probe, snapshot in record.snapshots.items():
        for name, curve in main_curves(snapshot, record.matches.get(probe, {})).items():
            for layer, value in zip(snapshot.layers, curve, strict=True):
                values[metric_key(probe, name, layer)] = float(value)
        for quantity, curve in snapshot.measured():
            if quantity.worst is not None:
                values[metric_key(probe, quantity.name)] = quantity.worst(curve)
    values |= summaries(record)
    values |= {"rra/seconds": record.seconds, "rra/overhead": record.overhead}
    return {"rra/epoch": float(record.epoch)} | {key: value for key, value in values.items() if not math.isnan(value)}


def main_curves(snapshot: Snapshot, matches: Mapping[str, Match]) -> dict[str, Curve]:
    """Name to (L,) values of what is logged for every layer: the main quantities, then the comparisons."""
    main = {quantity.name: curve for quantity, curve in snapshot.main()}
    return main | same_layer_curves(snapshot, matches)


def summaries(record: Record) -> dict[str, float]:
    """One value per probe of each of `summary_names`, by key, which a callback may monitor. Only full views count.

    `id_peak` is the largest ID of all layers, `id_last` and `nncs_last` are the last layer's, `nnls_prev_mean` is the
    mean over the layers after the input of the similarity to the previous snapshot.
    """
    values: dict[str, float] = {}
    for probe, snapshot in record.snapshots.items():
        full = snapshot.view()
        for quantity, curve in snapshot.measured():
            for name, summary in zip(quantity.summary_names, quantity.summaries.values(), strict=True):
                values[metric_key(probe, name)] = summary(curve[full.indices])
        if match := record.matches.get(probe, {}).get(PREVIOUS):
            same = match.same_layer(snapshot.layers)[full.indices[[layer != INPUT for layer in full.layers]]]
            mean = float(np.mean(same[~np.isnan(same)])) if (~np.isnan(same)).any() else math.nan
            values[metric_key(probe, PREVIOUS_MEAN)] = mean
    return {key: value for key, value in values.items() if not math.isnan(value)}


def summary_names(quantities: Iterable[Quantity], labelled: bool) -> list[str]:
    """The names of the `summaries` of a probe: `<quantity>_<suffix>`, and that of the comparison."""
    shown = [one for one in quantities if not one.of_pairs and (labelled or not one.needs_labels)]
    return [*(name for one in shown for name in one.summary_names), PREVIOUS_MEAN]
