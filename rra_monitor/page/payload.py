"""Runs as JSON for the front end: versioned, and small enough to send.

A payload is {"schema": 1, "runs": [run, …], "comparison": … or null}. A run is

    {"name": str, "group": str or null,
     "frames": [{"step": int, "epoch": int, "seconds": x, "overhead": x, "findings": [finding, …]}, …],
     "titles": {"curves": {name: entry}, "matrices": {kind: entry}},
     "probes": {name: {"n": int, "k": int, "classes": int or null, "chances": {quantity: x}, "estimator": str,
                       "layers": [str, …], "views": [str, …],
                       "curves": {name: array of (frames, views, layers)},
                       "matrices": {kind: {"rows": [str, …], "columns": [str, …], "views": [str, …],
                                           "values": array of (frames, views, rows, columns)}}}}}

with numbers x null where unknown, entries as in `titles`, and findings as {"kind", "probe", "layers", "sentence",
"confidence", "values"}. An
array is {"shape": [int, …], "type": "f4" or "u2", "data": base64, little-endian, C order}. Undefined is NaN as f4. Type
u2 holds fractions from 0 to 1 in steps of 1/65534, which is finer than a fraction of n k neighbours is known; 65535 is
undefined.
"""

import base64
import dataclasses
import math
from collections.abc import Iterable
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from rra_monitor.capture.names import displayed
from rra_monitor.page.arrays import Floats
from rra_monitor.page.series import ProbeSeries, RunSeries
from rra_monitor.page.titles import curve_titles, matrix_titles

SCHEMA = 1
"""Version of the payload; the front end refuses another."""

STEPS, UNDEFINED = 65534, 65535


def run_payload(run: RunSeries) -> dict[str, Any]:
    """One run as plain values."""
    matrices = matrix_titles(run.quantities, _names(probe.matrices for probe in run.probes.values()))
    fractional = {kind for kind, entry in matrices.items() if (entry["low"], entry["high"]) == (0, 1)}
    return {
        "name": run.name,
        "group": run.group,
        "frames": [
            {
                "step": frame.step,
                "epoch": frame.epoch,
                "seconds": _number(frame.seconds),
                "overhead": _number(frame.overhead),
                "findings": [_finding(finding) for finding in frame.findings],
            }
            for frame in run.frames
        ],
        "titles": {
            "curves": curve_titles(run.quantities, _names(probe.curves for probe in run.probes.values())),
            "matrices": matrices,
        },
        "probes": {name: _probe(probe, fractional) for name, probe in run.probes.items()},
    }


def floats(values: Floats) -> dict[str, Any]:
    """An array of any numbers, to seven digits."""
    return _array(values, "f4", values.astype("<f4"))


def fractions(values: Floats) -> dict[str, Any]:
    """An array of numbers from 0 to 1, in two bytes each."""
    steps = np.empty(values.shape, "<u2")
    for rounded, part in zip(steps, values, strict=True):  # by frame: large arrays need no others of their size
        exact = np.nan_to_num(part.astype(np.float64)) * STEPS
        rounded[...] = np.where(np.isnan(part), UNDEFINED, np.rint(exact))
    return _array(values, "u2", steps)


def _array(values: Floats, kind: str, encoded: npt.NDArray[Any]) -> dict[str, Any]:
    data = base64.b64encode(np.ascontiguousarray(encoded).tobytes()).decode("ascii")
    return {"shape": list(values.shape), "type": kind, "data": data}


def _probe(probe: ProbeSeries, fractional: set[str]) -> dict[str, Any]:
    return {
        "n": probe.n,
        "k": probe.k,
        "classes": probe.classes,
        "chances": dict(probe.chances),
        "estimator": probe.estimator,
        "layers": list(displayed(probe.layers)),
        "views": list(probe.views),
        "curves": {name: floats(values) for name, values in probe.curves.items()},
        "matrices": {
            kind: {
                "rows": list(displayed(matrix.rows)),
                "columns": list(displayed(matrix.columns)),
                "views": list(matrix.views),
                "values": (fractions if kind in fractional else floats)(matrix.values),
            }
            for kind, matrix in probe.matrices.items()
        },
    }


def _names(several: Iterable[Iterable[str]]) -> list[str]:
    """All names, each once."""
    return list(dict.fromkeys(chain.from_iterable(several)))


def _finding(finding: Any) -> dict[str, Any]:
    plain = dataclasses.asdict(finding)
    return plain | {"values": {name: _number(value) for name, value in finding.values.items()}}


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
