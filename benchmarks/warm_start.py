"""Does neighbour descent gain from the graph of the same layer a few steps before?

python benchmarks/warm_start.py --data DIR [--n 5000 20000] [--k 30]

A ResNet20 is trained on CIFAR-10 for 100 steps, and from there for 20 more, once at the same learning rate and once at
a hundredth of it. Neighbours of the later moment are searched cold (random trees) and warm (from the neighbours found
at the earlier moment), with as many candidates and with half of them. Recall is that of 1,000 exact rows.
"""

import argparse
import sys
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pynndescent import NNDescent
from rich.console import Console
from rich.table import Table
from torch import nn

import rra_monitor as rra
from rra_monitor.nn import resnet20

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from cifar10_lightning import cifar10, normalise

LAYERS = ["layer2.1", "layer3.1", "pool", "fc"]


def train(network: nn.Module, sample: rra.FixedSample, steps: int, rate: float) -> None:
    inputs, labels = sample.read(range(sample.n)), torch.as_tensor(sample.labels)
    optimiser = torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4)
    network.train()
    for _ in range(steps):
        batch = torch.randint(0, sample.n, (128,))
        loss = nn.functional.cross_entropy(network(inputs[batch]), labels[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def features_of(network: nn.Module, sample: rra.FixedSample) -> dict[str, np.ndarray]:
    maps = ((name, found.flatten(1).float().numpy()) for name, found in rra.iter_features(network, sample, LAYERS))
    return {
        name: np.ascontiguousarray(points - points.mean(axis=0, dtype=np.float64).astype(np.float32))
        for name, points in maps
    }


def search(points: np.ndarray, k: int, **options: Any) -> tuple[np.ndarray, float]:
    started = time.perf_counter()
    index = NNDescent(points, n_neighbors=k + 1, random_state=0, n_jobs=torch.get_num_threads(), **options)
    return index.neighbor_graph[0][:, 1:], time.perf_counter() - started


def recall(points: np.ndarray, found: np.ndarray) -> float:
    rows = np.random.default_rng(0).choice(len(points), min(1000, len(points)), replace=False)
    table = torch.cdist(torch.from_numpy(points[rows]), torch.from_numpy(points))
    table[torch.arange(len(rows)), torch.from_numpy(rows)] = torch.inf
    true = table.topk(found.shape[1], largest=False).indices.numpy()
    return float(np.mean([np.isin(a, b).mean() for a, b in zip(true, found[rows], strict=True)]))


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    graphs = [
        rra.KnnGraph(np.ascontiguousarray(found, np.int32), np.zeros(found.shape, np.float32)) for found in (one, other)
    ]
    return rra.metrics.nnls(*graphs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--n", type=int, nargs="+", default=[5000, 20_000])
    parser.add_argument("--k", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(0)
    sample = rra.FixedSample.from_dataset(cifar10(options.data, "train", normalise), n=max(options.n))
    network = resnet20()
    train(network, sample, 100, 0.1)
    before = features_of(network, sample)
    search(np.random.default_rng(0).normal(size=(500, 8)).astype(np.float32), 5)  # compiles
    search(before["pool"][:500], 5, init_graph=np.zeros((500, 5), np.int32))
    table = Table(title=f"k = {options.k}, seconds (recall); warm from the neighbours found 20 steps before")
    for column in ("rate", "layer", "d", "n", "NNLS", "cold", "warm", "cold, half", "warm, half"):
        table.add_column(column, justify="right")
    for rate in (0.1, 0.001):
        later = deepcopy(network)
        train(later, sample, 20, rate)
        for name, points in features_of(later, sample).items():
            for n in options.n:
                here, k = points[:n], options.k
                start, _ = search(before[name][:n], k)
                ways = [{"max_candidates": m, **s} for m in (k, k // 2) for s in ({}, {"init_graph": start})]
                results = [search(here, k, **way) for way in ways]
                cells = [f"{seconds:.2f} ({recall(here, found):.4f})" for found, seconds in results]
                similarity = f"{overlap(start, results[0][0]):.3f}"
                table.add_row(str(rate), name, str(points.shape[1]), str(n), similarity, *cells)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
