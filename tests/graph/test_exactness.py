"""Exact graphs are exact: every way to one, on clouds made to break its bounds, row by row against float64."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import rra_monitor as rra
from rra_monitor.graph import KnnGraph, all_pairs, bounds, exact, on_device, sieve, smallest, spot_check, tensor_cores
from rra_monitor.graph.dense import in_double, in_single
from rra_monitor.graph.distances import squared_differences
from rra_monitor.graph.finished import in_units
from rra_monitor.graph.on_device import graph_on_device
from rra_monitor.graph.points import Points
from tests.helpers.clouds import (
    KINDS,
    assert_exact,
    cloud_of,
    clusters,
    duplicates,
    near_ties,
    offset,
    quantised,
    relu,
    true_distances,
)

WAYS = [
    "all pairs in tiles",
    "all pairs by feature",
    "sieve in bfloat16",
    "sieve in float32",
    "rows in float16",
    "rows in float32",
    "rows in float64",
]
SHAPES = {  # samples, features, classes, spread
    "two features": (300, 2, 3, 1e4),
    "ten classes": (300, 64, 10, 500.0),
    "many classes": (400, 33, 200, 1e5),
    "many features": (200, 1024, 10, 100.0),
    "most features": (120, 4096, 3, 1e3),
}


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    """A function from points and k to a graph, by one of the ways, whatever pays on this processor."""
    if request.param == "rows in float16":
        return lambda points, k: graph_on_device(Points(points), k)
    if request.param == "rows in float32":
        return lambda points, k: graph_by_rows(points, k)
    if "all pairs" in request.param:
        monkeypatch.setattr(all_pairs, "FEW", 0 if "tiles" in request.param else 1 << 30)
        monkeypatch.setattr(exact, "suits", lambda *shape: True)
        return lambda points, k: rra.knn_graph(points, k, "exact")
    monkeypatch.setattr(exact, "suits", lambda *shape: False)
    if request.param == "rows in float64":
        monkeypatch.setattr(exact, "DENSE", 1 << 30)
    else:
        dtype = torch.bfloat16 if "bfloat16" in request.param else torch.float32
        monkeypatch.setattr(sieve, "_cheaper_type", lambda points, sizes: dtype)
    return lambda points, k: rra.knn_graph(points, k, "exact")


def graph_by_rows(features, k):
    """As on a GPU: products in float32, and in float64 for the rows that they do not settle."""
    points = Points(features)
    rows = torch.arange(points.n)
    squared, indices, settled = in_single(points, rows, k)
    left = (~settled).nonzero()[:, 0]
    squared[left], indices[left] = in_double(points, left, squared.shape[1])
    return KnnGraph(indices[:, :k].int().numpy(), in_units(squared[:, :k].numpy(), points.scale))


def cut_sums(own, others):
    """Inner products as on the first tensor cores: four terms are added to the sum at once, cut to 24 bits."""
    total = torch.zeros(len(own), len(others), dtype=torch.float64)
    for start in range(0, own.shape[1], 4):
        here = slice(start, start + 4)
        terms = torch.cat([total[None], (own[:, None, here].double() * others[None, :, here].double()).movedim(2, 0)])
        total = cut(cut(terms, terms.abs().amax(dim=0)).sum(dim=0))
    return total.float()


def cut(values, largest=None):
    """Towards zero, to 24 bits of the largest of several values, or of each."""
    exponent = (values.abs() if largest is None else largest).frexp().exponent
    return torch.ldexp(torch.ldexp(values, 24 - exponent).trunc(), exponent - 24)


def test_exact_graph_by_products_in_float16_with_hardly_a_margin(monkeypatch):
    # Without its bounds the certificate covers wrong rows here.
    points = cloud_of(duplicates, 0, 500, 256, 3, 30.0)
    monkeypatch.setattr(tensor_cores, "MARGINS", (1, 2))
    monkeypatch.setattr(tensor_cores, "SHARE", 1000)
    assert_exact(graph_on_device(Points(points), 10), true_distances(points))


def test_exact_graph_without_the_memory_for_a_copy_in_float16(monkeypatch):
    def short(points, k, block_bytes):
        raise torch.OutOfMemoryError("CUDA out of memory")

    points = cloud_of(clusters, 0, 300, 64)
    monkeypatch.setattr(on_device, "in_half", short)
    assert_exact(graph_on_device(Points(points), 10), true_distances(points))


@pytest.mark.parametrize("kind", [relu, offset, near_ties, duplicates], ids=lambda kind: kind.__name__)
def test_candidates_that_are_not_measured_are_farther_than_all_that_are_shown(kind, monkeypatch):
    points, k = Points(cloud_of(kind, 0, 400, 64, 3, 5.0)), 10
    true, met = torch.from_numpy(true_distances(points.matrix.numpy())), []

    def recorded(table, norms, rows, wanted):
        near, columns = smallest.smallest(table, norms, rows, wanted)
        met.append(columns.clone())
        return near, columns

    def measured(points, rows, others, double=False):
        met.append(others)
        return squared_differences(points, rows, others, double)

    monkeypatch.setattr(tensor_cores, "smallest", recorded)
    monkeypatch.setattr(tensor_cores, "squared_differences", measured)
    tensor_cores.in_half(points, k, 1 << 24)
    columns, kept = met[:2]
    left_out = true.gather(1, columns).masked_fill_(kept >= 0, torch.inf).amin(dim=1)
    # Among the candidates; whether others are nearer is another matter.
    last = true.gather(1, columns).sort(dim=1).values[:, k]
    assert (left_out > last).all()
    assert (kept < 0).any() or kind is near_ties


def test_longer_shortlists_settle_rows_of_narrow_clusters():
    points = Points(cloud_of(clusters, 0, 900, 256, 2, 30.0))
    _, _, (first, second) = tensor_cores.in_half(points, 10, 1 << 24)
    assert len(first) > 2 * len(second)


def test_spot_check_on_the_device_finds_a_bound_that_is_too_small_and_the_graph_is_built_again(monkeypatch):
    points = cloud_of(near_ties, 0, 600, 64, 10, 500.0)
    monkeypatch.setattr(tensor_cores, "_widening", lambda points, rounded, rows, last, kth: torch.zeros_like(kth))
    with pytest.warns(RuntimeWarning, match=r"[1-4] of 4 rows .* were wrong.*built again in float64.*report"):
        graph = graph_on_device(Points(points), 20)
    assert 1 <= graph.failed <= graph.checked == spot_check.CHECKED
    assert_exact(dataclasses.replace(graph, failed=0), true_distances(points))


@pytest.mark.parametrize("kind", [clusters, relu, near_ties], ids=lambda kind: kind.__name__)
def test_exact_graph_by_sums_that_are_cut_as_on_tensor_cores(kind, monkeypatch):
    points = cloud_of(kind, 0, 150, 32, 40, 1e3)
    monkeypatch.setattr(tensor_cores, "multiplied", cut_sums)
    assert_exact(graph_on_device(Points(points), 3), true_distances(points))


@pytest.mark.parametrize("dim", [300, 5000])
def test_tensor_core_error_bounds_sums_that_are_cut(dim):
    # All terms have one sign: all cuts go the same way.
    samples = (torch.rand(3, dim, generator=torch.Generator().manual_seed(0)) + 1).half()
    exact = samples.double() @ samples.double().T
    lengths = exact.diagonal().sqrt()
    error = ((cut_sums(samples, samples).double() - exact).abs() / (lengths[:, None] * lengths)).max()
    assert 2.0**-24 < error <= bounds.tensor_core_error(dim)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_exact_graph_has_the_neighbours_of_float64(way, kind, shape):
    n, dim, classes, spread = SHAPES[shape]
    points = cloud_of(kind, 0, n, dim, classes, spread)
    assert_exact(way(points, 10), true_distances(points))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(("dim", "spread"), [(2, 1e5), (64, 30.0), (512, 300.0), (4096, 10.0)])
def test_exact_graph_of_two_thousand_samples_has_the_neighbours_of_float64(way, kind, dim, spread):
    points = cloud_of(kind, 1, 2000 if dim < 4096 else 800, dim, 10, spread)
    assert_exact(way(points, 20), true_distances(points))


def test_exact_graph_of_a_network_trained_to_near_zero_loss(way, overfitted):
    for features in overfitted.values():
        assert_exact(way(features, 12), true_distances(features))


@pytest.fixture(scope="module")
def overfitted(digits):
    """Layers of a network that separates 400 digits almost without loss: classes are far apart and narrow."""
    torch.manual_seed(0)
    images, classes = digits[0][:400].flatten(1), digits[1][:400]
    network = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(100):
        loss = nn.functional.cross_entropy(network(images), classes)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 1e-3
    layers = ["0", "1", "2", "3", "4"]
    return {
        layer: found.numpy()
        for layer, found in rra.iter_features(network, rra.FixedSample.from_tensors(images), layers)
    }


@pytest.mark.parametrize("k", [5, 60], ids=["few neighbours", "many"])
@pytest.mark.parametrize("value", [0.0, 1e-40, 1.0, 1e26, 3e38])
def test_exact_graph_of_a_constant_layer_is_in_order_of_index(value, k, way):
    row = np.random.default_rng(0).uniform(-1, 1, 16) * value
    points = np.tile(row.astype(np.float32), (200, 1))
    graph = way(points, k)
    expected = [[j for j in range(k + 1) if j != i][:k] for i in range(200)]
    assert graph.indices.tolist() == expected
    assert not graph.distances.any()


def test_exact_graph_of_a_grid_of_integers_prefers_lower_indices_for_the_last_place(way):
    points = np.random.default_rng(0).integers(0, 4, (500, 6)).astype(np.uint8)
    distances = true_distances(points)
    expected = np.argsort(distances, axis=1, kind="stable")[:, :20]
    assert (np.sort(way(points, 20).indices) == np.sort(expected)).all()


@pytest.mark.parametrize("dim", [1, 7, 300, 5000])
def test_squared_error_bounds_products_of_equal_signs_in_float32(dim):
    # All roundings go the same way: the worst that a sum can do.
    samples = torch.full((2, dim), 1 + 2.0**-7) * torch.tensor([[1.0], [1 + 2.0**-6]])
    products = torch.mm(samples, samples.T)
    exact = samples.double() @ samples.double().T
    norms = exact.diagonal()
    error = 2 * (products.double() - exact).abs() / (norms[:, None] + norms)
    assert error.max() <= bounds.squared_error(dim, torch.float32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_unit_is_the_largest_rounding_error_of_the_type(dtype):
    values = torch.rand(200_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 1
    largest = float(((values.to(dtype).double() - values).abs() / values).max())
    assert 0.98 * bounds.UNIT[dtype] < largest <= bounds.UNIT[dtype]


def test_spot_check_finds_a_bound_that_is_too_small_and_the_graph_is_built_again(monkeypatch):
    points = cloud_of(clusters, 0, 600, 64, 10, 500.0)
    monkeypatch.setattr(exact, "suits", lambda *shape: False)
    monkeypatch.setattr(sieve, "_cheaper_type", lambda points, sizes: torch.bfloat16)
    monkeypatch.setattr(sieve._Sieve, "errors", lambda self: without_errors(len(points)))
    with pytest.warns(RuntimeWarning, match=r"[1-4] of 4 rows .* were wrong.*built again in float64.*report"):
        graph = rra.knn_graph(points, 20, "exact")
    assert graph.checked == spot_check.CHECKED
    assert 1 <= graph.failed <= graph.checked
    health = rra.metrics.graph_health(graph)
    assert (health.checked, health.failed) == (graph.checked, graph.failed)
    assert_exact(dataclasses.replace(graph, failed=0), true_distances(points))


def without_errors(n):
    return sieve.Errors(np.zeros(n, np.float32), relative=0.0, product=0.0, summed=0.0, floor=0.0)


def test_spot_check_passes_what_differs_by_ties_alone(way):
    points = cloud_of(quantised, 1, 500, 3)
    assert way(points, 10).failed == 0


def test_spot_check_draws_other_rows_for_other_graphs():
    graphs = [rra.knn_graph(cloud_of(clusters, seed, 300, 8), 5).indices for seed in range(8)]
    assert len({tuple(spot_check.rows_to_check(indices, 300)) for indices in graphs}) > 1
    assert (spot_check.rows_to_check(graphs[0], 300) == spot_check.rows_to_check(graphs[0], 300)).all()


def test_a_graph_without_low_precision_is_not_checked():
    assert rra.knn_graph(cloud_of(clusters, 0, 100, 8), 50, "exact").checked == 0


@settings(max_examples=25, deadline=None, print_blob=True)
@given(
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(100, 500),
    dim=st.integers(2, 512),
    classes=st.integers(3, 200),
    spread=st.floats(10, 1e5),
    k=st.integers(1, 60),
)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_exact_graph_of_random_clouds(dtype, kind, seed, n, dim, classes, spread, k):
    points = cloud_of(kind, seed, n, dim, classes, spread)
    distances = true_distances(points)
    with pytest.MonkeyPatch.context() as patch:
        for few in (0, 1 << 30):
            patch.setattr(all_pairs, "FEW", few)
            assert_exact(rra.knn_graph(points, k, "exact"), distances)
        patch.setattr(exact, "suits", lambda *shape: False)
        patch.setattr(sieve, "_cheaper_type", lambda points, sizes: dtype)
        assert_exact(rra.knn_graph(points, k, "exact"), distances)
    assert_exact(graph_by_rows(points, k), distances)
    assert_exact(graph_on_device(Points(points), k), distances)
