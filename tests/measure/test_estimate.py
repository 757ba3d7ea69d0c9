"""What a snapshot is announced to take. Times are counted in rows and features here, never measured."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import rra_monitor as rra
from rra_monitor.capture.features import find_layers
from rra_monitor.measure import trial
from rra_monitor.nn import resnet20
from tests.helpers import wide_layers
from tests.helpers.views import EVERY


@pytest.fixture
def clock(monkeypatch):
    """A clock that only the test moves, read by the estimate."""
    hand = SimpleNamespace(now=0.0)
    monkeypatch.setattr(trial, "time", SimpleNamespace(perf_counter=lambda: hand.now))
    return hand


@pytest.fixture
def no_passes(monkeypatch):
    monkeypatch.setattr("rra_monitor.measure.monitor.passes", lambda *_: trial.Passes(0.0, set()))


@pytest.fixture
def no_graphs(monkeypatch):
    monkeypatch.setattr("rra_monitor.measure.monitor.graph_seconds", lambda *_: 0.0)


def test_the_plan_counts_every_graph(sample):
    network = resnet20(10, 1)
    full, many = (rra.Monitor({"train": sample}, views=views).plan(network)["train"] for views in (["full"], EVERY))
    assert (full.graphs, len(full.layers), len(many.layers)) == (13, 13, 13)
    # 8 x 8: the input, the stem, stage 1, whose avg8 and max8 are the global ones; 4 x 4: stage 2; 2 x 2: stage 3.
    assert many.graphs == 5 * 7 + 3 * 5 + 3 * 3 + 2


def test_the_plan_is_what_is_then_measured(sample):
    network = resnet20(10, 1)
    monitor = rra.Monitor({"train": sample})
    plan = monitor.plan(network)["train"]
    snapshot = monitor.measure(network, step=0, epoch=0)["train"]
    assert tuple(layer.name for layer in plan.layers) == snapshot.layers
    assert (plan.n, plan.k, plan.classes) == (200, 2, 10)


class TestPasses:
    @pytest.mark.parametrize(
        ("budget", "most", "each"), [(4 << 30, 1, 0.01), (4 << 30, 1, 1.0), (wide_layers.TINY, 40, 1.0)]
    )
    def test_each_group_of_layers_or_parts_has_its_own(self, clock, no_graphs, budget, most, each):
        model, images, given = wide_layers.network(), wide_layers.sample(), []

        def forward(model, batch):
            given.append(len(batch))
            clock.now += each * len(batch)
            return model(batch)

        layers = wide_layers.LAYERS
        monitor = rra.Monitor({"train": images}, layers=layers, memory_budget=budget, forward=forward)
        plan = monitor.plan(model)["train"]
        given.clear()
        monitor.measure(model, step=0, epoch=0)
        assert sum(given) == plan.passes * 40  # the plan has found the layers
        assert most / 4 < plan.passes <= most
        assert plan.seconds == pytest.approx(plan.passes * 40 * each)

    def test_few_samples_tell_how_long_all_take(self, clock, no_graphs):
        model, images, given = wide_layers.network(), wide_layers.sample(), []

        def forward(model, batch):
            given.append(len(batch))
            clock.now += len(batch)
            return model(batch)

        options = {"layers": wide_layers.LAYERS, "memory_budget": wide_layers.TINY, "forward": forward}
        plan = rra.Monitor({"train": images}, **options).plan(model)["train"]
        # Two that find the layers, one that tells how many are enough, and one for each layer at which passes end.
        assert given[:3] == [5, 3, 1]
        assert set(given[3:]) == {16}
        assert len(given[3:]) <= 5 < plan.passes

    def test_the_input_alone_needs_none(self, sample, small_net, clock, no_graphs):
        plan = rra.Monitor({"train": sample}, layers=["input"]).plan(small_net)["train"]
        assert (plan.passes, plan.seconds) == (0, 0)

    @pytest.mark.parametrize("budget", [4 << 30, wide_layers.TINY])
    def test_no_more_is_held_than_in_a_snapshot(self, budget, monkeypatch):
        held, collect, cloud = [], trial.collect, trial.cloud

        def collected(*given):
            found = collect(*given)
            held.append(sum(4 * each.numel() for each in found.values()))
            return found

        def made(rows, dim, noise):
            held.append(4 * rows * dim)
            return cloud(rows, dim, noise)

        monkeypatch.setattr(trial, "collect", collected)
        monkeypatch.setattr(trial, "cloud", made)
        rra.Monitor({"train": wide_layers.sample()}, memory_budget=budget).plan(wide_layers.network())
        assert max(held) <= budget
        assert len(held) >= 3


class TestGraphs:
    def seconds(self, monitor, network):
        return monitor.plan(network)["train"].seconds

    @pytest.fixture
    def by_size(self, clock, monkeypatch):
        """A graph takes one second, and a thousandth for each feature."""
        build = trial.knn_graph

        def built(features, k, backend):
            clock.now += 1 + features.shape[1] / 1000
            return build(features, k, backend)

        monkeypatch.setattr(trial, "knn_graph", built)

    def test_each_takes_what_its_number_of_features_makes_it(self, sample, small_net, by_size, no_passes):
        found = self.seconds(rra.Monitor({"train": sample}, layers=["input", "0", "6"]), small_net)
        assert found == pytest.approx(3 + (64 + 144 + 64) / 1000)  # below 64 a graph takes as long as of 64

    @pytest.mark.parametrize("noise", [False, True])
    def test_features_of_noise_are_timed_as_noise(self, clock, monkeypatch, noise):
        kinds = []
        monkeypatch.setattr(
            trial,
            "knn_graph",
            lambda features, k, backend: rra.knn_graph(kinds.append(features) or features, k, backend),
        )
        images = trial.cloud(60, 12_000, noise).reshape(60, 3, 40, 100)
        rra.Monitor({"train": rra.FixedSample.from_tensors(images)}, layers=["input"]).plan(nn.Identity())
        assert {trial.is_noise(features) for features in kinds if features.shape[1] == 12_000} == {noise}

    def test_views_are_included(self, sample, small_net, by_size, no_passes):
        monitor = rra.Monitor({"train": sample}, layers=["0"], views=["full", "avg2", "max-global"])
        assert self.seconds(monitor, small_net) == pytest.approx(3 + (144 + 64 + 64) / 1000)

    def test_more_samples_than_are_timed_take_longer(self, sample, small_net, by_size, no_passes, monkeypatch):
        monitor = rra.Monitor({"train": sample}, layers=["input", "0"])
        whole = self.seconds(monitor, small_net)
        monkeypatch.setattr(trial, "GRAPH_ROWS", 100)
        assert whole < self.seconds(monitor, small_net) < 4 * whole

    def test_quantities_are_included(self, sample, small_net, clock, no_passes):
        def slow(graph, labels):
            clock.now += 5
            assert graph.n == len(labels)
            return 1.0

        def of_pairs(graphs):
            clock.now += len(graphs) ** 2
            return torch.ones(len(graphs), len(graphs)).numpy()

        layers = [layer.name for layer in find_layers(small_net, sample)]
        mine = [rra.Quantity("mine", slow), rra.Quantity("pairs", of_pairs, of="graph pairs")]
        monitor = rra.Monitor({"train": sample}, layers=layers, quantities=mine)
        assert self.seconds(monitor, small_net) == pytest.approx(5 * len(layers) + len(layers) ** 2)

    def test_smaller_ones_are_timed_where_they_do_not_fit(self, sample, small_net, no_passes, monkeypatch):
        built, build = [], trial.knn_graph

        def limited(points, k, backend):
            if len(points) > 60:
                raise torch.OutOfMemoryError("CUDA out of memory")
            built.append(len(points))
            return build(points, k, backend)

        monkeypatch.setattr(trial, "knn_graph", limited)
        assert self.seconds(rra.Monitor({"train": sample}, layers=["6"]), small_net) > 0
        assert set(built) == {trial.WARM, 50}

    def test_random_streams_stay_where_they_were(self, sample, small_net):
        def drawing(graph, labels):
            return torch.rand(1).item()

        monitor = rra.Monitor({"train": sample}, quantities=[rra.Quantity("mine", drawing)])
        before = torch.get_rng_state()
        monitor.plan(small_net)
        assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("options", [{}, {"views": EVERY}, {"cka": True, "quantities": ["knn_accuracy"]}])
@pytest.mark.parametrize("keep", ["all", "last"])
def test_the_bytes_are_what_the_directory_grows_by(digits, small_net, tmp_path, options, keep):
    sample = rra.FixedSample.from_tensors(digits[0][:100], digits[1][:100])
    store = rra.RunStore(tmp_path, keep)
    recorder = rra.Recorder(store, sinks=[rra.JSONLSink(store)])
    monitor = rra.Monitor({"train": sample}, **options)
    plan = monitor.plan(small_net)["train"]
    sizes = []
    for step in range(2):
        with torch.no_grad():
            small_net[0].weight.mul_(0.9)
        recorder.record(monitor.measure(small_net, step=step, epoch=step))
        sizes.append(sum(file.stat().st_size for file in Path(tmp_path).rglob("*.*")))
    announced = plan.bytes if keep == "all" else plan.curve_bytes
    assert 0.5 < (sizes[1] - sizes[0]) / announced < 2


def test_a_network_without_parameters_is_estimated_too(sample):
    assert rra.Monitor({"train": sample}).plan(nn.Sequential(nn.Flatten(), nn.ReLU()))["train"].seconds > 0
