"""Seconds of a snapshot, from trials: passes of a few samples, and graphs of made-up features.

What is timed is what a snapshot then calls, with its own hooks, views and quantities. That takes a tenth of a snapshot,
or a second or two.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from rra_monitor.capture.channels import view_dims
from rra_monitor.capture.features import Forward, collect
from rra_monitor.capture.layer import Layer
from rra_monitor.capture.memory import BatchSize, fitted
from rra_monitor.capture.undisturbed import undisturbed
from rra_monitor.graph import KnnGraph, knn_graph
from rra_monitor.graph.choose import choose, exact_seconds, nn_descent_seconds
from rra_monitor.graph.points import MEMORY_BUDGET
from rra_monitor.measure.collector import Collector
from rra_monitor.measure.memory_plan import Pass
from rra_monitor.measure.quantity import Quantity
from rra_monitor.samples.sample import FixedSample
from rra_monitor.utils.ranks import ALONE, Ranks

PASS_SECONDS, TRIED = 0.5, 16
"""A pass that takes as long as this, or of one in that many samples, or of a batch, tells how long one of all takes."""

GRAPH_ROWS, GRAPH_ROWS_ON_GPU, GRAPH_BYTES = 2000, 20_000, 64 << 20
"""Number of samples, and bytes of their features, at most, of the graphs that are timed."""

SMALL = 64
"""Number of features below which a graph takes as long as with that many."""

STEEPEST = 1.25
"""Highest exponent with which the time of wide features grows: once they leave the cache, faster than their number."""

WARM = 30
"""Number of samples of the graph that compiles what is then timed."""

PAIRED = 6
"""Number of layers whose pairs are timed."""

COMPARED, NOISE = 16, 0.01
"""Features are noise where the distances of this many samples have a smaller standard deviation, as a fraction of their
mean: with neighbours hardly nearer than others a graph takes up to twice as long."""


@dataclass(frozen=True)
class Passes:
    """What trial passes tell.

    Attributes:
        seconds: time of the passes of a sample.
        noise: names of the layers and views whose features are noise.
    """

    seconds: float
    noise: set[str]


def passes(
    model: nn.Module,
    sample: FixedSample,
    ahead: Sequence[Pass],
    forward: Forward,
    batch_size: BatchSize,
    ranks: Ranks = ALONE,
) -> Passes:
    """Trials of the passes of a sample, one for each layer at which some of them end.

    No more features are held than in a snapshot: those of one pass. Ranks that measure together try the same, with the
    same samples, and the slowest counts.
    """
    noise: set[str] = set()

    def collected(few: FixedSample, one: Pass) -> None:
        features = collect(model, few, one.layers, forward, batch_size, one.parts)
        noise.difference_update(features)
        noise.update(name for name, values in features.items() if is_noise(values))

    def seconds(one: Pass, rows: int) -> float:
        return quickest(partial(collected, sample.head(rows), one), ranks)

    deepest = max(ahead, key=_depth(ahead)) if any(one.through_network for one in ahead) else None
    n = ranks.most_rows(sample.n)
    # Batches may have been halved on some ranks alone, and all have to try equally often.
    rows, most = 1, min(n, *ranks.values(lambda: batch_size.size))
    if deepest:
        while (taken := seconds(deepest, rows)) < PASS_SECONDS / 10 and rows < most:
            rows = min(4 * rows, most)
        # Not fewer: maps of few samples fit the cache, and pass up to a third faster than those of a batch.
        rows = max(rows, n // TRIED, round(rows * PASS_SECONDS / max(taken, 1e-6)))
    rows = min(most, max(rows, COMPARED))
    fixed = quickest(lambda: _nothing(model), ranks)
    alike = Counter(one.last.name for one in ahead)
    first = {one.last.name: one for one in reversed(ahead)}
    each = {name: fixed + max(seconds(one, rows) - fixed, 0.0) * n / rows for name, one in first.items()}
    return Passes(sum(alike[name] * taken for name, taken in each.items()), noise)


def _depth(ahead: Sequence[Pass]) -> Callable[[Pass], int]:
    """Function that tells how far a pass goes: the place of its last layer among all."""
    order = list(dict.fromkeys(layer.name for one in ahead for layer in one.layers))
    return lambda one: order.index(one.last.name)


def is_noise(features: torch.Tensor) -> bool:
    """Whether samples are nearly equally far from each other, as those of noise in many dimensions are."""
    few = features[:COMPARED].detach().flatten(1).float()
    if len(few) < COMPARED:
        return False
    distances = torch.nn.functional.pdist(few)
    return bool(distances.std() < NOISE * distances.mean())


@dataclass(frozen=True)
class Graphs:
    """What the graphs of a snapshot have in common.

    Attributes:
        n: number of samples.
        k: number of neighbours.
        backend: backend that is asked for.
        labels: (n,) classes, or None.
        quantities: quantities computed from each.
    """

    n: int
    k: int
    backend: str
    labels: npt.NDArray[np.int64] | None
    quantities: Sequence[Quantity]


def graph_seconds(
    graphs: Graphs, layers: Sequence[Layer], noise: set[str], device: torch.device, memory_budget: float
) -> float:
    """Seconds of the graphs of all layers and views, and of what is computed from them.

    Args:
        graphs: what they have in common.
        layers: layers with their views.
        noise: names of the layers and views whose features are noise.
        device: device of the features.
        memory_budget: bytes that a snapshot may take.
    """
    wide = [(dim, layer.view_names[view] in noise) for layer in layers for view, dim in view_dims(layer).items()]
    dims = [dim for dim, _ in wide]
    rows = min(graphs.n, GRAPH_ROWS if device.type == "cpu" else GRAPH_ROWS_ON_GPU)
    # A cloud is made with copies, and its graph takes room, too.
    high = max(1, min(max(dims), int(min(GRAPH_BYTES, memory_budget / 4)) // (4 * rows)))
    sizes = sorted({min(SMALL, high), max(min(SMALL, high), high // 8), high})
    total = 0.0
    for kind in (False, True):
        own = [dim for dim, noisy in wide if noisy == kind]
        if own:
            tried, rows = fitted(rows, partial(_tried, graphs, sizes, kind, device), least=10)
            total += sum(_of_dim(dim, sizes, tried.seconds) * _growth(graphs, rows, dim, device) for dim in own)
            pairs = tried.pairs
    return total + pairs * (len(dims) / PAIRED) ** 2 * graphs.n / rows


@dataclass(frozen=True)
class _Tried:
    """Seconds of one graph for each number of features, and of some pairs."""

    seconds: list[float]
    pairs: float


def _tried(graphs: Graphs, dims: Sequence[int], noise: bool, device: torch.device, rows: int) -> _Tried:
    k = _k(graphs, rows)
    labels = None if graphs.labels is None else graphs.labels[:rows]
    features = cloud(rows, dims[-1], noise).to(device)
    found: list[tuple[KnnGraph, torch.Tensor]] = []
    seconds = []
    for dim in dims:
        part, built = features[:, :dim].contiguous(), list[KnnGraph]()
        _measured(graphs, part[:WARM], 2, None if labels is None else labels[:WARM])  # compiles
        seconds.append(quickest(partial(_build, built, graphs, part, k, labels)))
        found.append((built[-1], part))
    collector = Collector([one for one in graphs.quantities if one.of_pairs], labels)
    for position in range(PAIRED):
        collector.add(f"{position}", *found[position % len(found)])
    collector.matrices()
    return _Tried(seconds, once(collector.matrices))


def _measured(graphs: Graphs, features: torch.Tensor, k: int, labels: npt.NDArray[np.int64] | None) -> KnnGraph:
    collector = Collector([one for one in graphs.quantities if not one.of_pairs], labels)
    collector.add("", knn_graph(features, k, "exact"), features)
    return collector.graphs[""]


def _build(into: list[KnnGraph], *given: Any) -> None:
    into.append(_measured(*given))


def _of_dim(dim: int, sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """Seconds for a number of features, from those of some sizes: between them a line, beyond them a power."""
    if dim <= sizes[-1] or len(sizes) < 2:
        return float(np.interp(dim, sizes, seconds))
    power = math.log(seconds[-1] / max(seconds[-2], 1e-9)) / math.log(sizes[-1] / sizes[-2]) if seconds[-1] else 1.0
    return float(seconds[-1] * (dim / sizes[-1]) ** min(max(power, 1.0), STEEPEST))


def _k(graphs: Graphs, rows: int) -> int:
    """The number of neighbours for fewer samples: the same fraction of them, so that a graph is built alike."""
    return max(2, min(rows - 1, graphs.k * rows // graphs.n))


def _growth(graphs: Graphs, rows: int, dim: int, device: torch.device) -> float:
    """How much longer a graph of all samples takes than an exact one of some rows."""
    n, k, backend = graphs.n, graphs.k, graphs.backend
    if device.type != "cpu":
        return (n / rows) ** 2
    if backend == "auto":
        backend, _ = choose(n, dim, k, device, 0.95, MEMORY_BUDGET)
    predicted = nn_descent_seconds if backend == "nndescent" else exact_seconds
    return predicted(n, dim, k) / exact_seconds(rows, dim, _k(graphs, rows))


def cloud(rows: int, dim: int, noise: bool = False) -> torch.Tensor:
    """(rows, dim) float32: noise, or points of a curved manifold of 16 dimensions with noise in all, as features are.

    Points that fill all dimensions are nearly equally far from each other, and their graph takes up to three times as
    long.
    """
    # A generator of its own: the global streams belong to the training.
    random = torch.Generator().manual_seed(0)
    everywhere = torch.randn(rows, dim, generator=random)
    if noise:
        return everywhere
    places, directions = torch.randn(rows, 16, generator=random), torch.randn(16, dim, generator=random)
    return torch.relu_(places @ directions).add_(everywhere, alpha=0.2)


def once(call: Callable[[], Any]) -> float:
    """Seconds of a call, until a GPU has nothing left to do."""
    started = time.perf_counter()
    call()
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
    return time.perf_counter() - started


def quickest(call: Callable[[], Any], ranks: Ranks = ALONE) -> float:
    """Seconds of a call, on the slowest rank; the quicker one of two short calls, as another program may hold one up.

    All ranks call equally often: those of a sharded network have to pass it together.
    """
    seconds = max(ranks.values(lambda: once(call)))
    return seconds if seconds >= PASS_SECONDS else min(seconds, max(ranks.values(lambda: once(call))))


def _nothing(model: nn.Module) -> None:
    with undisturbed(model):
        pass
