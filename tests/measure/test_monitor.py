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

VIEWS = ("full", "avg2", "avg4", "avg8", "avg-global", "max2", "max4", "max8", "max-global")


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
    assert len([each for each in caught if "ID undefined" in str(each.message)]) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(monitor.measure(small_net, step=1, epoch=1)["p"].id).all()


@pytest.fixture(scope="module")
def of_resnet(digits):
    """A ResNet20 on digits at 16 x 16 pixels in all views, and how many graphs were built."""
    torch.manual_seed(0)
    images = functional.interpolate(digits[0][:300], scale_factor=2.0)
    monitor = rra.Monitor({"p": rra.FixedSample.from_tensors(images, digits[1][:300])}, views=VIEWS, k=10)
    built = []

    def counted(features, k, backend):
        built.append(features.shape)
        return rra.graph.knn_graph(features, k, backend)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rra_monitor.measure.monitor, "knn_graph", counted)
        with pytest.warns(UserWarning, match="'input@max-global' of probe 'p': ID undefined: 300 of 300"):
            snapshot = monitor.measure(resnet20(10, 1), step=0, epoch=0)["p"]
    return snapshot, len(built)


class TestViews:
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
        assert snapshot.settings.views == VIEWS

    def test_a_view_of_every_layer_is_found_under_its_own_name_or_its_equals(self, of_resnet):
        snapshot, _ = of_resnet
        base, pooled = snapshot.view(), snapshot.view("avg8")
        assert base.layers == base.names == pooled.layers
        assert len(base.layers) == 13
        assert pooled.names[:2] == ("input@avg8", "stem@avg8")
        assert pooled.names[-3:] == ("layer3.2@avg-global", "pool", "fc")
        assert [snapshot.layers[index] for index in pooled.indices] == list(pooled.names)
        with pytest.raises(ValueError, match=r"view 'avg3' was not measured; this snapshot has full, avg2"):
            snapshot.view("avg3")

    def test_intra_and_inter_matrices_are_parts_of_the_matrix_of_all(self, of_resnet):
        snapshot, _ = of_resnet
        intra, inter = snapshot.intra("avg2"), snapshot.inter("avg2")
        assert intra.shape == inter.shape == (13, 13)
        np.testing.assert_allclose(intra, intra.T)
        np.testing.assert_array_equal(np.diag(intra), 1.0)
        graphs = snapshot.graphs
        assert inter[2, 5] == pytest.approx(rra.metrics.nnls(graphs["layer1.0"], graphs["layer2.0@avg2"]))
        assert inter[5, 2] == pytest.approx(rra.metrics.nnls(graphs["layer2.0"], graphs["layer1.0@avg2"]))
        np.testing.assert_array_equal(np.diag(inter)[-2:], 1.0)
        np.testing.assert_array_equal(snapshot.inter("full"), snapshot.intra("full"))

    def test_the_global_average_of_the_last_block_is_the_pool_layer(self, of_resnet):
        snapshot, _ = of_resnet
        row, column = map(snapshot.layers.index, ("layer3.2@avg-global", "pool"))
        assert snapshot.nnls[row, column] >= 0.999

    def test_the_difference_of_ids_is_zero_where_the_views_are_equal(self, of_resnet):
        snapshot, _ = of_resnet
        found = snapshot.id_difference("avg-global")
        assert found.shape == (13,)
        assert found[-2:].tolist() == [0.0, 0.0]
        names = snapshot.layers
        assert found[1] == snapshot.id[names.index("stem@avg-global")] - snapshot.id[names.index("stem")]
        assert (found[1:8] < 0).all()

    def test_layers_without_a_view_are_left_out_of_it(self, digits):
        class Tokens(nn.Module):
            def __init__(self):
                super().__init__()
                self.patches, self.mix = nn.Conv2d(1, 12, 2, 2), nn.Linear(12, 12)

            def forward(self, x):
                return self.mix(self.patches(x).flatten(2).transpose(1, 2)).mean(1)

        monitor = rra.Monitor({"p": rra.FixedSample.from_tensors(digits[0][:60])}, k=5, views=["full", "class-token"])
        snapshot = monitor.measure(Tokens(), step=0, epoch=0)["p"]
        assert snapshot.layers == ("input", "patches", "mix", "mix@class-token")
        assert snapshot.view("class-token").layers == ("mix",)
        assert snapshot.inter("class-token").shape == (3, 1)
        assert np.isnan(snapshot.id_difference("class-token")).tolist() == [True, True, False]

    def test_the_plan_counts_every_graph(self, sample):
        network = resnet20(10, 1)
        full, many = (rra.Monitor({"train": sample}, views=views).plan(network)["train"] for views in (["full"], VIEWS))
        assert (full.graphs, len(full.layers), len(many.layers)) == (13, 13, 13)
        assert many.graphs > 2 * full.graphs
        assert many.bytes == pytest.approx(full.bytes / full.graphs * many.graphs)


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
        ({"views": ["full", "mean2"]}, "unknown view 'mean2'; expected 'full', 'avg<window>'"),
        ({"views": ["avg2"]}, "lacks 'full'"),
    ],
)
def test_bad_settings_are_refused(sample, arguments, words):
    if probes := arguments.get("probes"):
        arguments = {"probes": dict.fromkeys(probes, sample)}
    with pytest.raises(ValueError, match=words):
        rra.Monitor(**({"probes": {"train": sample}} | arguments))
