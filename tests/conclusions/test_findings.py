import dataclasses
import math

import numpy as np
import pytest

import rra_monitor as rra
from rra_monitor.conclusions.evidence import Difference, fraction_error, id_difference, nncs_difference


def snapshot(probe="train", n=2000, k=20, layers=None, epoch=3, **curves):
    """Curves as given; what is not given shows nothing."""
    length = len(next(iter(curves.values())))
    layers = layers or ("input", *(f"layer{at}" for at in range(1, length)))
    found = {"id": np.full(length, 10.0), "nncs": np.full(length, 0.5), "nnls": 0.1 + 0.9 * np.eye(length)}
    found |= {"ties": np.zeros(length), "zeros": np.zeros(length), "recall": np.ones(length)}
    found |= {"id_error": np.full(length, 0.5), "hubness": np.zeros(length)}
    found |= {name: np.array(curve, dtype=float) for name, curve in curves.items() if name != "pairs"}
    for row, value in enumerate(curves.get("pairs", ())[1:]):
        found["nnls"][row, row + 1] = found["nnls"][row + 1, row] = value
    settings = rra.Settings(n, k, "euclidean", "auto", np.arange(n), np.arange(n) % 10, "0123456789abcdef")
    return rra.Snapshot(probe=probe, step=epoch, epoch=epoch, layers=tuple(layers), settings=settings, **found)


def kinds(*snapshots, previous=None):
    found = rra.findings({each.probe: each for each in snapshots}, previous and {previous.probe: previous})
    assert all(0.99 <= finding.confidence <= 1 and finding.sentence.endswith(".") for finding in found)
    return {finding.kind: finding for finding in found}


def graphs_of(features, k):
    return {layer: rra.knn_graph(values, k) for layer, values in features.items()}


def measured(features, k, probe="train", labels=None, epoch=3):
    """A snapshot of features: layer name to array."""
    graphs = graphs_of(features, k)
    n = len(next(iter(features.values())))
    labels = np.arange(n) % 10 if labels is None else labels
    found = snapshot(
        probe,
        n,
        k,
        tuple(features),
        epoch,
        id=[rra.metrics.twonn(graph) for graph in graphs.values()],
        nncs=[rra.metrics.nncs(graph, labels) for graph in graphs.values()],
        nnls=rra.metrics.nnls_matrix(list(graphs.values())),
        ties=[graph.ties for graph in graphs.values()],
        zeros=[graph.zeros for graph in graphs.values()],
    )
    return dataclasses.replace(found, graphs=graphs, settings=dataclasses.replace(found.settings, labels=labels))


LAYERS = ("input", "a", "b", "c", "d", "e")


def random_layers(seed, n=300):
    rng = np.random.default_rng(seed)
    return {layer: rng.normal(size=(n, 6)) for layer in LAYERS}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kept", [True, False])
def test_random_features_show_nothing(seed, kept):
    snapshots = [measured(random_layers(seed), 6), measured(random_layers(seed + 10), 6, "val")]
    if not kept:
        snapshots = [dataclasses.replace(each, graphs={}) for each in snapshots]
    assert kinds(*snapshots) == {}


def test_random_features_at_two_moments_are_only_unsettled():
    before, now = (measured(random_layers(seed), 6, epoch=seed) for seed in (1, 2))
    assert set(kinds(now, previous=before)) == {"unsettled"}


def test_flat_curves_show_nothing():
    assert kinds(snapshot(id=[10] * 8), snapshot("val", id=[10] * 8), previous=snapshot(id=[10] * 8)) == {}


@pytest.mark.parametrize("seed", range(20))
def test_noise_within_the_sampling_error_shows_nothing(seed):
    rng = np.random.default_rng(seed)
    n = 2000
    both = [
        snapshot(
            probe,
            n,
            id=10 * np.exp(rng.normal(size=12) / math.sqrt(n)),
            nncs=0.5 + rng.normal(size=12) * math.sqrt(0.25 / n),
            pairs=0.4 + rng.normal(size=12) * math.sqrt(0.24 / n),
        )
        for probe in ("train", "val")
    ]
    assert kinds(*both, previous=both[0]) == {}


