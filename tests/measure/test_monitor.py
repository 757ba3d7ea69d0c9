import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import rra_monitor as rra
import rra_monitor.measure.monitor
from rra_monitor.nn import resnet20
from tests.helpers import loops
from tests.helpers.views import EVERY


def test_a_snapshot_equals_the_loop_reference(small_net, digits):
    images, labels = digits[0][:60], digits[1][:60]
    snapshot = rra.Monitor(
        {"p": rra.FixedSample.from_tensors(images, labels)}, layers=["input", "0", "6"], k=5
    ).measure(small_net, step=7, epoch=2)["p"]
    assert (snapshot.probe, snapshot.step, snapshot.epoch, snapshot.layers) == ("p", 7, 2, ("input", "0", "6"))
    small_net.eval()
    with torch.no_grad():
        outputs = [images, small_net[0](images), small_net(images)]
    for row, features in enumerate(outputs):
        assert snapshot.id[row] == pytest.approx(loops.twonn(features), rel=1e-4)
        assert snapshot.nncs[row] == pytest.approx(loops.nncs(features, labels, 5))
        for column, others in enumerate(outputs):
            assert snapshot.nnls[row, column] == pytest.approx(loops.nnls(features, others, 5))


def test_a_snapshot_has_the_health_of_its_graphs_and_the_errors_of_its_ids(small_net, digits):
    sample = rra.FixedSample.from_tensors(digits[0][:120], digits[1][:120])
    snapshot = rra.Monitor({"p": sample}, layers=["input", "0"], k=5).measure(small_net, step=0, epoch=0)["p"]
    assert snapshot.cka is None
    for row, graph in enumerate(snapshot.graphs.values()):
        assert snapshot.hubness[row] == rra.metrics.graph_health(graph).hubness
        assert snapshot.id_error[row] == rra.metrics.twonn_standard_error(graph) > 0


