"""What every way to a graph is compared with, and graphs built over gloo ranks to be compared."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from rra_monitor.graph import KnnGraph
from tests.helpers.ranks.gloo_ranks import cases

CASES = cases()


class Outcome:
    """What the ranks of one process group wrote: fractions of each graph, and values by rank."""

    def __init__(self, ranks, folder):
        script = Path(__file__).parent / "ranks" / "gloo_ranks.py"
        processes = [
            subprocess.Popen([sys.executable, script, str(rank), str(ranks), folder], stderr=subprocess.PIPE, text=True)
            for rank in range(ranks)
        ]
        try:
            errors = [process.communicate(timeout=900)[1] for process in processes]
        finally:
            for process in processes:
                process.kill()
        for process, error in zip(processes, errors, strict=True):
            assert process.returncode == 0, error
        self.ranks = ranks
        self.values = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(ranks)]
        self._arrays = [np.load(folder / f"{rank}.npz") for rank in range(ranks)]

    def shares(self, name):
        return [(arrays[f"{name}.indices"], arrays[f"{name}.distances"]) for arrays in self._arrays]

    def graph(self, name):
        """The shares put together."""
        _, _, ties, zeros = self.values[0][name]
        indices, distances = (np.concatenate(parts) for parts in zip(*self.shares(name), strict=True))
        return KnnGraph(indices, distances, ties=ties, zeros=zeros)


def truth(points, k):
    """The graph by a double-precision loop, equal distances in float32 by index."""
    points = points.astype(np.float64)
    indices = np.empty((len(points), k), np.int32)
    distances = np.empty((len(points), k), np.float32)
    for i in range(len(points)):
        row = np.sqrt(((points - points[i]) ** 2).sum(axis=1)).astype(np.float32)
        row[i] = np.inf
        indices[i] = np.argsort(row, kind="stable")[:k]
        distances[i] = row[indices[i]]
    return KnnGraph(indices, distances)


def assert_same_but_for_ties(graph, expected):
    np.testing.assert_allclose(graph.distances, expected.distances, rtol=2e-6, atol=0)
    for i in (np.sort(graph.indices) != np.sort(expected.indices)).any(axis=1).nonzero()[0]:
        # The last distance is tied, and those that differ are at it.
        last = expected.distances[i, -1]
        for found in (graph, expected):
            differ = ~np.isin(found.indices[i], np.intersect1d(graph.indices[i], expected.indices[i]))
            np.testing.assert_allclose(found.distances[i, differ], last, rtol=1e-5)
