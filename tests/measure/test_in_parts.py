"""Graphs of layers that come in parts: those of whole layers, in few passes, and refused by name."""

import os

import numpy as np
import pytest
import torch
from torch import nn

import rra_monitor as rra
from rra_monitor.capture.channels import with_views
from rra_monitor.capture.features import find_layers, iter_features
from rra_monitor.capture.layer import Layer
from rra_monitor.capture.passes import named_dims
from rra_monitor.measure import in_parts
from rra_monitor.measure.in_parts import graphs_in_parts, groups, planned_passes

BUDGET = 1 << 20


def setting(dtype=torch.float32, n=60, side=20, views=("full", "avg-global")):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.Flatten(), nn.LazyLinear(5))
    sample = rra.FixedSample.from_tensors(torch.randn(n, 3, side, side, dtype=dtype))
    model.to(dtype)(sample.inputs[:2])
    return model, sample, with_views(model, find_layers(model, sample, ["0", "1", "2", "4"]), views)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_graphs_in_parts_are_those_of_whole_layers(dtype):
    model, sample, layers = setting(dtype)
    found = list(graphs_in_parts(model, sample, layers, 5, BUDGET, kernels=list(named_dims(layers))))
    whole = dict(iter_features(model, sample, layers, views=("full", "avg-global")))
    assert [name for name, _, _ in found] == list(whole)
    for name, graph, kernel in found:
        expected = rra.knn_graph(whole[name], 5)
        assert (np.sort(graph.indices) == np.sort(expected.indices)).mean() > 0.99
        assert rra.metrics.twonn(graph) == pytest.approx(rra.metrics.twonn(expected), rel=1e-6)
        matrix = rra.metrics.linear_kernel(whole[name]).matrix()
        np.testing.assert_allclose(kernel.matrix(), matrix, rtol=0, atol=1e-11 * np.abs(matrix).max())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_passes_are_at_most_little_more_than_twice_the_bytes_over_the_budget(dtype, monkeypatch):
    model, sample, layers = setting(dtype, n=30, side=64, views=("full",))
    features, budget = sum(named_dims(layers).values()), 4 << 20
    passes, collect = [], in_parts.collect
    monkeypatch.setattr(in_parts, "collect", lambda *args: passes.append(args[5]) or collect(*args))
    assert len(list(graphs_in_parts(model, sample, layers, 5, budget))) == 4
    assert passes == [parts for group in groups(layers, 30, 5, budget) for parts in planned_passes(group)]
    widths = [sum(part.stop - part.start for part in parts.values()) for parts in passes]
    assert max(widths) * sample.n * dtype.itemsize <= budget
    # The last part of the first sweep is the first of the second.
    assert features < sum(widths) < 2 * features
    assert len(passes) <= 2.4 * features * sample.n * dtype.itemsize / budget + 1  # 2.2 from some 10 MB on


@pytest.mark.parametrize(
    ("n", "dims", "budget"),
    [(2000, [50_000], 256), (2000, [200_000], 256), (2000, [802_816] * 3, 1024), (200, [802_816] * 3, 64)],
)
def test_planned_passes_are_at_most_2_2_times_the_bytes_over_the_budget(n, dims, budget):
    layers = [Layer(f"{place}", f"{place}", 0, (dim,)) for place, dim in enumerate(dims)]
    passes = [parts for group in groups(layers, n, 20, budget << 20) for parts in planned_passes(group)]
    assert len(passes) <= 2.2 * 4 * n * sum(dims) / (budget << 20)


class Restless(nn.Module):
    """Noise that no seed repeats."""

    def forward(self, x):
        generator = torch.Generator().manual_seed(int.from_bytes(os.urandom(7), "big"))
        return x * (torch.rand(x.shape, generator=generator) > 0.2)


def test_a_network_whose_passes_differ_is_refused_by_the_layer():
    model, sample, _ = setting()
    model = nn.Sequential(model[0], Restless())
    with pytest.raises(ValueError, match=r"layer '1': the features differ from those of the first sweep"):
        list(graphs_in_parts(model, sample, find_layers(model, sample, ["0", "1"]), 5, BUDGET // 4))


def test_a_budget_below_the_least_part_is_refused_with_what_it_takes():
    model, sample, layers = setting()
    with pytest.raises(ValueError, match=r"memory_budget=10,000 bytes is below one block.*at least [\d,]+"):
        next(graphs_in_parts(model, sample, layers, 5, 10_000))


def test_a_layer_without_a_graph_is_named():
    model, sample, layers = setting()
    with torch.no_grad():
        model[2].weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"layer '2': 60 of 60 samples have NaN"):
        list(graphs_in_parts(model, sample, layers, 5, BUDGET))
