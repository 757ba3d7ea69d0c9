"""Run by test_reduction.py as one of two gloo ranks: every estimate over the ranks, written as JSON.

python tests/helpers/ranks/dimension_ranks.py RANK FOLDER
"""

import json
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from rra_monitor.graph import ShardedGraph, knn_graph
from rra_monitor.metrics import gride, levina_bickel, near_duplicates, ratio_histogram, twonn, twonn_standard_error


def whole_graph():
    """Of 300 points, some of them twice, and four near-duplicates."""
    points = np.random.default_rng(0).normal(size=(286, 5))
    return knn_graph(np.concatenate([points, points[:10], points[10:14] + 1e-6]), 16)


def estimates(graph):
    scales = gride(graph)
    duplicates = near_duplicates(graph)
    histogram = ratio_histogram(graph)
    return {
        "regression": twonn(graph, method="regression"),
        "censored": twonn(graph, method="censored"),
        "standard error": twonn_standard_error(graph),
        "near-duplicates": [*map(int, duplicates.rows), duplicates.without, duplicates.censored, duplicates.excess],
        "levina_bickel": levina_bickel(graph),
        "gride": [*scales.dimensions, *scales.standard_errors, *scales.radii],
        "histogram": [*map(int, histogram.counts), histogram.beyond, histogram.dimension],
    }


def main():
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / "store"), 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(minutes=5))
    graph, rows = whole_graph(), (slice(0, 190), slice(190, 300))[rank]
    shard = ShardedGraph(graph.indices[rows], graph.distances[rows], rows.start, graph.n, dist.group.WORLD)
    (folder / f"{rank}.json").write_text(json.dumps(estimates(shard)))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
