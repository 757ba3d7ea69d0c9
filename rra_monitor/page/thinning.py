"""Fewer frames of a run, evenly chosen, for a file that must be small."""

import dataclasses

import numpy as np

from rra_monitor.page.arrays import Matrix
from rra_monitor.page.series import ProbeSeries, RunSeries


def thinned(run: RunSeries, count: int) -> RunSeries:
    """A run with `count` of its frames (at least 2), evenly spaced, the first and the last among them."""
    if count >= len(run.frames):
        return run
    kept = np.unique(np.linspace(0, len(run.frames) - 1, max(2, count)).round().astype(int))
    frames = tuple(run.frames[place] for place in kept)
    probes = {name: _probe(probe, kept) for name, probe in run.probes.items()}
    return dataclasses.replace(run, frames=frames, probes=probes)


def _probe(probe: ProbeSeries, kept: np.ndarray) -> ProbeSeries:
    return dataclasses.replace(
        probe,
        curves={name: values[kept] for name, values in probe.curves.items()},
        matrices={
            kind: Matrix(matrix.rows, matrix.columns, matrix.views, matrix.values[kept])
            for kind, matrix in probe.matrices.items()
        },
    )
