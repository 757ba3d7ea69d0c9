"""Features captured in parts: those of a whole pass, each pass no longer than it must be."""

import numpy as np
import pytest
import torch
from torch import nn

import rra_monitor as rra
from rra_monitor.capture.channels import with_views
from rra_monitor.capture.features import collect, find_layers
from rra_monitor.capture.passes import itemsizes, named_dims, windows
from rra_monitor.graph import GraphOfParts

VIEWS = ("full", "avg2", "avg-global")


class Trap(nn.Module):
    """Passes its input on, unless it is set: then it must not run."""

    set = False

    def forward(self, x):
        if self.set:
            raise KeyboardInterrupt("this layer must not run")
        return x


class Caught(nn.Module):
    """A network that goes on after errors of its layers."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x):
        for layer in self.layers:
            try:
                x = layer(x)
            except Exception:
                continue
        return x


def setting(seed=0):
    """A network with batch norm and dropout, a sample, and its layers in several views."""
    torch.manual_seed(seed)
    model = Caught(
        *(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()),
        *(Trap(), nn.Dropout(), nn.Conv2d(6, 4, 3)),
    )
    sample = rra.FixedSample.from_tensors(torch.randn(23, 3, 9, 9))
    names = ["input", "layers.0", "layers.2", "layers.5"]
    return model, sample, with_views(model, find_layers(model, sample, names), VIEWS)


@pytest.mark.parametrize("features", [1000, 100, 37])
def test_parts_put_together_are_the_features_of_a_whole_pass(features):
    model, sample, layers = setting()
    whole = collect(model, sample, layers, batch_size=8)
    found = {name: [] for name in whole}
    passes = windows(named_dims(layers), sample.n, 4 * features * sample.n + 5, itemsizes(layers))
    for parts in passes:
        for name, part in collect(model, sample, layers, batch_size=8, parts=parts).items():
            found[name].append(part)
    for name, values in whole.items():
        assert torch.equal(torch.cat(found[name], dim=1), values.flatten(1))
    assert len(passes) == -(-sum(named_dims(layers).values()) // features)


def test_a_part_of_a_transformer_in_half_precision_stays_half():
    torch.manual_seed(0)
    model = nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Linear(8, 3)).bfloat16()
    sample = rra.FixedSample.from_tensors(torch.randn(12, 5, 8).bfloat16())
    layers = find_layers(model, sample, ["0", "1"])
    whole = collect(model, sample, layers)
    parts = collect(model, sample, layers, parts={"0": slice(7, 30), "1": slice(0, 2)})
    for name, where in (("0", slice(7, 30)), ("1", slice(0, 2))):
        assert parts[name].dtype == torch.bfloat16
        assert torch.equal(parts[name], whole[name].flatten(1)[:, where])


def test_each_batch_leaves_the_network_at_the_last_layer_that_serves(monkeypatch):
    model, sample, layers = setting()
    monkeypatch.setattr(Trap, "set", True)
    for parts in ({"layers.0": slice(0, 9), "layers.2@avg2": slice(3, 5)}, {"input": slice(0, 9)}):
        assert collect(model, sample, layers, batch_size=8, parts=parts).keys() == parts.keys()
    with pytest.raises(KeyboardInterrupt):
        collect(model, sample, layers, batch_size=8, parts={"layers.5": slice(0, 9)})


def test_passes_that_end_early_leave_the_network_as_it_was():
    model, sample, layers = setting()
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    collect(model, sample, layers, batch_size=8, parts={"layers.2": slice(0, 9)})
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training and not module._forward_hooks for module in model.modules())


def test_graph_of_captured_parts_is_that_of_the_whole_layer():
    model, sample, layers = setting()
    layer = layers[1]
    build = GraphOfParts(sample.n, layer.dim, 4)
    while build.wants_sweep:
        for parts in windows({layer.name: layer.dim}, sample.n, 4 * 100 * sample.n, {layer.name: 4}):
            build.add(collect(model, sample, layers, parts=parts)[layer.name])
        build.end_sweep()
    graph, whole = build.graph(), rra.knn_graph(collect(model, sample, [layer])[layer.name], 4)
    assert (graph.indices == whole.indices).all()
    np.testing.assert_allclose(graph.distances, whole.distances, rtol=1e-6)


def test_a_budget_below_one_feature_is_refused_with_what_it_takes():
    _, sample, layers = setting()
    with pytest.raises(ValueError, match=r"memory_budget=91 bytes is below 92, one feature of 23 samples. Raise it"):
        windows(named_dims(layers), sample.n, 91, itemsizes(layers))
    assert windows(named_dims(layers), sample.n, 92, itemsizes(layers))
