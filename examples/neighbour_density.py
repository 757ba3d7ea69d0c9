"""How much do NNLS matrices depend on n and k? Figure 5.6 of the thesis, for one network on CIFAR-10.

    python examples/neighbour_density.py --data DIR                        # trains ResNet20 briefly first
    python examples/neighbour_density.py --data DIR --checkpoint FILE      # a state_dict or Lightning checkpoint of it
    python examples/neighbour_density.py --data DIR --sizes 500 1000       # quick

DIR: see examples/cifar10_lightning.py. Draws one matrix of layers by layers for each number of samples n and each
neighbour density (NDR) k / (n - 1), and prints NNLS_SIM (Eq. 5.2) between matrices that are neighbours in the figure.
If matrices of one density differ little, few samples tell what many do.

One graph per layer and n serves all densities: the nearest k of its neighbours are the graph at a smaller k. Density
1.0, where all n - 1 others are neighbours, needs none: every NNLS is 1.
"""

import argparse
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
import torch
from cifar10_lightning import cifar10, normalise
from torch import nn
from torch.utils.data import DataLoader

import rra_monitor as rra
from rra_monitor.nn import resnet20
from rra_monitor.runs.checkpoint import load_checkpoint

matplotlib.use("Agg")
from matplotlib import pyplot

DENSITIES = (0.01, 0.03, 0.1, 0.3, 1.0)
SIZES = (1000, 2500, 5000, 10_000)


