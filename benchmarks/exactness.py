"""Are exact graphs exact? Every row of real and made-up clouds against float64; and what the graph's own check costs.

    python benchmarks/exactness.py clouds --count 200
    python benchmarks/exactness.py network --checkpoint runs/resnet20-cifar10/seed0/last.ckpt --data DIR
    python benchmarks/exactness.py digits
    python benchmarks/exactness.py cost --data DIR

A row is wrong if a neighbour is farther than the k-th true one by more than 1e-5 relative. Distances in float64 are
those of a product of centred samples for networks (their error is below 1e-9 of the squared norms) and differences for
clouds. Run it under an earlier version with PYTHONPATH set to its checkout.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from results import RESULTS, Sheet, provenance, write_section
from rich.console import Console
from rich.progress import track
from torch import nn
from torchvision import transforms

import rra_monitor as rra
from rra_monitor.nn import resnet20

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
sys.path.insert(0, str(Path(__file__).parent / "knn"))
sys.path.insert(0, str(Path(__file__).parents[1]))
from cifar10_lightning import cifar10

from tests.helpers.clouds import KINDS, cloud_of, true_distances

TIED = 1e-5


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    sheet = {"clouds": clouds, "network": network, "digits": digits, "cost": cost}[options.what](options)
    sheet.print(Console(width=None if sys.stdout.isatty() else 140))
    if options.write:
        versions = {"torch": torch.__version__, "rra-monitor": rra.__version__}
        text = f"{sheet.markdown()}\n\n{provenance(options.threads, versions)}"
        write_section(f"exactness-{options.what}", text)
        print(f"written to {RESULTS.name}")


def clouds(options: argparse.Namespace) -> Sheet:
    """Random clouds of every kind that the tests attack with."""
    found: dict[str, list[int]] = {kind.__name__: [] for kind in KINDS}
    refused = dict.fromkeys(found, 0)
    for seed in track(range(options.count), "clouds"):
        rng = np.random.default_rng(seed)
        kind, dim = KINDS[seed % len(KINDS)], int(2 ** rng.uniform(1, 12))
        n = int(min(rng.integers(200, 2000), max(200, 3_000_000 // dim)))
        points = cloud_of(kind, seed, n, dim, int(rng.integers(3, 201)), 10 ** rng.uniform(1, 5))
        k = int(rng.integers(1, n // 8 - 1))
        try:
            graph = rra.knn_graph(points, k, "exact")
        except ValueError:
            refused[kind.__name__] += 1
            continue
        distances = torch.from_numpy(true_distances(points))
        found[kind.__name__].append(len(wrong_rows(graph.indices, distances)))
    sheet = Sheet("Random clouds", ["kind", "clouds", "refused", "with a wrong row", "wrong rows"])
    for name, wrong in found.items():
        sheet.rows.append([name, *map(str, (len(wrong), refused[name], np.count_nonzero(wrong), sum(wrong)))])
    return sheet


def network(options: argparse.Namespace) -> Sheet:
    """The layers of a ResNet20 that a recipe trained on CIFAR-10."""
    state = torch.load(options.checkpoint, weights_only=True)["state_dict"]
    trained = resnet20()
    trained.load_state_dict(
        {name.removeprefix("network."): value for name, value in state.items() if "network." in name}
    )
    data = cifar10(options.data, "train", transforms.Compose([transforms.ToTensor(), transforms.Normalize(*SCALE)]))
    sample = rra.FixedSample.from_dataset(data, n=options.n)
    return against_float64(trained, sample, options.k)


SCALE = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def digits(options: argparse.Namespace) -> Sheet:
    """The layers of a network that separates all digits almost without loss."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.tensor(data.images / 16, dtype=torch.float32)[:, None]
    labels = torch.tensor(data.target)
    torch.manual_seed(0)
    trained = resnet20(10, 1)
    optimiser = torch.optim.SGD(trained.parameters(), lr=0.05, momentum=0.9)
    for _ in track(range(options.epochs), "training"):
        for chosen in torch.randperm(len(images)).split(128):
            loss = nn.functional.cross_entropy(trained(images[chosen]), labels[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    trained.eval()
    with torch.no_grad():
        loss = float(nn.functional.cross_entropy(trained(images), labels))
    sheet = against_float64(trained, rra.FixedSample.from_tensors(images, labels), len(images) // 100)
    sheet.title += f"; loss {loss:.1e} after {options.epochs} epochs"
    return sheet


def against_float64(trained: nn.Module, sample: rra.FixedSample, k: int) -> Sheet:
    sheet = Sheet(
        f"Layers of a trained network, n = {sample.n:,}, k = {k}",
        ["layer", "d", "wrong rows", "ID", "of float64", "NNCS", "of float64", "NNLS with float64"],
    )
    layers = [layer.name for layer in rra.Monitor({"train": sample}).plan(trained)["train"].layers]
    for layer in track(layers, "layers"):
        features = next(iter(rra.iter_features(trained, sample, [layer], batch_size=500)))[1].flatten(1)
        graph = rra.knn_graph(features, k, "exact")
        wrong, true = 0, []
        for first, distances in rows_in_double(features):
            wrong += len(wrong_rows(graph.indices[first : first + len(distances)], distances))
            true.append(distances.topk(k, largest=False))
        truth = rra.KnnGraph(
            torch.cat([rows.indices for rows in true]).int().numpy(),
            torch.cat([rows.values for rows in true]).float().numpy(),
        )
        of_both = [rra.metrics.twonn(graph), rra.metrics.twonn(truth)]
        of_both += [rra.metrics.nncs(graph, sample.labels), rra.metrics.nncs(truth, sample.labels)]
        numbers = [f"{value:.5f}" for value in (*of_both, rra.metrics.nnls(graph, truth))]
        sheet.rows.append([layer, f"{features.shape[1]:,}", f"{wrong:,}", *numbers])
    return sheet


def rows_in_double(features: torch.Tensor, height: int = 500) -> Iterator[tuple[int, torch.Tensor]]:
    """Blocks of rows of the distances to all, infinite to themselves."""
    centred = features.double()
    centred -= centred.mean(dim=0)
    norms = centred.square().sum(dim=1)
    for first in range(0, len(centred), height):
        own = centred[first : first + height]
        squared = torch.addmm(norms, own, centred.T, alpha=-2).add_(norms[first : first + height, None])
        squared[torch.arange(len(own)), torch.arange(first, first + len(own))] = torch.inf
        yield first, squared.clamp_(min=0).sqrt_()


def wrong_rows(indices: np.ndarray, distances: torch.Tensor) -> torch.Tensor:
    """Positions of the rows with a neighbour beyond the k-th true one."""
    kth = distances.kthvalue(indices.shape[1], dim=1).values
    farthest = distances.gather(1, torch.from_numpy(indices).long()).amax(dim=1)
    return (farthest > kth * (1 + TIED)).nonzero()[:, 0]


def cost(options: argparse.Namespace) -> Sheet:
    """The check of a few rows, and the graph that it is part of, one after the other."""
    from features import write_features

    from rra_monitor.graph.points import Points
    from rra_monitor.graph.spot_check import wrong_rows as check

    files = write_features(
        options.features, options.data, dict.fromkeys(("input", "layer3.2", "layer1.2"), options.n), 200
    )
    sheet = Sheet(f"The spot check, n = {options.n:,}, k = {options.k}", ["layer", "d", "graph s", "check s", "share"])
    for layer, file in files.items():
        features = torch.from_numpy(np.load(file))
        points = Points(features)
        rra.knn_graph(features[:500], 5, "exact")
        graphs, checks = [], []
        for _ in range(options.repeats):
            started = time.perf_counter()
            graph = rra.knn_graph(features, options.k, "exact")
            graphs.append(time.perf_counter() - started)
            started = time.perf_counter()
            check(points, graph.indices)
            checks.append(time.perf_counter() - started)
        share = np.median(np.divide(checks, graphs))
        numbers = [f"{np.median(graphs):.3f}", f"{np.median(checks):.4f}", f"{share:.2%}"]
        sheet.rows.append([layer, f"{features.shape[1]:,}", *numbers])
    return sheet


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("clouds", "network", "digits", "cost"))
    parser.add_argument("--data", type=Path, help="directory of CIFAR-10")
    parser.add_argument("--checkpoint", type=Path, help="of a resnet20-cifar10 recipe")
    parser.add_argument("--features", type=Path, default=Path("data/features"), help="where feature maps are kept")
    parser.add_argument("--count", type=int, default=200, help="of clouds")
    parser.add_argument("--epochs", type=int, default=60, help="of the digits")
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="write the table into RESULTS.md")
    options = parser.parse_args()
    if options.data is None and options.what in ("network", "cost"):
        parser.error(
            f"{options.what} needs --data: the directory of CIFAR-10 (train/<class>/*.jpg or cifar-10-batches-py/)"
        )
    if options.checkpoint is None and options.what == "network":
        parser.error("network needs --checkpoint: the last.ckpt of rra-monitor train resnet20-cifar10")
    return options


if __name__ == "__main__":
    main()
