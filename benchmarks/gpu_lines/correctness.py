"""Lines about the numbers: graphs on the device against float64 there, and against graphs on the CPU."""

import itertools
from collections.abc import Iterator

import numpy as np
import torch

import rra_monitor as rra
from tests.helpers.clouds import KINDS, TIED, cloud_of, clusters

from .bench import Bench, Row

SHAPES = ((2000, 2, 3, 1e4), (2000, 64, 10, 500.0), (2000, 33, 200, 1e5), (2000, 1024, 10, 100.0), (800, 4096, 3, 1e3))
"""Samples, features, classes and spread of the clouds."""


def against_float64(bench: Bench) -> Iterator[Row]:
    rows = wrong = graphs = failed = 0
    worst, worst_cloud, wrong_clouds = 0.0, "", {}
    for name, points in clouds(bench):
        true = true_distances(points)
        for k in (2, 20):
            graph = rra.knn_graph(points, k, "exact")
            count, error = deviations(graph, true)
            rows, wrong, graphs, failed = rows + graph.n, wrong + count, graphs + 1, failed + graph.failed
            if count:
                wrong_clouds[f"{name}, k = {k}"] = count
            if not error <= worst:
                worst, worst_cloud = error, name
    title = f"wrong rows of {rows:,} in {graphs} graphs of adversarial clouds"
    yield bench.at_most(title, wrong, 0, "", timed=False, clouds=wrong_clouds)
    yield bench.at_most("largest error of r1 and r2 in them", worst, TIED, "", timed=False, cloud=worst_cloud)
    yield bench.at_most("their rows that failed the graph's own check", failed, 0, "", timed=False)


def agreement(bench: Bench) -> Iterator[Row]:
    """The same features on the CPU and on the device."""
    n = 200 if bench.tiny else 2000
    layers = [bench.cloud(n, dim, seed=dim) for dim in ((8, 16) if bench.tiny else (64, 1024, 4096))]
    labels = np.arange(n) % 10
    there = [rra.knn_graph(points, 20, "exact") for points in layers]
    here = [rra.knn_graph(points.cpu(), 20, "exact") for points in layers]
    differ = sum(map(beyond_ties, there, here))
    yield bench.at_most("rows that differ between CPU and device beyond ties", differ, 0, "", timed=False)
    distance = max(float(np.abs(a.distances / b.distances - 1).max()) for a, b in zip(there, here, strict=True))
    yield bench.at_most("largest relative difference of a distance", distance, TIED, "", timed=False)
    for name, values in {
        "ID, relative": [rra.metrics.twonn(a) / rra.metrics.twonn(b) - 1 for a, b in zip(there, here, strict=True)],
        "NNCS": [rra.metrics.nncs(a, labels) - rra.metrics.nncs(b, labels) for a, b in zip(there, here, strict=True)],
        "NNLS": (rra.metrics.nnls_matrix(there) - rra.metrics.nnls_matrix(here)).ravel(),
    }.items():
        largest = float(np.abs(values).max())
        yield bench.at_most(f"difference between CPU and device, {name}", largest, 1e-4, "", timed=False)


def clouds(bench: Bench) -> Iterator[tuple[str, torch.Tensor]]:
    """Adversarial clouds of every kind, offset, scale, type and layout, on the device."""
    shapes = [(60, 16, 5, 100.0)] if bench.tiny else SHAPES
    for kind, (n, dim, classes, spread) in itertools.product(KINDS, shapes):
        points = cloud_of(kind, 0, n, dim, classes, spread)
        yield f"{kind.__name__} ({n}, {dim})", torch.from_numpy(points).to(bench.device)
    n, dim = (60, 16) if bench.tiny else (1500, 256)
    base = torch.from_numpy(cloud_of(clusters, 1, n, dim, 10, 10.0)).to(bench.device)
    yield "heavy tails", torch.from_numpy(heavy_tails(n, dim)).to(bench.device)
    for scale in (1e-6, 1e-3, 1e3, 1e6):
        yield f"scale {scale:g}", base * scale
    for offset in (1e3, -1e5):
        yield f"offset {offset:g}", base + offset
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        yield str(dtype), base.to(dtype)
    yield "near the limit of float16", (base * (6e4 / float(base.abs().max()))).half()
    yield "non-contiguous", torch.cat([base, base], dim=1)[:, ::2]
    yield "transposed", base.T.contiguous().T
    side = 4 if bench.tiny else 8
    yield "channels-last", base.view(n, -1, side // 2, side).to(memory_format=torch.channels_last)
    yield "requires grad", base.clone().requires_grad_()


def heavy_tails(n: int, dim: int) -> np.ndarray:
    return np.random.default_rng(2).standard_t(2, (n, dim)).astype(np.float32)


def true_distances(points: torch.Tensor) -> torch.Tensor:
    """(n, n) float64, by difference on the device; infinite to themselves."""
    points = points.detach().reshape(len(points), -1).float().double()
    return torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(torch.inf)


def deviations(graph: rra.KnnGraph, true: torch.Tensor) -> tuple[int, float]:
    """Rows with a neighbour beyond the k-th true one, and the largest relative error of r1 and r2."""
    nearest = true.topk(graph.k, largest=False).values
    ids = torch.from_numpy(graph.indices).long().to(true.device)
    itself = (ids == torch.arange(graph.n, device=ids.device)[:, None]).any(dim=1)
    twice = (ids.sort(dim=1).values.diff(dim=1) == 0).any(dim=1)
    farther = true.gather(1, ids).amax(dim=1) > nearest[:, -1] * (1 + TIED)
    found = torch.from_numpy(graph.distances).to(true.device)[:, :2].double()
    errors = torch.where(nearest[:, :2] > 0, (found / nearest[:, :2] - 1).abs(), found)
    return int((farther | itself | twice).sum()), float(errors.max())


def beyond_ties(graph: rra.KnnGraph, other: rra.KnnGraph) -> int:
    """Rows whose neighbours differ although the k-th distance is not tied."""
    shared = (graph.indices[:, :, None] == other.indices[:, None, :]).any(axis=2)
    farther = graph.distances < other.distances[:, -1:] * (1 - TIED)
    return int((~shared & farther).any(axis=1).sum())
