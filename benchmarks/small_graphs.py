"""Is a graph of few samples or of few features as fast as the fastest of what anyone would write or call?

    python benchmarks/small_graphs.py [--write]                 # some minutes on two cores
    python benchmarks/small_graphs.py --n 100 300 --dims 3 64   # a part of the grid

Gaussian clusters, k = n / 100 but at least 2. In one process, in each round every method once, after a rest in which
the others' threads stop spinning; medians of the rounds. Ours has the graph with its checks; the others give distances
and indices that still hold the sample itself. The bar: at most 1.1 times the fastest of them, or half a millisecond
beyond it.
"""

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
import torch
from results import Sheet, provenance, write_section
from rich.console import Console
from rich.progress import track

import rra_monitor as rra

NS, DIMS = (100, 300, 1000, 2000, 5000), (3, 10, 64, 512, 4096, 16_384)
REST = 0.25
"""Seconds before each run: the threads of some libraries go on spinning for 0.2 s after their work."""

BAR, BEYOND = 1.1, 0.5


def ours(points: torch.Tensor, k: int) -> Any:
    return rra.knn_graph(points, k)


def faiss_flat(points: torch.Tensor, k: int) -> Any:
    index = faiss.IndexFlatL2(points.shape[1])
    index.add(points.numpy())
    return index.search(points.numpy(), k + 1)


def cdist_topk(points: torch.Tensor, k: int) -> Any:
    return torch.cdist(points, points).topk(k + 1, largest=False)


def mm_topk(points: torch.Tensor, k: int) -> Any:
    return torch.addmm(points.square().sum(dim=1), points, points.T, alpha=-2).topk(k + 1, largest=False)


PEERS: dict[str, Callable[[torch.Tensor, int], Any]] = {
    "faiss flat": faiss_flat,
    "cdist + topk": cdist_topk,
    "mm + topk": mm_topk,
}


def clusters(n: int, dim: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    centres = 2 * torch.randn(10, dim, generator=generator)
    return centres[torch.randint(10, (n,), generator=generator)] + torch.randn(n, dim, generator=generator)


def medians(points: torch.Tensor, k: int, rounds: int) -> dict[str, float]:
    """Milliseconds of every method, ours first."""
    methods = {"ours": ours, **PEERS}
    taken: dict[str, list[float]] = {name: [] for name in methods}
    for search in methods.values():
        search(points, k)
    for _ in range(rounds):
        for name, search in methods.items():
            time.sleep(REST)
            started = time.perf_counter()
            search(points, k)
            taken[name].append(1e3 * (time.perf_counter() - started))
    return {name: statistics.median(each) for name, each in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=NS)
    parser.add_argument("--dims", type=int, nargs="+", default=DIMS)
    parser.add_argument("--rounds", type=int, default=9, help="of short searches; of long ones a third")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="replace the section of benchmarks/RESULTS.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    faiss.omp_set_num_threads(options.threads)
    console = Console(width=None if sys.stdout.isatty() else 140)
    sheet = Sheet("Milliseconds", ["n", "d", "k", "ours", *PEERS, "ours / fastest", "beyond it, ms", "met"], texts=0)
    cells = list(itertools.product(options.n, options.dims))
    for n, dim in track(cells, "cells", console=console):
        points, k = clusters(n, dim), max(2, n // 100)
        found = medians(points, k, options.rounds if n * n * dim < 4e9 else max(3, options.rounds // 3))
        fastest = min(found[name] for name in PEERS)
        met = found["ours"] <= max(BAR * fastest, fastest + BEYOND)
        times = [f"{value:.2f}" for value in found.values()]
        ends = [f"{found['ours'] / fastest:.2f}", f"{found['ours'] - fastest:+.2f}", "yes" if met else "NO"]
        sheet.rows.append([f"{n:,}", f"{dim:,}", f"{k}", *times, *ends])
    sheet.print(console)
    met = sum(row[-1] == "yes" for row in sheet.rows)
    verdict = f"{met} of {len(sheet.rows)} cells within the bar."
    about = provenance(
        options.threads, {"torch": torch.__version__, "faiss": faiss.__version__, "numpy": np.__version__}
    )
    console.print(f"{verdict} {about}")
    if options.write:
        title = "## Small graphs: against a line of torch, and faiss"
        write_section("small-graphs", "\n\n".join([title, about, sheet.markdown(), verdict]))


if __name__ == "__main__":
    main()
