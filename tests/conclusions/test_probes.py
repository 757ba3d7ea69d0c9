import dataclasses

import numpy as np
import pytest

from tests.helpers.curves import kinds, measured, snapshot

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