def test_the_input_of_any_two_networks_is_the_same(digits):
    """The thesis's Fig. 4.3: layer 0 is the raw data, whatever the network, and its NNLS is exactly 1."""
    monitor = rra.Monitor({"p": rra.FixedSample.from_tensors(digits[0][:150], digits[1][:150])}, k=15)
    torch.manual_seed(0)
    networks = (resnet20(10, 1), resnet20(7, 1), nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
    first, *others = (monitor.measure(network, step=0, epoch=0)["p"] for network in networks)
    for other in others:
        found = rra.match(first, other, "other").nnls
        assert found[0, 0] == 1.0
        assert (found[1:, 1:] < 1).all()


def test_cka_is_of_the_layers_as_they_are(small_net, digits):
    images = digits[0][:80]
    monitor = rra.Monitor(
        {"p": rra.FixedSample.from_tensors(images)}, layers=["input", "0"], views=["full", "avg2"], k=5, cka=True
    )
    snapshot = monitor.measure(small_net, step=0, epoch=0)["p"]
    small_net.eval()
    with torch.no_grad():
        expected = rra.metrics.linear_cka(images, small_net[0](images))
    assert snapshot.layers == ("input", "input@avg2", "0", "0@avg2")
    np.testing.assert_allclose(snapshot.cka, [[1, expected], [expected, 1]], rtol=1e-6)


def test_an_undefined_id_is_said_once_in_a_run(small_net):
    monitor = rra.Monitor({"p": rra.FixedSample.from_tensors(torch.zeros(20, 1, 8, 8))}, layers=["input", "0"], k=3)
    with pytest.warns(UserWarning, match="ID undefined") as caught:
        monitor.measure(small_net, step=0, epoch=0)
    (said,) = (str(each.message) for each in caught if "ID undefined" in str(each.message))
    assert said.startswith("layers input, 0 of probe 'p': ID undefined")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(monitor.measure(small_net, step=1, epoch=1)["p"].id).all()


class TestMonitorViews:
    def test_each_view_equals_the_loop_reference(self, small_net, digits):
        images, labels = digits[0][:60], digits[1][:60]
        sample = rra.FixedSample.from_tensors(images, labels)
        snapshot = rra.Monitor({"p": sample}, layers=["0", "6"], views=["full", "avg2", "max-global"], k=5).measure(
            small_net, step=0, epoch=0
        )["p"]
        assert snapshot.layers == ("0", "0@avg2", "0@max-global", "6")
        small_net.eval()
        with torch.no_grad():
            maps, logits = small_net[0](images), small_net(images)
        outputs = [maps, functional.avg_pool2d(maps, 2), functional.adaptive_max_pool2d(maps, 1), logits]
        for row, features in enumerate(outputs):
            assert snapshot.id[row] == pytest.approx(loops.twonn(features), rel=1e-4)
            assert snapshot.nncs[row] == pytest.approx(loops.nncs(features, labels, 5))
            for column, others in enumerate(outputs):
                assert snapshot.nnls[row, column] == pytest.approx(loops.nnls(features, others, 5))

    def test_equal_views_are_stated_and_not_built_twice(self, of_resnet):
        snapshot, built = of_resnet
        assert built == len(snapshot.layers) == len(snapshot.graphs)
        # 16 x 16: the input, the stem, stage 1; 8 x 8: stage 2; 4 x 4: stage 3; pool and classifier.
        assert built == 5 * 9 + 3 * 7 + 3 * 5 + 2
        assert snapshot.aliases["layer2.0@avg8"] == "layer2.0@avg-global"
        assert snapshot.aliases["layer3.2@max4"] == "layer3.2@max-global"
        assert snapshot.aliases["pool@avg2"] == "pool"
        assert len(snapshot.aliases) == 3 * 2 + 3 * 4 + 2 * 8
        assert snapshot.settings.views == EVERY


def test_every_graph_is_told_as_it_is_built(small_net, sample):
    told = []
    monitor = rra.Monitor({"a": sample, "b": sample}, layers=["input", "0"], views=["full", "avg2"])
    monitor.measure(small_net, step=0, epoch=0, on_graph=lambda *about: told.append(about))
    assert told == [(probe, built, 4) for probe in "ab" for built in range(5)]


def test_every_probe_is_measured_with_its_own_k(small_net, digits):
    probes = {
        "a": rra.FixedSample.from_tensors(digits[0][:300], digits[1][:300]),
        "b": rra.FixedSample.from_tensors(digits[0][300:400]),
    }
    snapshots = rra.Monitor(probes).measure(small_net, step=0, epoch=0)
    assert {name: snapshot.settings.k for name, snapshot in snapshots.items()} == {"a": 3, "b": 2}
    assert snapshots["a"].nncs is not None
    assert snapshots["b"].nncs is None
    assert snapshots["b"].nncs_chance is None
    assert np.isfinite(snapshots["b"].id).all()


def test_settings_travel_with_the_snapshot(small_net, sample):
    settings = rra.Monitor({"train": sample}, k=4).measure(small_net, step=0, epoch=0)["train"].settings
    assert (settings.n, settings.k, settings.metric, settings.ndr) == (200, 4, "euclidean", 0.02)
    assert (settings.ids == sample.ids).all()
    assert settings.fingerprint == sample.fingerprint


def test_a_dead_layer_is_named_and_the_rest_is_measured(sample):
    class Dead(nn.Module):
        def forward(self, x):
            return x * 0

    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), Dead())
    with pytest.warns(
        UserWarning, match="layer '2' of probe 'train': ID undefined: 200 of 200 samples have a duplicate"
    ):
        snapshot = rra.Monitor({"train": sample}, layers=["1", "2"]).measure(network, step=0, epoch=0)["train"]
    assert np.isfinite(snapshot.id[0])
    assert np.isnan(snapshot.id[1])
    assert snapshot.ties.tolist()[1] == 1.0
    assert snapshot.zeros.tolist()[1] == 1.0


