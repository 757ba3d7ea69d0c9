"""Graphs built over gloo ranks, to be compared."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from rra_monitor.graph import KnnGraph


class Outcome:
    """What the ranks of one process group wrote: fractions of each graph, and values by rank."""

    def __init__(self, ranks, folder):
        script = Path(__file__).with_name("gloo_ranks.py")
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
