import pytest

import rra_monitor as rra
import rra_monitor.measure.monitor
from rra_monitor.nn import resnet20
from tests.helpers.views import EVERY


def test_the_plan_counts_every_graph(sample):
    network = resnet20(10, 1)
    full, many = (rra.Monitor({"train": sample}, views=views).plan(network)["train"] for views in (["full"], EVERY))
    assert (full.graphs, len(full.layers), len(many.layers)) == (13, 13, 13)
    assert many.graphs > 2 * full.graphs
    assert many.bytes == pytest.approx(full.bytes / full.graphs * many.graphs)


def test_the_plan_is_what_is_then_measured(sample):
    network = resnet20(10, 1)
    monitor = rra.Monitor({"train": sample})
    plan = monitor.plan(network)["train"]
    snapshot = monitor.measure(network, step=0, epoch=0)["train"]
    assert tuple(layer.name for layer in plan.layers) == snapshot.layers
    assert (plan.n, plan.k, plan.classes) == (200, 2, 10)
    assert plan.bytes == sum(graph.indices.size * (1 + 4) for graph in snapshot.graphs.values())
    # An estimate in seconds, not in thousandths, on a machine that does other things, too.
    assert snapshot.seconds / 300 < plan.seconds < 300 * snapshot.seconds
