import dataclasses

import numpy as np
import pytest

import rra_monitor as rra
from tests.helpers.curves import kinds, measured, random_layers, snapshot


def with_curves(found):
    """A snapshot of graphs with the curves by which near-duplicates are told."""
    near = [rra.metrics.near_duplicates(graph) for graph in found.graphs.values()]
    shares = [each.share if each.rule else 0 for each in near]
    return found.changed(near_duplicates=np.array(shares), id_censored=np.array([each.censored for each in near]))


def copied(seed=0, count=5):
    layers = random_layers(seed)
    for name in ("b", "c"):
        points = layers[name].copy()
        points[:count] = points[-count:] * (1 + 1e-6)
        layers[name] = points
    return with_curves(measured(layers, 6))


def test_layers_share_levels_remedy_and_ids_are_said():
    found = kinds(copied())["near_duplicates"]
    n = copied().settings.n
    assert found.layers == ("b", "c")
    assert "near-duplicates rule the ID in 2 of 6 layers" in found.sentence
    assert f"{10 / n:.2%} of the samples have one" in found.sentence
    assert "measure with estimator='censored', or look at the samples" in found.sentence
    assert f"with ids 0 and {n - 5}, 1 and {n - 4}, 2 and {n - 3} and 2 more pairs." in found.sentence
    assert found.values["censored"] > 1.3 * found.values["plain"]


def test_without_graphs_no_sample_is_named():
    found = kinds(dataclasses.replace(copied(), graphs={}))["near_duplicates"]
    assert "ids" not in found.sentence


def test_more_than_the_estimate_bears_asks_for_other_samples():
    n = measured(random_layers(0), 6).settings.n
    found = kinds(copied(count=n // 12))["near_duplicates"]
    assert found.values["censored"] < found.values["plain"]
    assert "no estimator is made for so many; take the duplicates out of the samples" in found.sentence


def test_another_estimator_and_an_earlier_version_say_nothing():
    found = copied()
    robust = dataclasses.replace(found, settings=dataclasses.replace(found.settings, estimator="censored"))
    earlier = found.changed(near_duplicates=None, id_censored=None)
    for each in (robust, earlier):
        assert "near_duplicates" not in kinds(each)


@pytest.mark.parametrize("seed", range(3))
def test_random_features_have_none(seed):
    assert "near_duplicates" not in kinds(with_curves(measured(random_layers(seed), 6)))


def test_an_id_by_another_estimator_has_not_collapsed_since_the_one_before():
    before = snapshot(id=[10, 30, 30], ties=[0, 0, 0])
    now = snapshot(id=[10, 10, 10], ties=[0, 0.5, 0.5], epoch=4)
    assert "since epoch 3" in kinds(now, previous=before)["collapse"].sentence
    other = dataclasses.replace(before, settings=dataclasses.replace(before.settings, estimator="censored"))
    assert "collapse" not in kinds(now, previous=other)
