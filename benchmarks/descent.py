"""Does neighbour descent pay, by which library, from which start, and what do its misses do to the metrics?

    rra-monitor train resnet20-cifar10 --data DIR --max-epochs 20 --out runs/20
    python benchmarks/descent.py --data DIR --checkpoint runs/20/seed0/checkpoints/last.ckpt [--write]

CIFAR-10's training images through a trained ResNet20. Three tables: exact neighbours, pynndescent, and nndescent, which
is in C++, where it is installed; a search that starts from the neighbours in the layer before (8.3.2 of the thesis)
beside one that starts from random trees; and the errors of ID, NNCS and NNLS that come of missed neighbours. Recall is
counted over all samples against the exact graph.

nndescent 1.0.4 comes as source that lacks an include for GCC 12: CXXFLAGS="-include tuple" pip install nndescent
"""

import argparse
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pynndescent
import torch
from results import Sheet, provenance, write_section
from rich.console import Console
from torchvision import transforms

import rra_monitor as rra
from rra_monitor.nn import resnet20

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from cifar10_lightning import cifar10

IN_CPP = importlib.util.find_spec("nndescent") is not None
WIDEST = {10_000: 16_384, 20_000: 8192, 50_000: 4096}
"""Features of a layer that fit the memory, and the patience, by number of samples."""

LAYERS = {
    "layer1.1": 16_384,
    "layer1.2": 16_384,
    "layer2.1": 8192,
    "layer2.2": 8192,
    "layer3.1": 4096,
    "layer3.2": 4096,
    "pool": 64,
    "fc": 10,
}
"""The layers in order, with their numbers of features."""

SEARCHED = ("layer2.2", "layer3.2", "pool", "fc")


