"""Graphs on a GPU are those of the CPU, whatever the features' values, type and layout."""

import numpy as np
import pytest
import torch

import rra_monitor as rra
from rra_monitor.graph.parts import GraphOfParts
from tests.helpers.clouds import KINDS, assert_exact, cloud_of, clusters, true_distances

pytestmark = pytest.mark.cuda


def test_cuda_gives_the_graph_of_the_cpu(feature_maps):
    graph, there = rra.knn_graph(feature_maps, k=20), rra.knn_graph(feature_maps.cuda(), k=20)
    np.testing.assert_allclose(there.distances, graph.distances, rtol=1e-5)
    assert (np.sort(there.indices) == np.sort(graph.indices)).all(axis=1).mean() > 0.99


@pytest.mark.parametrize("shape", [(400, 2, 3, 1e4), (400, 64, 100, 500.0), (300, 1024, 10, 100.0)], ids=str)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_graph_on_cuda_has_the_neighbours_of_float64(kind, shape):
    points = cloud_of(kind, 0, *shape)
    assert_exact(rra.knn_graph(torch.from_numpy(points).cuda(), 10), true_distances(points))


@pytest.mark.parametrize("k", [1, 150, 299], ids=["one", "half", "all"])
def test_graph_on_cuda_of_any_k_has_the_neighbours_of_float64(k):
    points = cloud_of(clusters, 0, 300, 33)
    assert_exact(rra.knn_graph(torch.from_numpy(points).cuda(), k), true_distances(points))


LAYOUTS = {
    "float16": lambda cloud: cloud.half(),
    "bfloat16": lambda cloud: cloud.bfloat16(),
    "float64": lambda cloud: cloud.double(),
    "every second feature": lambda cloud: torch.cat([cloud, cloud], dim=1)[:, ::2],
    "transposed": lambda cloud: cloud.T.contiguous().T,
    "channels-last": lambda cloud: cloud.view(-1, 16, 2, 2).to(memory_format=torch.channels_last),
    "requires grad": lambda cloud: cloud.clone().requires_grad_(),
    "scale 1e-6": lambda cloud: cloud * 1e-6,
    "scale 1e6": lambda cloud: cloud * 1e6,
    "offset 1e3": lambda cloud: cloud + 1e3,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_graph_on_cuda_of_features_of_any_type_and_layout(layout):
    features = LAYOUTS[layout](torch.from_numpy(cloud_of(clusters, 0, 300, 64, 10, 5.0)).cuda())
    values = features.detach().float().cpu().reshape(300, -1).numpy()
    assert_exact(rra.knn_graph(features, 10), true_distances(values))


def test_tf32_of_the_training_does_not_reach_the_graph_and_comes_back():
    points = torch.from_numpy(cloud_of(clusters, 0, 300, 512)).cuda()
    expected = rra.knn_graph(points, 10)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            graph = rra.knn_graph(points, 10)
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)
    assert (graph.indices == expected.indices).all()
    assert (graph.distances == expected.distances).all()


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_broken_features_on_cuda_are_refused(broken):
    features = torch.rand(50, 8, device="cuda")
    features[7, 3] = broken
    with pytest.raises(ValueError, match="1 of 50 samples have NaN or infinite features \\(the first is sample 7"):
        rra.knn_graph(features, 5)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_graph_of_features_on_a_device_that_is_not_current_is_built_there():
    points = cloud_of(clusters, 0, 300, 64)
    before = torch.cuda.memory_allocated(0)
    torch.cuda.reset_peak_memory_stats(0)
    assert_exact(rra.knn_graph(torch.from_numpy(points).to("cuda:1"), 10), true_distances(points))
    assert torch.cuda.max_memory_allocated(0) == before
    assert torch.cuda.current_device() == 0


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_graph_of_parts_on_cuda_has_the_neighbours_of_float64(kind):
    points = cloud_of(kind, 0, 301, 640, 10, 500.0)
    assert_exact(of_parts(torch.from_numpy(points).cuda(), 10, 1 << 30).graph(), true_distances(points))


@pytest.mark.parametrize("budget", [128 << 20, 32 << 20], ids=["two sweeps", "groups of samples"])
def test_graph_of_parts_on_cuda_takes_the_bytes_that_it_says(budget):
    points = torch.randn(2000, 9000, device="cuda")
    of_parts(points[:, :3000].contiguous(), 20, budget)  # takes what cuBLAS holds
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    sizes = of_parts(points, 20, budget).sizes
    assert torch.cuda.max_memory_allocated() - before <= sizes.bytes <= budget


def of_parts(features, k, budget):
    build = GraphOfParts(len(features), features.shape[1], k, budget)
    while build.wants_sweep:
        for part in features.split(5000, dim=1):
            build.add(part)
        build.end_sweep()
    return build
