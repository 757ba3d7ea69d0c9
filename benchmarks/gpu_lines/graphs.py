"""Lines about the time of graphs, against four lines of PyTorch and against products of the same shape."""

from collections.abc import Iterator

import torch

import rra_monitor as rra
from rra_monitor.nn import resnet20

from .bench import Bench, Row, in_blocks, in_units, shape_text

TABLE = (
    (10_000, 1024, 2),
    (20_000, 1024, 2),
    (10_000, 4096, 100),
    (15_000, 16_384, 150),
    (50_000, 3072, 100),
    (2000, 16_384, 20),
)
"""Samples, features and neighbours."""

SNAPSHOTS = ((15_000, 150, 1.0), (2000, 20, 0.12))
"""Samples, neighbours, and the bar in seconds."""


def table(bench: Bench) -> Iterator[Row]:
    for n, dim, k in [(300, 64, 5)] if bench.tiny else TABLE:
        points = bench.cloud(n, dim)
        repeats = 3 if n * n * dim > 1e12 else 7
        times = {
            "four lines": bench.milliseconds(lambda x=points, k=k: four_lines(x, k), repeats),
            "half a float32 product": bench.milliseconds(lambda x=points: half_a_product(x), repeats),
        }
        low = points.bfloat16()
        times["half a bfloat16 product"] = bench.milliseconds(lambda x=low: half_a_product(x), repeats)
        del low
        times["ours"] = bench.milliseconds(lambda x=points, k=k: rra.knn_graph(x, k, "exact"), repeats)
        shape = shape_text(n, dim, k)
        for name, value in times.items():
            yield Row(f"graph {shape}: {name}", in_units(value, "ms"), value=value)
        bar = 0.4 if n >= 10_000 else 1.0
        ratio = times["ours"] / times["four lines"]
        yield bench.at_most(f"graph {shape}: ours over four lines", ratio, bar, "", milliseconds=times)


def snapshots(bench: Bench) -> Iterator[Row]:
    """All 13 layers of an untrained ResNet20, with every quantity of a snapshot."""
    for n, k, bar in [(100, 5, 1.0)] if bench.tiny else SNAPSHOTS:
        torch.manual_seed(0)
        network = resnet20().to(bench.device)
        side = 8 if bench.tiny else 32
        sample = rra.FixedSample.from_tensors(torch.randn(n, 3, side, side), torch.arange(n) % 10)
        monitor = rra.Monitor({"p": sample}, k=k, batch_size=500)

        def measured(monitor: rra.Monitor = monitor, network: torch.nn.Module = network) -> int:
            return len(monitor.measure(network, step=0, epoch=0)["p"].layers)

        layers = measured()
        seconds = bench.seconds(measured, 3, warm=False)
        yield bench.at_most(f"snapshot of ResNet20, {layers} layers, n = {n:,}, k = {k}", seconds, bar, "s")


def four_lines(points: torch.Tensor, k: int, height: int = 4096) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared distances and ids of the nearest, as anybody would write it; not exact, and left on the device."""
    norms = points.square().sum(dim=1)
    found = []
    for rows in in_blocks(len(points), height):
        squared = torch.addmm(norms, points[rows], points.T, alpha=-2).add_(norms[rows, None])
        found.append(squared.topk(k + 1, largest=False))
    return torch.cat([one.values for one in found])[:, 1:], torch.cat([one.indices for one in found])[:, 1:]


def half_a_product(points: torch.Tensor, height: int = 4096) -> None:
    for rows in in_blocks(len(points) // 2, height):
        points[rows] @ points.T