def test_a_diverged_layer_is_named(sample):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 8))
    network[1].weight.data[0] = torch.nan
    with pytest.raises(ValueError, match="layer '1' of probe 'train': 200 of 200 samples have NaN"):
        rra.Monitor({"train": sample}).measure(network, step=0, epoch=0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"probes": {}}, "probes is empty"),
        ({"probes": {"my probe": None}}, "letters, digits"),
        ({"k": 1}, "k=1; k must lie in 2 to n - 1"),
        ({"k": 200}, "k must lie in 2 to 199"),
        ({"backend": "quick"}, "auto, exact"),
        ({"layers": []}, "layers is empty"),
        ({"views": ["full", "mean2"]}, "unknown view 'mean2'; expected 'full', 'avg<window>'"),
        ({"views": ["avg2"]}, "lacks 'full'"),
    ],
)
def test_bad_settings_are_refused(sample, arguments, words):
    if probes := arguments.get("probes"):
        arguments = {"probes": dict.fromkeys(probes, sample)}
    with pytest.raises(ValueError, match=words):
        rra.Monitor(**({"probes": {"train": sample}} | arguments))


class TestMonitorOnError:
    """A plain loop in which measuring fails."""

    def unlucky(self, model, batch):
        raise RuntimeError("out of luck")

    def test_the_error_is_raised_by_default(self, small_net, sample):
        with pytest.raises(ValueError, match="out of luck"):
            rra.Monitor({"p": sample}, forward=self.unlucky).measure(small_net, step=3, epoch=1)

    def test_it_is_a_warning_with_the_cause_and_no_snapshots_on_request(self, small_net, sample):
        monitor = rra.Monitor({"p": sample}, forward=self.unlucky, on_error="warn")
        with pytest.warns(UserWarning, match=r"no snapshot at epoch 1, step 3; training goes on: .*out of luck"):
            assert monitor.measure(small_net, step=3, epoch=1) == {}

    def test_a_diverged_network_is_a_warning_too(self, small_net, sample):
        with torch.no_grad():
            small_net[0].weight.fill_(torch.nan)
        with pytest.warns(UserWarning, match=r"training goes on: .*layer '2' of probe 'p'"):
            assert rra.Monitor({"p": sample}, on_error="warn").measure(small_net, step=3, epoch=1) == {}

    def test_a_mistake_in_the_call_and_an_interrupt_are_raised_all_the_same(self, small_net, sample):
        def interrupted(model, batch):
            raise KeyboardInterrupt

        monitor = rra.Monitor({"p": sample}, forward=interrupted, on_error="warn")
        with pytest.raises(ValueError, match="step"):
            monitor.measure(small_net, step=-1, epoch=0)
        with pytest.raises(KeyboardInterrupt):
            monitor.measure(small_net, step=0, epoch=0)
        assert small_net.training

    def test_another_effect_is_refused(self, sample):
        with pytest.raises(ValueError, match="on_error='ignore'; expected 'raise' or 'warn'"):
            rra.Monitor({"p": sample}, on_error="ignore")


def test_less_free_memory_than_the_budget_is_said_once(small_net, sample, monkeypatch):
    monkeypatch.setattr("rra_monitor.measure.monitor.free_memory", lambda device: 1 << 29)
    monitor = rra.Monitor({"p": sample}, layers=["0"], memory_budget="1GiB")
    with pytest.warns(UserWarning, match=r"0.5 GiB of memory are free now, less than memory_budget=1 GiB, to which"):
        monitor.plan(small_net)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monitor.measure(small_net, step=0, epoch=0)
        rra.Monitor({"p": sample}, layers=["0"], memory_budget="500MiB").measure(small_net, step=0, epoch=0)


@pytest.mark.parametrize(("total", "budget"), [(2 << 30, 1 << 29), (64 << 30, 4 << 30)])
def test_the_default_budget_is_a_quarter_of_all_memory(small_net, sample, monkeypatch, total, budget):
    monkeypatch.setattr("rra_monitor.measure.options.total_memory", lambda device: total)
    assert rra.Monitor({"p": sample}, layers=["0"]).plan(small_net)["p"].memory_budget == budget
