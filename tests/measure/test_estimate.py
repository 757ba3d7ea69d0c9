import pytest
import torch

import rra_monitor as rra
import rra_monitor.measure.monitor
from rra_monitor.nn import resnet20
from tests.helpers.views import EVERY


def test_the_plan_counts_every_graph(sample):
    network = resnet20(10, 1)
    full, many = (rra.Monitor({"train": sample}, views=views).plan(network)["train"] for views in (["full"], EVERY))
    assert (full.graphs, len(full.layers), len(many.layers)) == (13, 13, 13)
    # 8 x 8: the input, the stem, stage 1, whose avg8 and max8 are the global ones; 4 x 4: stage 2; 2 x 2: stage 3.
    assert many.graphs == 5 * 7 + 3 * 5 + 3 * 3 + 2
    assert many.bytes == pytest.approx(full.bytes / full.graphs * many.graphs)


def test_the_plan_is_what_is_then_measured(sample):
    network = resnet20(10, 1)
    monitor = rra.Monitor({"train": sample})
    plan = monitor.plan(network)["train"]
    snapshot = monitor.measure(network, step=0, epoch=0)["train"]
    assert tuple(layer.name for layer in plan.layers) == snapshot.layers
    assert (plan.n, plan.k, plan.classes) == (200, 2, 10)
    assert plan.bytes == sum(graph.indices.size * (1 + 4) for graph in snapshot.graphs.values())


def test_the_plan_adds_the_seconds_of_the_passes_and_of_every_graph_up(sample, small_net, monkeypatch):
    told = iter(
        [0.5, 1.0, 1.0 + 2048 - 64]
    )  # a pass of one batch, 128 samples; graphs of 200 samples with 64 and 2,048 features
    monkeypatch.setattr(rra_monitor.measure.monitor, "timed", lambda call: next(told))
    plan = rra.Monitor({"train": sample}, layers=["input", "0", "6"]).plan(small_net)["train"]
    # A pass of all 200; graphs of 64 and of 10 features; one of 4 x 6 x 6, with a second for each feature above 64.
    assert plan.seconds == pytest.approx(0.5 * 200 / 128 + 1 + (1 + 144 - 64) + 1)


def test_where_the_graphs_that_are_timed_do_not_fit_smaller_ones_are(sample, small_net, monkeypatch):
    built, build = [], rra_monitor.measure.monitor.knn_graph

    def limited(points, k):
        if len(points) > 60:
            raise torch.OutOfMemoryError("CUDA out of memory")
        built.append(len(points))
        return build(points, k)

    monkeypatch.setattr(rra_monitor.measure.monitor, "knn_graph", limited)
    plan = rra.Monitor({"train": sample}, layers=["6"]).plan(small_net)["train"]
    assert set(built) == {50}
    assert plan.seconds > 0
