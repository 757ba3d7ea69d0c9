import dataclasses
import math

import pytest

from rra_monitor.conclusions.evidence import Difference, fraction_error, log_id_difference, nncs_difference
from tests.helpers.curves import measured, random_layers, snapshot


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
    found = snapshot(n=800, k=8, id=[10, 20], id_error=[0.3, 0.8])
    assert log_id_difference(found, 0, found, 1).error == pytest.approx(4 / 3 * math.hypot(0.03, 0.04))
    assert log_id_difference(snapshot(id=[10, math.nan]), 0, snapshot(id=[10, math.nan]), 1).confidence() == 0


def test_graphs_tell_small_changes_of_alike_layers_apart():
    features = random_layers(0)
    features["a"] = features["input"] + 0.01 * features["b"]
    found = measured(features, 6)
    assert nncs_difference(found, 0, 1).error < 0.5 * nncs_difference(dataclasses.replace(found, graphs={}), 0, 1).error
