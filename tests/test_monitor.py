import numpy as np
import pytest
import torch
from reference import loops
from torch import nn

import rra_monitor as rra
from rra_monitor.nn import resnet20


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


def test_the_plan_is_what_is_then_measured(sample):
    network = resnet20(10, 1)
    monitor = rra.Monitor({"train": sample})
    plan = monitor.plan(network)["train"]
    snapshot = monitor.measure(network, step=0, epoch=0)["train"]
    assert tuple(layer.name for layer in plan.layers) == snapshot.layers
    assert (plan.n, plan.k, plan.classes) == (200, 2, 10)
    assert plan.bytes == sum(graph.indices.size * (1 + 4) for graph in snapshot.graphs.values())
    # An estimate, on a machine that does other things, too.
    assert snapshot.seconds / 30 < plan.seconds < 30 * snapshot.seconds


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
        ({"k": 1}, "k must lie in 2 to 199"),
        ({"k": 200}, "k must lie in 2 to 199"),
        ({"backend": "quick"}, "auto, exact"),
        ({"layers": []}, "layers is empty"),
    ],
)
def test_bad_settings_are_refused(sample, arguments, words):
    if probes := arguments.get("probes"):
        arguments = {"probes": dict.fromkeys(probes, sample)}
    with pytest.raises(ValueError, match=words):
        rra.Monitor(**({"probes": {"train": sample}} | arguments))