def test_an_unlabelled_probe_has_findings_of_its_id():
    found = snapshot(id=[10, 20, 30, 20, 8])
    assert set(kinds(dataclasses.replace(found, nncs=None))) == {"id_peak", "hunchback"}


def test_an_arch_of_the_id_is_a_peak_and_a_hunchback():
    found = kinds(snapshot(id=[24, 40, 63, 50, 30, 10]))
    assert set(found) == {"id_peak", "hunchback"}
    assert found["id_peak"].layers == ("layer2",)
    assert found["id_peak"].sentence == (
        "train: the ID peaks at layer2 with 63.0, 162% over the higher end (input 24.0, layer5 10.0)."
    )


@pytest.mark.parametrize(
    "curve",
    [
        pytest.param([10, 20, 30, 40], id="only rises"),
        pytest.param([40, 30, 20, 10], id="only falls"),
        pytest.param([40, 20, 10, 20, 40], id="sags"),
        pytest.param([24, 25, 27, 25, 20], id="within the error"),
        pytest.param([10, math.nan, 30], id="undefined between"),
    ],
)
def test_curves_that_do_not_peak_inside_have_no_peak(curve):
    assert kinds(snapshot(id=curve)) == {}


def test_a_small_peak_is_none_however_many_samples():
    assert kinds(snapshot(n=1_000_000, k=100, id=[10, 10.9, 10])) == {}
    assert "id_peak" in kinds(snapshot(n=1_000_000, k=100, id=[10, 11.1, 10]))


def test_two_maxima_that_stand_out_are_a_double_hunchback():
    found = kinds(snapshot(id=[20, 60, 30, 45, 10]))
    assert set(found) == {"id_peak", "double_hunchback"}
    assert found["double_hunchback"].layers == ("layer1", "layer3")
    assert found["double_hunchback"].values == {"first": 60, "valley": 30, "second": 45}


SHELF = [27, 41, 55, 66, 74, 62, 52, 51.5, 51, 40, 30, 13, 8]  # as in the thesis's Fig. 5.2


@pytest.mark.parametrize("level", [SHELF[6:9], [50, 54, 52]])
def test_a_shelf_in_the_fall_is_a_double_hunchback(level):
    found = kinds(snapshot(n=15_000, k=150, id=SHELF[:6] + level + SHELF[9:]))
    assert set(found) == {"id_peak", "double_hunchback"}
    assert found["double_hunchback"].layers == ("layer4", "layer6", "layer7", "layer8")
    assert found["double_hunchback"].values == {"first": 74, "shelf": pytest.approx(sum(level) / 3)}
    assert "a shelf from layer6 to layer8, where it levels off at 5" in found["double_hunchback"].sentence


