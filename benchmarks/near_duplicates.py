"""What near-duplicates do to the intrinsic dimension, and whether `near_duplicates` says so, and only then.

    python benchmarks/near_duplicates.py --data CIFAR10_DIR    # the tables of docs/metrics.md, 6 minutes on one core
    python benchmarks/near_duplicates.py                       # without CIFAR-10's part, one minute

A network is trained for each data set, briefly. Near-duplicates are made in the images: a fraction of them is replaced
by copies of others that differ in the last bits, or are encoded as JPEG once more; the network computes the features.
"""

import argparse
import io
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from manifolds import MANIFOLDS
from PIL import Image
from results import Sheet, processor
from rich.console import Console
from torch import nn

import rra_monitor as rra
from rra_monitor.datasets.catalogue import DATA
from rra_monitor.datasets.digits import digits
from rra_monitor.datasets.read import read_splits
from rra_monitor.metrics import NearDuplicates, near_duplicates
from rra_monitor.metrics._near_duplicates import beyond
from rra_monitor.nn import resnet20

SHARES = (0.0, 0.001, 0.01, 0.03)
Rows = npt.NDArray[np.int64]


def trained(net: nn.Module, images: torch.Tensor, labels: torch.Tensor, epochs: int, rate: float) -> nn.Module:
    optimiser = torch.optim.SGD(net.parameters(), rate, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=epochs * (len(images) // 64))
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(64)[: len(images) // 64]:
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(images[batch]), labels[batch]).backward()
            optimiser.step()
            schedule.step()
    return net.eval()


def small_network() -> nn.Module:
    def block(before: int, after: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2))

    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(block(1, 16), block(16, 32), block(32, 64), pool, nn.Linear(64, 10))


def features(net: nn.Module, images: torch.Tensor, layers: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """Layer to (n, d) float32 features."""
    found: dict[str, list[torch.Tensor]] = {layer: [] for layer in layers}
    for layer in layers:
        net.get_submodule(layer).register_forward_hook(
            lambda module, given, out, layer=layer: found[layer].append(out.flatten(1).clone())
        )
    with torch.no_grad():
        for batch in images.split(200):
            net(batch)
    for layer in layers:
        net.get_submodule(layer)._forward_hooks.clear()
    return {"input": images.flatten(1)} | {layer: torch.cat(parts) for layer, parts in found.items()}


def with_copies(images: torch.Tensor, share: float) -> torch.Tensor:
    """A fraction of the images replaced by others whose values differ in the last bits."""
    rng, count = torch.Generator().manual_seed(0), round(share * len(images))
    changed = images.clone()
    noise = 1 + 1e-6 * torch.randn(changed[:count].shape, generator=rng)
    changed[:count] = images[len(images) - count :] * noise
    return changed


def with_jpeg_copies(images: torch.Tensor, share: float, quality: int) -> torch.Tensor:
    """A fraction of the images, in 0 to 1, replaced by others that are encoded as JPEG once more."""
    count = round(share * len(images))
    changed = images.clone()
    for place in range(count):
        original = (images[len(images) - 1 - place].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
        file = io.BytesIO()
        Image.fromarray(original).save(file, "JPEG", quality=quality)
        changed[place] = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1) / 255
    return changed


def confirmed(points: torch.Tensor, found: NearDuplicates, graph: rra.KnnGraph) -> int:
    """How many of the rows have in float64, by brute force, the nearest neighbour and r2 / r1 of the graph."""
    right, whole = 0, points.double()
    for row in found.rows:
        distances = (whole - whole[row]).norm(dim=1)
        distances[row] = torch.inf
        (near, far), (first, _) = distances.topk(2, largest=False)
        ratio = graph.distances[row, 1] / graph.distances[row, 0]
        right += int(first) == int(graph.indices[row, 0]) and abs(float(far / near) / ratio - 1) < 0.01
    return right


def row_of(where: str, what: str, layer: str, points: torch.Tensor) -> list[str]:
    graph = rra.knn_graph(points, 20, "exact")
    found = near_duplicates(graph)
    said = "yes" if found.rule else "no"
    ids = [f"{value:.1f}" for value in (found.plain, found.censored, found.without)]
    checked = f"{confirmed(points, found, graph)} of {len(found.rows)}" if len(found.rows) else ""
    return [where, layer, what, said, f"{found.share:.2%}", *ids, f"{found.excess:.1f}", checked]


def data_rows(
    name: str, net: nn.Module, images: torch.Tensor, variants: Iterator[tuple[str, torch.Tensor]], few: tuple[str, ...]
) -> list[list[str]]:
    """Every layer of the images as they are, and a few layers of their variants."""
    layers = tuple(layer for layer in LAYERS[name] if layer != "input")
    rows = [row_of(name, "none made", *each) for each in features(net, images, layers).items()]
    for what, changed in variants:
        found = features(net, changed, layers)
        rows += [row_of(name, what, layer, found[layer]) for layer in few]
    return rows


LAYERS = {
    "digits": ("input", "0", "1", "2", "3", "4"),
    "CIFAR-10": ("input", "layer1.2", "layer2.0", "layer2.2", "layer3.2", "fc"),
}


def digit_rows() -> list[list[str]]:
    torch.manual_seed(0)
    train, rest = digits()
    net = trained(small_network(), *train.tensors, epochs=8, rate=0.05)
    images = torch.cat([train.tensors[0], rest.tensors[0]])
    variants = ((f"{share:.1%} in last bits", with_copies(images, share)) for share in SHARES[1:])
    return data_rows("digits", net, images, variants, ("input", "2", "4"))


def cifar_rows(data: Path, n: int, epochs: int) -> list[list[str]]:
    torch.manual_seed(0)
    train = read_splits(DATA["cifar10"], data, lazy=True, check=False).train
    order = torch.randperm(len(train.labels))[:10_000]
    images, labels = train.read(order).float() / 255, train.labels[order]
    mean, spread = images.mean((0, 2, 3), keepdim=True), images.std((0, 2, 3), keepdim=True)
    net = trained(resnet20(num_classes=10), (images - mean) / spread, labels, epochs, rate=0.1)

    def variants() -> Iterator[tuple[str, torch.Tensor]]:
        for share in SHARES[1:]:
            yield f"{share:.1%} in last bits", with_copies((images[:n] - mean) / spread, share)
        for quality in (95, 75):
            changed = with_jpeg_copies(images[:n], 0.01, quality)
            yield f"1.0% as JPEG, quality {quality}", (changed - mean) / spread

    return data_rows("CIFAR-10", net, (images[:n] - mean) / spread, variants(), ("input", "layer2.2", "fc"))


def chance_sheet(draws: int) -> Sheet:
    """Exponential values taken for those of near-duplicates, by the number that is expected."""
    sheet = Sheet("Exponential values beyond", ["n", "expected at most", "found per draw"], texts=1)
    rng = np.random.default_rng(0)
    for n in (20, 200, 2000):
        logs = rng.exponential(size=(draws, n))
        for chance in (0.1, 0.01, 1e-4):
            count = sum(int(beyond(each, chance).sum()) for each in logs)
            sheet.rows.append([f"{n:,}", f"{chance:g}", f"{count / draws:.2g}"])
    return sheet


def manifold_text(draws: int) -> str:
    """Alarms on manifolds of every kind."""
    total = named = said = 0
    for k in (2, 20):
        for n in (100, 500, 2000):
            for _, draw, d in MANIFOLDS:
                for seed in range(draws):
                    points = draw(np.random.default_rng(seed), n, d).astype(np.float32)
                    found = near_duplicates(rra.knn_graph(points, k, "exact"))
                    total, named, said = total + 1, named + (len(found.rows) > 0), said + found.rule
    return f"{total:,} graphs of known manifolds: near-duplicates found in {named}, said to rule in {said}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="CIFAR-10, as `rra-monitor train --data` takes it")
    parser.add_argument("--n", type=int, default=2000, help="samples of CIFAR-10")
    parser.add_argument("--epochs", type=int, default=4, help="epochs of training on 10,000 images of CIFAR-10")
    parser.add_argument("--draws", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    console, started = Console(width=180), time.perf_counter()
    header = [
        "data",
        "layer",
        "near-duplicates",
        "said",
        "found",
        "ID ml",
        "censored",
        "without",
        "excess",
        "in float64",
    ]
    sheet = Sheet("Near-duplicates", header, texts=4)
    sheet.rows += digit_rows()
    if options.data:
        sheet.rows += cifar_rows(options.data, options.n, options.epochs)
    for each in (sheet, chance_sheet(1000 * options.draws)):
        each.print(console)
        print(each.markdown(), "\n")
    print(manifold_text(options.draws))
    print(f"{processor()}, 1 thread, torch {torch.__version__}: {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
