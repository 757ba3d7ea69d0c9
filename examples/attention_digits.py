"""What does attention change inside of a network? One of each kind, trained and monitored on scikit-learn's digits.

    python examples/attention_digits.py                # four minutes on one core
    python examples/attention_digits.py --seeds 5      # differences with a spread over more seeds

ResNet20 without attention, with squeeze and excitation, BAM and STAC. Networks of one seed start from the same weights,
save those of the attention, and see the same batches. Measured are validation images, layer by layer: intrinsic
dimension (ID), fraction of neighbours of the same digit (NNCS), and overlap of the neighbours in the network with
attention and the one without (NNLS). How much of a difference is the seed's alone is told by the NNLS between base
networks of different seeds, and by the spread of the differences.
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import nn
from torch.utils.data import DataLoader

import rra_monitor as rra
from rra_monitor.datasets.digits import digits
from rra_monitor.nn import resnet20

matplotlib.use("Agg")
from matplotlib import pyplot

# Images of 16 pixels: the last stage's map is 4 x 4, so 4 is the largest window that all stages can have.
KINDS = {"base": None, "SE": "se", "BAM": "bam", "STAC": "stac"}
WINDOW = 4
COLOURS = {"base": "#555555", "SE": "#c2571a", "BAM": "#2a8f5b", "STAC": "#1f5fa8"}


def trained(kind: str, seed: int, epochs: int) -> tuple[nn.Module, float]:
    """A network after its training, and its validation accuracy."""
    training, validation = digits()
    torch.manual_seed(seed)
    network = resnet20(10, in_channels=1, attention=KINDS[kind], window=WINDOW)
    batches = DataLoader(training, 64, shuffle=True, drop_last=True, generator=torch.Generator().manual_seed(seed))
    optimiser = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.05, total_steps=epochs * len(batches))
    for _ in range(epochs):
        for images, labels in batches:
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(images), labels).backward()
            optimiser.step()
            schedule.step()
    network.eval()
    images, labels = validation.tensors
    with torch.no_grad():
        return network, float((network(images).argmax(1) == labels).float().mean())


def measured(epochs: int, seeds: int) -> tuple[dict[str, list[rra.Snapshot]], dict[str, list[float]]]:
    """Snapshots and accuracies of each kind, seed by seed."""
    _, validation = digits()
    probes = {"validation": rra.FixedSample.from_tensors(*validation.tensors)}
    snapshots: dict[str, list[rra.Snapshot]] = {kind: [] for kind in KINDS}
    accuracies: dict[str, list[float]] = {kind: [] for kind in KINDS}
    runs = [(kind, seed) for seed in range(seeds) for kind in KINDS]
    for kind, seed in track(runs, "training"):
        network, accuracy = trained(kind, seed, epochs)
        monitor = rra.Monitor(probes, k=10)
        snapshots[kind].append(monitor.measure(network, step=epochs, epoch=epochs)["validation"])
        accuracies[kind].append(accuracy)
    return snapshots, accuracies


def same_layer(a: rra.Snapshot, b: rra.Snapshot) -> np.ndarray:
    """NNLS of each layer with the layer of the same name in another network."""
    return np.array([rra.metrics.nnls(a.graphs[layer], b.graphs[layer]) for layer in a.layers])


def curves(snapshots: dict[str, list[rra.Snapshot]]) -> dict[str, dict[str, np.ndarray]]:
    """(seeds, layers) of each quantity and kind; the base's NNLS is that of its seeds with each other."""
    base = snapshots["base"]
    others = [(a, b) for i, a in enumerate(base) for b in base[i + 1 :]]
    nnls = {kind: [same_layer(a, b) for a, b in zip(its, base, strict=True)] for kind, its in snapshots.items()}
    nnls["base"] = [same_layer(a, b) for a, b in others]
    return {
        "ID": {kind: np.array([s.id for s in its]) for kind, its in snapshots.items()},
        "NNCS": {kind: np.array([s.nncs for s in its]) for kind, its in snapshots.items()},
        "NNLS": {kind: np.array(its) for kind, its in nnls.items()},
    }


def table(layers: tuple[str, ...], found: dict[str, dict[str, np.ndarray]], seeds: int) -> Table:
    """Means over the seeds; with attention ID and NNCS as differences from the base, seed by seed."""
    sheet = Table(title=f"means over {seeds} seeds; ID and NNCS with attention: difference from the base ± its spread")
    sheet.add_column("layer")
    for quantity, kind in ((quantity, kind) for quantity in found for kind in KINDS):
        head = "base, other seeds" if (quantity, kind) == ("NNLS", "base") else kind
        sheet.add_column(f"{quantity}\n{head}", justify="right")
    digits_of = {"ID": 1, "NNCS": 3, "NNLS": 2}
    for at, layer in enumerate(layers):
        row = [f"{at} {layer}"]
        for quantity, kinds in found.items():
            places = digits_of[quantity]
            for kind, values in kinds.items():
                if kind == "base" or quantity == "NNLS":
                    row.append(f"{values[:, at].mean():.{places}f}")
                else:
                    change = values[:, at] - kinds["base"][:, at]
                    row.append(f"{change.mean():+.{places}f} ± {change.std(ddof=1):.{places}f}")
        sheet.add_row(*row)
    return sheet


def draw(layers: tuple[str, ...], found: dict[str, dict[str, np.ndarray]], file: Path) -> None:
    """The three curves, one line a kind, a band from the lowest to the highest seed."""
    titles = {
        "ID": "ID: dimensions that a layer uses",
        "NNCS": "NNCS: neighbours of the same digit",
        "NNLS": "NNLS: neighbours shared with the base network",
    }
    figure, axes = pyplot.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    where = np.arange(len(layers))
    for axis, (quantity, kinds) in zip(axes, found.items(), strict=True):
        for kind, values in kinds.items():
            shared = (quantity, kind) == ("NNLS", "base")
            axis.plot(
                where,
                values.mean(0),
                "--" if shared else "o-",
                color=COLOURS[kind],
                markersize=3,
                label="base of another seed" if shared else kind,
            )
            axis.fill_between(where, values.min(0), values.max(0), color=COLOURS[kind], alpha=0.15, linewidth=0)
        axis.set_title(titles[quantity], fontsize=10, loc="left")
        axis.set_ylim(bottom=0)
        axis.set_xticks(where, layers, rotation=90, fontsize=7)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8, frameon=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=8, help="(default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="at least 2 (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("attention.png"), help="(default: %(default)s)")
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error("--seeds must be at least 2: without a second one no difference can be told from the seed's")
    snapshots, accuracies = measured(options.epochs, options.seeds)
    layers, found = snapshots["base"][0].layers, curves(snapshots)
    console = Console(width=170)
    console.print(table(layers, found, options.seeds))
    for kind, values in accuracies.items():
        console.print(f"{kind}: validation accuracy {np.mean(values):.1%} ± {np.std(values, ddof=1):.1%}")
    draw(layers, found, options.out)
    console.print(f"Picture: {options.out}")


if __name__ == "__main__":
    main()
