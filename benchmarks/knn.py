"""How long does an exact graph take, against the machine's own matrix product and against peers?

python benchmarks/knn.py --data DIR [--n 10000] [--k 100] [--repeats 3]

Features are real: CIFAR-10's pixels and feature maps of an untrained ResNet20. In each repeat everything runs once, one
after the other; the table has medians and their ratio to half a float32 product of the same shape (n² d / 2
multiply-adds), which exact neighbours need at least without a trick. faiss-cpu takes part where it is installed.
"""

import argparse
import importlib.util
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from sklearn.neighbors import NearestNeighbors
from torchvision import transforms

import rra_monitor as rra
from rra_monitor.nn import resnet20

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from cifar10_lightning import cifar10

LAYERS = ("input", "layer2.2", "layer1.2")


def half_product(features: torch.Tensor, k: int) -> None:
    """Half of the rows with all columns."""
    torch.mm(features[: len(features) // 2], features.T)


def cdist_topk(features: torch.Tensor, k: int) -> None:
    for block in features.split(1000):
        torch.cdist(block, features).topk(k + 1, largest=False)


def scikit_learn(features: torch.Tensor, k: int) -> None:
    points = features.numpy()
    NearestNeighbors(n_neighbors=k + 1, algorithm="brute").fit(points).kneighbors(points)


def faiss_flat(features: torch.Tensor, k: int) -> None:
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    points = features.numpy()
    index = faiss.IndexFlatL2(points.shape[1])
    index.add(points)
    index.search(points, k + 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--layers", nargs="+", default=LAYERS)
    options = parser.parse_args()
    torch.set_num_threads(2)
    methods: dict[str, Callable[[torch.Tensor, int], object]] = {
        "half product": half_product,
        "rra_monitor exact": rra.knn_graph,
        "torch.cdist + topk": cdist_topk,
        "scikit-learn brute": scikit_learn,
    }
    if importlib.util.find_spec("faiss"):
        methods["faiss-cpu flat"] = faiss_flat
    table = Table(
        title=f"n = {options.n:,}, k = {options.k}, {platform.machine()}, 2 threads, torch {torch.__version__}"
    )
    for column in ("features", "d", "method", "seconds", "of half a product"):
        table.add_column(column, justify="left" if column in ("features", "method") else "right")

    sample = rra.FixedSample.from_dataset(cifar10(options.data, "train", transforms.ToTensor()), n=options.n)
    torch.manual_seed(0)
    rra.knn_graph(torch.rand(2000, 16), 20)  # compiles
    for name, maps in rra.iter_features(resnet20(), sample, list(options.layers), memory_budget=1):
        features = maps.reshape(len(maps), -1).contiguous()
        seconds: dict[str, list[float]] = {method: [] for method in methods}
        for _ in range(options.repeats):
            for method, call in methods.items():
                started = time.perf_counter()
                call(features, options.k)
                seconds[method].append(time.perf_counter() - started)
        unit = statistics.median(seconds["half product"])
        for method, found in seconds.items():
            median = statistics.median(found)
            table.add_row(name, f"{features.shape[1]:,}", method, f"{median:.2f}", f"{median / unit:.2f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
