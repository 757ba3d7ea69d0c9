"""How long does the NNLS matrix of a network take, against a plain compiled merge of sorted rows?

    python benchmarks/nnls.py                    # half a minute on two cores, most of it for the graphs

The graphs overlap like those of neighbouring layers: each belongs to features that turn a little further from the first
layer's towards others. Medians over the repeats, and medians of the ratios within a repeat, after an untimed first one.
The merge has its rows sorted beforehand, untimed, and compares each pair of layers once.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import torch
from results import Sheet, provenance, write_section
from rich.console import Console
from rich.progress import track

import rra_monitor as rra


def turning_graphs(layers: int, n: int, k: int, d: int = 16) -> list[rra.KnnGraph]:
    """Graphs of cos(t) a + sin(t) b for normal a and b and t from 0 to a quarter turn."""
    first, last = np.random.default_rng(0).standard_normal((2, n, d), dtype=np.float32)
    turns = np.linspace(0, np.pi / 2, layers, dtype=np.float32)
    return [rra.knn_graph(np.cos(t) * first + np.sin(t) * last, k) for t in track(turns, "graphs")]


@numba.njit(parallel=True, cache=True)
def merged(rows: Any) -> Any:
    """The NNLS matrix of (layers, n, k) sorted neighbours, by walking along two rows at once."""
    layers, n, k = rows.shape
    overlap = np.zeros((n, layers, layers))
    for i in numba.prange(n):
        for a in range(layers):
            for b in range(a, layers):
                left, right, shared = 0, 0, 0
                while left < k and right < k:
                    difference = rows[a, i, left] - rows[b, i, right]
                    shared += difference == 0
                    left += difference <= 0
                    right += difference >= 0
                overlap[i, a, b] = overlap[i, b, a] = shared / (2 * k - shared)
    return overlap.sum(axis=0) / n


def on_threads(count: int, rows: Any) -> Callable[[], Any]:
    def merge() -> Any:
        numba.set_num_threads(count)
        return merged(rows)

    return merge


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=13, help="graphs (default: %(default)s)")
    parser.add_argument("--n", type=int, default=15_000, help="samples (default: %(default)s)")
    parser.add_argument("--k", type=int, default=150, help="neighbours (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=7, help="(default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="(default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="replace the section of benchmarks/RESULTS.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    graphs = turning_graphs(options.layers, options.n, options.k)
    rows = np.sort(np.stack([graph.indices for graph in graphs]), axis=2)
    methods = {"rra.metrics.nnls_matrix": lambda: rra.metrics.nnls_matrix(graphs)}
    methods |= {
        f"merge, {count} thread{'s' * (count > 1)}": on_threads(count, rows) for count in sorted({1, options.threads})
    }
    matrices = [call() for call in methods.values()]
    for matrix in matrices:
        np.testing.assert_allclose(matrix, matrices[0], atol=1e-12)
    seconds: dict[str, list[float]] = {method: [] for method in methods}
    for _ in track(range(options.repeats), "repeats"):
        for method, call in methods.items():
            started = time.perf_counter()
            call()
            seconds[method].append(time.perf_counter() - started)
    own = seconds["rra.metrics.nnls_matrix"]
    size = f"{options.layers} graphs of n = {options.n:,}, k = {options.k}"
    sheet = Sheet(size, ("method", "seconds", "of nnls_matrix"))
    for method, found in seconds.items():
        ratio = statistics.median(its / ours for its, ours in zip(found, own, strict=True))
        sheet.rows.append([method, f"{statistics.median(found):.3f}", f"{ratio:.2f}"])
    sheet.print(Console(width=None if sys.stdout.isatty() else 120))
    beside = np.diag(matrices[0], 1)
    note = (
        f"NNLS of neighbouring layers {beside.min():.2f} to {beside.max():.2f}, of the ends {matrices[0][0, -1]:.3f}."
    )
    print(note)
    if options.write:
        where = provenance(options.threads, {"torch": torch.__version__, "numba": numba.__version__})
        write_section("nnls", f"## How long does an NNLS matrix take?\n\n{where}\n\n{sheet.markdown()}\n\n{note}")


if __name__ == "__main__":
    main()
