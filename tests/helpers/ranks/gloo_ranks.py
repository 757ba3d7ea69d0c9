"""Run by test_distributed.py as one of several gloo ranks: builds and measures every case, writes what it found.

python tests/helpers/ranks/gloo_ranks.py RANK RANKS FOLDER
"""

import json
import logging
import sys
import warnings
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
import torch.distributed as dist
from sklearn.datasets import load_digits

from rra_monitor.graph import KnnGraph, ShardedGraph, knn_graph, ring_sizes
from rra_monitor.graph.distributed import distributed_graph
from rra_monitor.metrics import nncs, nnls, nnls_matrix, twonn


def cases():
    """Name to (n, d) points and k; the same on every rank."""
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(300, 24))
    centres, inner = 100 * rng.normal(size=(4, 64)), 0.01 * rng.normal(size=(200, 64))
    half, outlier, symmetric = normal.copy(), normal.copy(), normal.copy()
    half[::2] *= 1e-8
    half[1::2] += 1
    outlier[0] = 1e12
    symmetric[0], symmetric[1] = 1e20, -1e20
    found = {
        "digits": (load_digits().data[:500], 20),
        "gaussian": (normal, 12),
        "far offset": (normal + 1e4, 12),
        "tight clusters": (centres[np.arange(200) % 4] + inner + 50, 30),
        "fine clusters": (np.sign(rng.normal(size=(300, 1))) + 2e-7 * normal, 10),
        "half at one point": (half, 10),
        "outlier": (outlier, 10),
        "symmetric outliers": (symmetric, 10),
        "tiny beside one": (np.concatenate([np.ones((300, 1)), 1e-22 * normal], axis=1), 10),
        "binary": (rng.integers(0, 2, size=(400, 30)), 10),
        "huge": (normal * 1e25, 12),
        "small": (normal * 1e-30, 12),
        "duplicates": (np.repeat(rng.normal(size=(20, 5)), 3, axis=0), 4),
        "constant": (np.full((30, 7), 0.1), 3),
        "everyone": (rng.normal(size=(6, 3)), 5),
        "two samples": (np.array([[0.0], [3.0]]), 1),
    }
    return {name: (points.astype(np.float32), k) for name, (points, k) in found.items()}


CASES = cases()


def share(n, rank, ranks):
    """The rows of a rank: uneven shares, and among four ranks one without a row and one with a single row."""
    cuts = {1: [0, n], 2: [0, n * 2 // 3, n], 4: [0, n // 2, n // 2, n // 2 + 1, n]}[ranks]
    return slice(cuts[rank], cuts[rank + 1])


def main():
    rank, ranks, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / "store"), ranks)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=ranks, timeout=timedelta(minutes=5))
    group = dist.group.WORLD
    arrays, values, graphs = {}, {}, {}

    def note(name, graph):
        arrays[f"{name}.indices"], arrays[f"{name}.distances"] = graph.indices, graph.distances
        values[name] = [getattr(graph, "offset", None), getattr(graph, "total", None), graph.ties, graph.zeros]

    for name, (points, k) in CASES.items():
        here = share(len(points), rank, ranks)
        graphs[name] = distributed_graph(torch.from_numpy(points[here]), k, group)
        note(name, graphs[name])
    digits = torch.from_numpy(CASES["digits"][0][share(500, rank, ranks)])
    with patch.dict(ring_sizes.BLOCK_BYTES, cpu=10_000):
        note("digits in small blocks", distributed_graph(digits, 20, group))
    note("digits in half precision", distributed_graph(digits.reshape(-1, 1, 8, 8).half(), 20, group))
    note("digits as uint16", distributed_graph(digits.to(torch.uint16), 20, group))
    note("digits as float8", distributed_graph(digits.to(torch.float8_e4m3fn), 20, group))  # 0 to 16: exact
    logged = []
    handler = logging.Handler()
    handler.emit = lambda record: logged.append(record.getMessage())
    logging.getLogger("rra_monitor").addHandler(handler)
    logging.getLogger("rra_monitor").setLevel(logging.INFO)
    note("digits by auto", knn_graph(digits, 20, group=group))
    values["logged"] = logged
    gathered = graphs["digits"].gather()
    note("digits gathered", gathered)
    values["twonn of gathered"] = twonn(gathered)
    note("digits backwards", distributed_graph(digits.flip(1) ** 2, 20, group))
    other = ShardedGraph(
        arrays["digits backwards.indices"], arrays["digits backwards.distances"], graphs["digits"].offset, 500, group
    )
    labels = load_digits().target[:500][share(500, rank, ranks)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values["twonn"] = {name: twonn(graph) for name, graph in graphs.items() if graph.k > 1}
    values["nncs"] = nncs(graphs["digits"], labels)
    values["nnls"] = nnls(graphs["digits"], other)
    values["nnls_matrix"] = nnls_matrix([graphs["digits"], other]).tolist()

    last = rank == ranks - 1
    broken, whole = digits.clone(), KnnGraph(np.array([[1], [0]], np.int32), np.ones((2, 1), np.float32))
    if last:
        broken[3, 5], broken[7, 0] = float("nan"), float("inf")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of a prototype
        quantised = torch.quantize_per_tensor(digits, 0.1, 0, torch.qint8)
    far_apart = torch.tensor([[2e38] * 9, [-1e38] * 9])[: 0 if rank else 2]
    lopsided = [graphs["digits"]] * (2 if last else 1)
    faults = {
        "nan": lambda: distributed_graph(broken, 5, group),
        "d": lambda: distributed_graph(digits[:, : 60 if last else 64], 5, group),
        "k": lambda: distributed_graph(digits, 6 if last else 5, group),
        "k too large": lambda: distributed_graph(digits, 500, group),
        "k no integer": lambda: distributed_graph(digits, 2.5 if last else 2, group),
        "complex": lambda: distributed_graph(digits.to(torch.complex64) if last else digits, 5, group),
        "array": lambda: distributed_graph(digits.numpy() if last else digits, 5, group),
        "sparse": lambda: distributed_graph(digits.to_sparse() if last else digits, 5, group),
        "quantised": lambda: distributed_graph(quantised if last else digits, 5, group),
        "meta": lambda: distributed_graph(digits.to("meta") if last else digits, 5, group),
        "memory_budget": lambda: knn_graph(digits, 5, memory_budget=1 << 15 if last else 1 << 30, group=group),
        "memory_budget's type": lambda: knn_graph(digits, 5, memory_budget="1GiB" if last else 1 << 30, group=group),
        "min_recall": lambda: knn_graph(digits, 5, min_recall=None if last else 0.9, group=group),
        "seed": lambda: knn_graph(digits, 5, seed=-1 if last else 0, group=group),
        "backend": lambda: knn_graph(digits, 5, "nndescent" if last else "auto", group=group),
        "overflow": lambda: distributed_graph(digits.double() * 1e300, 5, group),
        "far apart": lambda: distributed_graph(far_apart, 1, group),
        "labels": lambda: nncs(graphs["digits"], labels[:-1] if last else labels),
        "whole graph": lambda: nnls(graphs["digits"], whole if last else other),
        "lists": lambda: nnls_matrix(lopsided),
    }
    values["faults"] = {}
    for name, call in faults.items():
        try:
            call()
            values["faults"][name] = "none"
        except (TypeError, ValueError) as error:
            values["faults"][name] = f"{type(error).__name__}: {error}"
    np.savez(folder / f"{rank}.npz", **arrays)
    (folder / f"{rank}.json").write_text(json.dumps(values))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
