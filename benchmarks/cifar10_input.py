"""Do the numbers agree with what is known of CIFAR-10's pixels, and with double precision on feature maps?

python benchmarks/cifar10_input.py --data DIR      # DIR/train/<class>/*.jpg or cifar-10-batches-py/
"""

import argparse
import platform
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torchvision import transforms

import rra_monitor as rra
from rra_monitor.nn import resnet20

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from cifar10_lightning import cifar10


def brute_force(features: torch.Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k + 20 nearest by a float64 product, their distances by float64 differences: (n, k + 20), nearest first."""
    points = features.reshape(len(features), -1).double()
    table = torch.cdist(points, points, compute_mode="use_mm_for_euclid_dist").fill_diagonal_(torch.inf)
    indices = table.topk(k + 20, largest=False).indices
    rows = (points[near] - point for near, point in zip(indices, points, strict=True))
    distances, order = torch.stack([row.square().sum(1).sqrt() for row in rows]).sort(dim=1)
    return indices.gather(1, order).numpy(), distances.numpy()


def compare(features: torch.Tensor, k: int) -> None:
    graph = rra.knn_graph(features, k)
    indices, distances = brute_force(features, k)
    relative = np.abs(graph.distances - distances[:, :k]) / distances[:, :k]
    strangers = 0
    for i in range(graph.n):
        known = dict(zip(indices[i], distances[i], strict=True))
        edge = distances[i, k - 1]
        for j in set(graph.indices[i]) ^ set(indices[i, :k]):
            strangers += abs(known.get(j, np.inf) - edge) > 1e-5 * edge
    true_id = graph.n / np.log(distances[:, 1] / distances[:, 0]).sum()
    found_id = rra.metrics.twonn(graph)
    print(f"  neighbours that differ and are not tied: {strangers} of {graph.n * k}")
    print(f"  largest relative error of r1 and r2 {relative[:, :2].max():.1e}, of any distance {relative.max():.1e}")
    print(f"  ID {found_id:.4f}, relative error {abs(found_id / true_id - 1):.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(2)
    print(f"{platform.machine()}, 2 threads, torch {torch.__version__}")
    training = cifar10(options.data, "train", transforms.ToTensor())

    ids = []
    for seed in range(5):
        sample = rra.FixedSample.from_dataset(training, n=1000, seed=seed)
        ids.append(rra.metrics.twonn(rra.knn_graph(next(sample.batches(1000)), k=2)))
    print(f"pixels, n = 1,000: ID of five draws {', '.join(f'{value:.1f}' for value in ids)}")

    sample = rra.FixedSample.from_dataset(training, n=15_000)
    pixels = torch.cat(list(sample.batches(1000)))
    started = time.perf_counter()
    graph = rra.knn_graph(pixels, k=150)
    seconds = time.perf_counter() - started
    print(
        f"pixels, n = 15,000, k = 150: NNCS {rra.metrics.nncs(graph, sample.labels):.4f}, "
        f"ID {rra.metrics.twonn(graph):.1f} ({seconds:.1f} s)"
    )
    average = rra.knn_graph(rra.pooled(pixels, "avg-global"), k=150)
    print(
        f"their global average, three channels: ID {rra.metrics.twonn(average):.2f}, "
        f"NNCS {rra.metrics.nncs(average, sample.labels):.4f}, samples with a duplicate {average.zeros:.4f}"
    )

    sample = rra.FixedSample.from_dataset(training, n=2000)
    torch.manual_seed(0)
    for name, features in rra.iter_features(resnet20(), sample, ["layer1.2"]):
        print(f"feature maps of an untrained {name}, {tuple(features.shape)}, k = 100, against float64:")
        compare(features, 100)


if __name__ == "__main__":
    main()