def trained(data: Path, steps: int, seed: int) -> nn.Module:
    """ResNet20 after a number of batches of 128, without augmentation, as in chapter 5."""
    torch.manual_seed(seed)
    network = resnet20()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.1, total_steps=steps)
    batches = endless(DataLoader(cifar10(data, "train", normalise), 128, shuffle=True, drop_last=True))
    for _, (images, labels) in zip(range(steps), batches, strict=False):
        loss = nn.functional.cross_entropy(network(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    print(f"trained for {steps} steps, last loss {loss.item():.2f}")
    return network.eval()


def endless(loader: DataLoader) -> Iterator[list[torch.Tensor]]:
    while True:
        yield from loader


def matrices(network: nn.Module, sample: rra.FixedSample) -> tuple[list[str], dict[float, np.ndarray]]:
    """The layers, and the NNLS matrix at each density.

    Kept of each layer are the indices of its largest graph, in two bytes each: 780 MB for 13 layers of 10,000 samples
    with 3,000 neighbours.
    """
    n = sample.n
    counts = {density: max(2, round(density * (n - 1))) for density in DENSITIES if density < 1}
    kept: dict[str, np.ndarray] = {}
    for layer, features in rra.iter_features(network, sample, memory_budget=1 << 30):
        kept[layer] = rra.knn_graph(features, max(counts.values()), "exact").indices.astype(np.uint16)
    found = {density: similarities(list(kept.values()), k) for density, k in counts.items()}
    return list(kept), found | {1.0: np.ones((len(kept), len(kept)))}


def similarities(kept: list[np.ndarray], k: int) -> np.ndarray:
    """NNLS of all layers at k neighbours, two layers at a time to bound the memory."""
    matrix = np.eye(len(kept))
    for a, first in enumerate(kept):
        graph = nearest(first, k)
        for b in range(a):
            matrix[a, b] = matrix[b, a] = rra.metrics.nnls(graph, nearest(kept[b], k))
    return matrix


def nearest(indices: np.ndarray, k: int) -> rra.KnnGraph:
    """The graph of the nearest k; NNLS needs no distances, so these are one zero seen n k times."""
    rows = indices[:, :k].astype(np.int32)
    return rra.KnnGraph(rows, np.broadcast_to(np.float32(0), rows.shape))


def across_sizes(found: dict[int, dict[float, np.ndarray]]) -> dict[tuple[int, int], dict[float, float]]:
    """NNLS_SIM of neighbouring n, at each density."""
    return {
        (n, more): {
            density: rra.metrics.nnls_divergence(found[n][density], found[more][density]) for density in DENSITIES
        }
        for n, more in pairwise(found)
    }


def across_densities(found: dict[int, dict[float, np.ndarray]]) -> dict[int, dict[tuple[float, float], float]]:
    """NNLS_SIM of neighbouring densities, at each n."""
    return {
        n: {(low, high): rra.metrics.nnls_divergence(at[low], at[high]) for low, high in pairwise(DENSITIES)}
        for n, at in found.items()
    }


def report(sizes: dict, densities: dict) -> None:
    """Both tables, and whether the matrices depend on the density more than on n."""
    print("\nNNLS_SIM between neighbouring n, at one NDR")
    print(" " * 16 + "".join(f"{density:>10}" for density in DENSITIES))
    for (n, more), row in sizes.items():
        print(f"{n:>7} ~ {more:<6}" + "".join(f"{value:10.1e}" for value in row.values()))
    print("NNLS_SIM between neighbouring NDR, at one n")
    print(" " * 16 + "".join(f"{f'{low}~{high}':>10}" for low, high in pairwise(DENSITIES)))
    for n, row in densities.items():
        print(f"{n:>16}" + "".join(f"{value:10.1e}" for value in row.values()))
    if not sizes:
        return
    largest = max(value for row in sizes.values() for value in row.values())
    print(f"Largest between neighbouring n: {largest:.1e} ({'under' if largest < 1e-3 else 'not under'} 1e-3).")
    # The steps of the density from 0.03 on, each against the steps of n beside it.
    contests = [
        (row[density], densities[n][low, high])
        for pair, row in sizes.items()
        for low, high in pairwise(DENSITIES)
        for density in (low, high)
        for n in pair
        if low >= 0.03 and density < 1
    ]
    less = sum(by_size < by_density for by_size, by_density in contests)
    print(f"Above NDR 0.03, a step of n changes less than a step of NDR beside it: {less} of {len(contests)} times.")


def draw(found: dict, layers: list[str], sizes: dict, densities: dict, file: Path) -> None:
    """Rows are n, columns are NDR; between two matrices stands their NNLS_SIM."""
    rows, columns = list(found), list(DENSITIES)
    figure, axes = pyplot.subplots(
        len(rows), len(columns), figsize=(2.3 * len(columns) + 1, 2.5 * len(rows) + 0.5), squeeze=False
    )
    figure.subplots_adjust(wspace=0.45, hspace=0.35, left=0.06, right=0.9, top=0.92, bottom=0.05)
    for row, n in enumerate(rows):
        for column, density in enumerate(columns):
            ax = axes[row, column]
            image = ax.imshow(found[n][density], vmin=0, vmax=1, origin="lower")
            ax.set_xticks(range(0, len(layers), 4))
            ax.set_yticks(range(0, len(layers), 4))
            ax.tick_params(labelsize=6)
            if row == 0:
                ax.set_title(f"NDR {density}", fontsize=10, pad=12)
            if column == 0:
                ax.set_ylabel(f"n = {n:,}", fontsize=10)
            else:
                value = densities[n][columns[column - 1], density]
                ax.text(-0.23, 0.5, f"{value:.0e}", transform=ax.transAxes, ha="center", fontsize=6, rotation=90)
            if row:
                value = sizes[rows[row - 1], n][density]
                ax.text(0.5, 1.06, f"{value:.0e}", transform=ax.transAxes, ha="center", fontsize=6)
    bar = figure.add_axes((0.92, 0.3, 0.015, 0.4))
    figure.colorbar(image, cax=bar, label="NNLS")
    figure.suptitle("NNLS of the layers of one network; between the matrices their NNLS_SIM", fontsize=11)
    figure.savefig(file, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, help="weights of rra_monitor.nn.resnet20")
    parser.add_argument("--steps", type=int, default=200, help="of training where there is no checkpoint")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of samples, up to 50,000")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("neighbour_density.png"))
    options = parser.parse_args()

    if options.checkpoint is None:
        network = trained(options.data, options.steps, options.seed)
    else:
        network = resnet20()
        load_checkpoint(network, options.checkpoint)
    data = cifar10(options.data, "train", normalise)
    found: dict[int, dict[float, np.ndarray]] = {}
    layers: list[str] = []
    for n in sorted(set(options.sizes)):
        started = time.perf_counter()
        sample = rra.FixedSample.from_dataset(data, n=n, seed=options.seed)
        layers, found[n] = matrices(network, sample)
        print(f"n={n}: {time.perf_counter() - started:.0f} s")
    sizes, densities = across_sizes(found), across_densities(found)
    report(sizes, densities)
    draw(found, layers, sizes, densities, options.out)
    np.savez(options.out.with_suffix(".npz"), **{f"{n}_{d}": m for n, at in found.items() for d, m in at.items()})
    print(f"Figure: {options.out}; matrices: {options.out.with_suffix('.npz')}")


if __name__ == "__main__":
    main()
