import math

import numpy as np
import pytest

import rra_monitor as rra
from tests.helpers.curves import kinds, measured, random_layers, snapshot


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
def test_hunchback_without_a_shelf(curve, n):
    assert set(kinds(snapshot(n=n, k=n // 100, id=curve))) == {"id_peak", "hunchback"}


def test_hunchback_where_a_second_maximum_lies_within_the_error():
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