@pytest.mark.parametrize(
    ("curve", "n"),
    [
        pytest.param(SHELF, 2000, id="within the error"),
        pytest.param([27, 41, 55, 66, 74, 66, 58, 51, 45, 40, 30, 13, 8], 50_000, id="an even fall"),
        pytest.param([27, 41, 55, 66, 74, 73, 72, 71, 60, 40, 30, 13, 8], 50_000, id="a broad top"),
        pytest.param([27, 41, 55, 66, 74, 50, 30, 20, 15, 14, 13.5, 13.4, 13.3], 50_000, id="it ends level"),
        pytest.param([51, 51.5, 52, 60, 74, 50, 30, 20, 13, 8], 50_000, id="before the peak"),
    ],
)
def test_what_is_no_shelf_leaves_a_hunchback(curve, n):
    assert set(kinds(snapshot(n=n, k=n // 100, id=curve))) == {"id_peak", "hunchback"}


def test_a_second_maximum_within_the_error_leaves_a_hunchback():
    assert set(kinds(snapshot(id=[20, 60, 30, 33, 10]))) == {"id_peak", "hunchback"}


def test_a_fall_of_the_nncs_that_recovers_is_the_initial_contraction():
    found = kinds(snapshot(n=15_000, k=150, nncs=[0.2, 0.18, 0.15, 0.17, 0.21, 0.22, 0.25]))
    assert set(found) == {"initial_contraction"}
    assert found["initial_contraction"].layers == ("layer1", "layer2")
    assert "from 0.200 at input to 0.150 at layer2; it is back at layer4" in found["initial_contraction"].sentence


@pytest.mark.parametrize(
    "curve",
    [
        pytest.param([0.2, 0.195, 0.19, 0.2, 0.21, 0.22, 0.25], id="within the error"),
        pytest.param([0.2, 0.21, 0.22, 0.23, 0.15, 0.2, 0.22], id="late"),
        pytest.param([0.2, 0.15, 0.12, 0.12, 0.12, 0.12, 0.12], id="without a rise"),
    ],
)
def test_other_falls_of_the_nncs_are_no_initial_contraction(curve):
    assert kinds(snapshot(n=15_000, k=150, nncs=curve)) == {}


def test_a_jump_of_the_nncs_near_the_end_is_the_cluster_spike():
    found = kinds(snapshot(nncs=[0.2, 0.2, 0.2, 0.2, 0.25, 0.3, 0.35, 0.7, 0.98, 1.0]))
    assert set(found) == {"cluster_spike"}
    assert found["cluster_spike"].layers == ("layer7", "layer8")
    assert found["cluster_spike"].values["share"] == pytest.approx(0.63 / 0.8)


@pytest.mark.parametrize(
    "curve",
    [
        pytest.param(np.linspace(0.2, 1, 10), id="even rise"),
        pytest.param(np.linspace(0.2, 1, 4), id="even rise over few layers"),
        pytest.param([0.2, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9], id="early"),
        pytest.param([0.5, 0.5, 0.5, 0.5, 0.59, 0.59], id="small"),
    ],
)
def test_other_rises_of_the_nncs_are_no_cluster_spike(curve):
    assert kinds(snapshot(nncs=curve)) == {}


def test_tied_layers_are_not_read_as_separable():
    assert kinds(snapshot(nncs=[0.2] * 5 + [1.0], ties=[0] * 5 + [0.9], zeros=[0] * 5 + [0.9])) == {}


TRAIN, VAL = [0.3, 0.3, 0.4, 0.5, 0.6, 0.7], [0.3, 0.3, 0.4, 0.42, 0.5, 0.5]


def test_the_network_overfits_from_the_layer_on_at_which_the_probes_part():
    found = kinds(snapshot(n=15_000, k=150, nncs=TRAIN), snapshot("val", 10_000, 100, nncs=VAL))
    assert set(found) == {"overfitting"}
    assert found["overfitting"].layers == ("layer3", "layer4", "layer5")
    assert found["overfitting"].probe == "val"
    assert "part at layer3: NNCS 0.500 against 0.420" in found["overfitting"].sentence


@pytest.mark.parametrize(
    "other",
    [
        pytest.param([0.3, 0.3, 0.4, 0.5, 0.6, 0.685], id="small"),
        pytest.param([0.3, 0.3, 0.3, 0.3, 0.3, 0.7], id="meet again"),
        pytest.param([0.2, 0.2, 0.3, 0.4, 0.5, 0.6], id="apart in the data"),
        pytest.param([0.3, 0.3, 0.4, 0.5, 0.6, 0.9], id="better than train"),
    ],
)
def test_other_gaps_between_probes_are_no_overfitting(other):
    found = kinds(snapshot(n=15_000, k=150, nncs=TRAIN), snapshot("val", 10_000, 100, nncs=other))
    assert not {"overfitting", "not_comparable"} & set(found)


def test_probes_of_another_density_are_called_not_comparable():
    found = kinds(snapshot(n=2000, k=20, nncs=TRAIN), snapshot("val", 2000, 10, nncs=VAL))
    assert set(found) == {"not_comparable"}
    assert "train (k/n = 20/2000) and val (10/2000)" in found["not_comparable"].sentence


def test_graphs_bring_probes_of_another_density_to_one():
    def features(seed, spread):
        rng = np.random.default_rng(seed)
        centres = np.random.default_rng(9).normal(size=(10, 6))[np.arange(400) % 10]
        return {
            layer: centres * size + rng.normal(size=(400, 6))
            for layer, size in zip("abcd", (0, 0, 1, spread), strict=True)
        }

    train, alike, worse = (
        measured(features(0, 3), 24),
        measured(features(1, 3), 8, "val"),
        measured(features(1, 1), 8, "val"),
    )
    assert "overfitting" not in kinds(train, alike)
    assert "not_comparable" not in kinds(train, alike)
    assert kinds(train, worse)["overfitting"].layers == ("d",)
    assert "not_comparable" in kinds(dataclasses.replace(train, graphs={}), worse)


def test_id_curves_that_part_between_probes_are_drift():
    found = kinds(snapshot(id=[10, 12, 12, 11]), snapshot("val", id=[10, 12, 24, 11]))
    assert found["drift"].layers == ("layer2",)
    assert "12.0 against 24.0" in found["drift"].sentence


def test_id_curves_a_little_apart_or_of_very_different_n_are_no_drift():
    curve = np.array([10, 9.5, 9, 8])
    assert kinds(snapshot(n=15_000, k=150, id=curve), snapshot("val", 10_000, 100, id=1.1 * curve)) == {}
    assert kinds(snapshot(n=15_000, k=150, id=curve), snapshot("val", 5_000, 50, id=2 * curve)) == {}


def test_consecutive_layers_with_the_same_neighbours_are_redundant():
    found = rra.findings({"train": snapshot(pairs=[1, 0.3, 0.9, 0.95, 0.3, 0.3, 0.7])})
    assert [finding.layers for finding in found] == [("layer1", "layer2", "layer3"), ("layer5", "layer6")]
    assert "layer1 to layer3 have nearly the same neighbourhoods" in found[0].sentence
    assert found[1].values["nnls"] == pytest.approx(0.7)


@pytest.mark.parametrize(
    "pairs",
    [
        pytest.param([1, 0.7, 0.7, 0.7, 0.7], id="none stands out"),
        pytest.param([1, 0.1, 0.48, 0.1, 0.1], id="stands out below a half"),
        pytest.param([1, 0.1, 0.81, 0.7, 0.7], id="within the error of the bar"),
    ],
)
def test_other_similar_layers_are_not_redundant(pairs):
    assert kinds(snapshot(pairs=pairs)) == {}


def test_a_falling_id_with_rising_ties_is_a_collapse():
    before = snapshot(epoch=1, id=[20, 20, 20])
    found = kinds(snapshot(id=[20, 20, 8], ties=[0, 0, 0.4]), previous=before)
    assert found["collapse"].layers == ("layer2",)
    assert "since epoch 1: layer2 (ID 20.0 to 8.0, ties 0% to 40%)" in found["collapse"].sentence
    assert "collapse" in kinds(snapshot(id=[20, 20, math.nan], zeros=[0, 0, 1]), previous=before)
    assert "from the layer before" in kinds(snapshot(id=[20, 20, 8], ties=[0, 0, 0.4]))["collapse"].sentence


@pytest.mark.parametrize(
    ("now", "earlier"),
    [
        pytest.param({"id": [20, 20, 8]}, {}, id="no ties"),
        pytest.param({"id": [20, 20, 18], "ties": [0, 0, 0.4]}, {}, id="ID as it was"),
        pytest.param({"id": [20, 20, 8], "ties": [0, 0, 0.05]}, {}, id="few ties"),
        pytest.param({"id": [20, 20, 8], "ties": [0, 0, 0.4]}, {"ties": [0, 0, 0.4]}, id="ties as before"),
    ],
)
def test_other_falls_of_the_id_are_no_collapse(now, earlier):
    assert kinds(snapshot(**now), previous=snapshot(id=[20, 20, 20], **earlier)) == {}


def test_layers_that_still_change_are_unsettled():
    features = random_layers(0)
    before = measured(features, 6, epoch=2)
    assert kinds(measured(features, 6), previous=before) == {}
    moved = features | {"d": random_layers(1)["d"]}
    found = kinds(measured(moved, 6), previous=before)
    assert set(found) == {"unsettled"}
    assert found["unsettled"].layers == ("d",)
    assert "1 of 6 layers have not settled since epoch 2" in found["unsettled"].sentence


def test_an_earlier_snapshot_of_other_samples_is_refused():
    with pytest.raises(ValueError, match="k=20 here, k=10 there"):
        kinds(snapshot(id=[1, 1]), previous=snapshot(k=10, id=[1, 1]))


def pooled_snapshot(full, avg2, avg_global):
    """Two blocks of one stage, with the same NNCS."""
    layers = [name for block in ("s.0", "s.1") for name in (block, f"{block}@avg2", f"{block}@avg-global")]
    found = snapshot(layers=("input", *layers), nncs=[full, *([full, avg2, avg_global] * 2)])
    settings = dataclasses.replace(found.settings, views=("full", "avg2", "avg8", "avg-global"))
    aliases = {f"{block}@avg8": f"{block}@avg-global" for block in ("s.0", "s.1")}
    return dataclasses.replace(found, settings=settings, aliases=aliases)


def test_the_window_of_highest_nncs_is_found_per_stage():
    found = kinds(pooled_snapshot(0.5, 0.7, 0.6))
    assert set(found) == {"pooling_window"}
    assert found["pooling_window"].layers == ("s.0", "s.1")
    assert found["pooling_window"].sentence == (
        "train: average pooling of s separates the classes best with windows of 2: NNCS 0.700 against 0.500 unpooled; "
        "0.100 above the next best, windows of 8."
    )
    assert "within the sampling error" in kinds(pooled_snapshot(0.5, 0.7, 0.69))["pooling_window"].sentence


def test_no_window_is_found_where_pooling_does_not_help():
    assert kinds(pooled_snapshot(0.5, 0.52, 0.4)) == {}
    assert kinds(pooled_snapshot(0.7, 0.5, 0.6)) == {}


def test_confidence_falls_with_the_places_looked_at_and_is_none_below_the_least_change():
    assert Difference(3, 1).confidence() == pytest.approx(0.99865, abs=1e-5)
    assert Difference(3, 1).confidence(tries=10) == pytest.approx(0.9865, abs=1e-4)
    assert (
        Difference(3, 1).confidence(at_least=4)
        == Difference(-3, 1).confidence()
        == Difference(math.nan, 1).confidence()
        == 0
    )


def test_errors_are_of_samples_not_of_pairs():
    assert fraction_error(0.5, 800) == pytest.approx(math.sqrt(2 * 0.25 / 800), rel=1e-2)
    assert fraction_error(1.0, 800) > 0
    found = snapshot(n=800, k=8, id=[10, 20], zeros=[0, 0.5])
    assert id_difference(found, 0, found, 1).error == pytest.approx(2 * math.sqrt(1 / 800 + 1 / 400))
    assert id_difference(snapshot(id=[10, math.nan]), 0, snapshot(id=[10, math.nan]), 1).confidence() == 0


def test_graphs_tell_small_changes_of_alike_layers_apart():
    features = random_layers(0)
    features["a"] = features["input"] + 0.01 * features["b"]
    found = measured(features, 6)
    assert nncs_difference(found, 0, 1).error < 0.5 * nncs_difference(dataclasses.replace(found, graphs={}), 0, 1).error