def network_of(checkpoint: Path) -> torch.nn.Module:
    """The ResNet20 of a recipe's checkpoint."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=False)["state_dict"]
    network = resnet20()
    network.load_state_dict({name.removeprefix("network."): value for name, value in state.items()})
    return network.eval()


def layers_of(network: torch.nn.Module, images: torch.Tensor) -> Iterator[tuple[str, np.ndarray]]:
    """The layers in order, each (n, d) float32, without those that are too wide for so many samples."""
    sample = rra.FixedSample.from_tensors(images)
    names = [name for name, width in LAYERS.items() if width <= WIDEST[len(images)]]
    for name, features in rra.iter_features(network, sample, names, batch_size=500):
        yield name, features.flatten(1).float().numpy()


def exact(points: np.ndarray, k: int) -> rra.KnnGraph:
    return rra.knn_graph(points, k, "exact")


def by_pynndescent(points: np.ndarray, k: int, **start: Any) -> np.ndarray:
    index = pynndescent.NNDescent(points, n_neighbors=k + 1, random_state=0, n_jobs=torch.get_num_threads(), **start)
    return index.neighbor_graph[0]


def by_nndescent(points: np.ndarray, k: int) -> np.ndarray:
    import nndescent

    index = nndescent.NNDescent(points, n_neighbors=k + 1, seed=0, n_threads=torch.get_num_threads())
    return index.neighbor_graph[0]


def timed(search: Callable[[], Any], repeats: int) -> tuple[Any, float]:
    """What was found, and the median of its seconds."""
    seconds = []
    for _ in range(repeats):
        time.sleep(0.3)  # the threads of some libraries go on spinning for a moment
        started = time.perf_counter()
        found = search()
        seconds.append(time.perf_counter() - started)
    return found, statistics.median(seconds)


def recall(found: np.ndarray, true: np.ndarray) -> float:
    """The share of the true neighbours that were found."""
    hits = sum(len(np.intersect1d(row, own, assume_unique=False)) for row, own in zip(found, true, strict=True))
    return hits / true.size


def shown(seconds: float, share: float | None = None) -> str:
    return f"{seconds:.2f}" if share is None else f"{seconds:.2f} ({share:.3f})"


def errors(name: str, points: np.ndarray, true: rra.KnnGraph, labels: np.ndarray) -> list[str]:
    """What missed neighbours do to the metrics of a layer: errors on the audited rows."""
    graph = rra.knn_graph(points, true.k, "nndescent", min_recall=0)
    induced = rra.metrics.induced_errors(graph, labels)
    return [
        name,
        f"{points.shape[1]:,}",
        f"{graph.recall:.4f} ± {graph.audit.standard_error(graph):.4f}",
        f"{rra.metrics.twonn(true):.2f}",
        f"{induced.id:+.3f}",
        f"{rra.metrics.nncs(true, labels):.4f}",
        f"{induced.nncs:+.5f}",
        f"{induced.nnls:.4f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--n", type=int, nargs="+", default=list(WIDEST), choices=list(WIDEST))
    parser.add_argument("--k", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=3, help="of the smallest n; larger ones run once")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="replace the section of benchmarks/RESULTS.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    k, console = options.k, Console(width=None if sys.stdout.isatty() else 140)
    sample = rra.FixedSample.from_dataset(cifar10(options.data, "train", transforms.ToTensor()), n=max(options.n))
    images, labels = torch.cat(list(sample.batches(1000))), np.asarray(sample.labels)
    network = network_of(options.checkpoint)
    small = np.random.default_rng(0).normal(size=(1000, 64)).astype(np.float32)
    started = time.perf_counter()
    by_pynndescent(small, 5)
    compiled = time.perf_counter() - started
    by_pynndescent(small, 5, init_graph=np.zeros((1000, 5), np.int32))
    searched = Sheet("Seconds (recall)", ["layer", "d", "n", "exact", "pynndescent", "nndescent"])
    warm = Sheet(
        "Seconds (recall) of pynndescent, from random trees and from the exact neighbours in the layer before",
        ["layer before, layer", "d", "n", "NNLS of the two", "exact", "cold", "warm"],
    )
    missed = Sheet(
        f'What misses of backend="nndescent" do, n = {min(options.n):,}',
        ["layer", "d", "recall", "ID", "error", "NNCS", "error", "1 - NNLS with the exact graph"],
    )
    for n in options.n:
        repeats, before = options.repeats if n == min(options.n) else 1, None
        for name, points in layers_of(network, images[:n]):
            console.print(f"{name}, n = {n:,}", highlight=False)
            wide = f"{points.shape[1]:,}"
            graph, own = timed(lambda points=points: exact(points, k), repeats)
            true = graph.indices
            cold, seconds = timed(lambda points=points: by_pynndescent(points, k), repeats)
            if name in SEARCHED:
                cells = [shown(own), shown(seconds, recall(cold, true))]
                if IN_CPP:
                    found, third = timed(lambda points=points: by_nndescent(points, k), repeats)
                    cells.append(shown(third, recall(found, true)))
                searched.rows.append([name, wide, f"{n:,}", *cells, *["not installed"] * (not IN_CPP)])
            if before is not None:
                start = before[1]
                found, third = timed(
                    lambda points=points, start=start: by_pynndescent(points, k, init_graph=start), repeats
                )
                alike = rra.metrics.nnls(
                    *(rra.KnnGraph(each, np.zeros(each.shape, np.float32)) for each in (start, true))
                )
                warm.rows.append(
                    [
                        f"{before[0]}, {name}",
                        wide,
                        f"{n:,}",
                        f"{alike:.2f}",
                        shown(own),
                        shown(seconds, recall(cold, true)),
                        shown(third, recall(found, true)),
                    ]
                )
            if n == min(options.n):
                missed.rows.append(errors(name, points, graph, labels[:n]))
            before = name, true
    for sheet in (searched, warm, missed):
        sheet.print(console)
    about = provenance(options.threads, {"torch": torch.__version__, "pynndescent": pynndescent.__version__})
    note = f"k = {k}. The first search of the process took {compiled:.0f} s more, to compile."
    console.print(f"{note} {about}")
    if options.write:
        title = "## Does neighbour descent pay?"
        parts = [title, about, note, *(sheet.markdown() for sheet in (searched, warm, missed))]
        write_section("descent", "\n\n".join(parts))


if __name__ == "__main__":
    main()
