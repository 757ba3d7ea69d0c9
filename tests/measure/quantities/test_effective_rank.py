import math

import numpy as np
import pytest

import rra_monitor as rra
from rra_monitor.measure.quantities.effective_rank import effective_rank
from rra_monitor.metrics import linear_kernel


def rank_by_svd(features):
    """exp of the entropy of the normalised singular values of the centred features, in double precision."""
    flat = np.asarray(features, np.float64).reshape(len(features), -1)
    values = np.linalg.svd(flat - flat.mean(axis=0), compute_uv=False)
    fractions = values[values > 1e-6 * values.max()] / values.sum()
    return math.exp(-(fractions * np.log(fractions)).sum())


@pytest.mark.parametrize("shape", [(60, 7), (60, 200), (60, 3, 4, 5)])
def test_effective_rank_equals_a_singular_value_decomposition(shape):
    rng = np.random.default_rng(0)
    features = rng.normal(size=shape) * rng.uniform(0.01, 1, shape[1:]) + 100
    assert effective_rank(linear_kernel(features)) == pytest.approx(rank_by_svd(features), rel=1e-9)


def test_effective_rank_counts_equal_directions_and_ignores_shift_scale_and_rotation():
    rng = np.random.default_rng(1)
    plane = np.linalg.qr(rng.normal(size=(50, 3)))[0]
    plane = np.linalg.qr(plane - plane.mean(axis=0))[0]
    turned = plane @ np.linalg.qr(rng.normal(size=(90, 90)))[0][:3]
    for features in (plane, turned, 1e-3 * turned + 7):
        assert effective_rank(linear_kernel(features)) == pytest.approx(3, rel=1e-6)


def test_effective_rank_of_equal_samples_is_undefined():
    assert math.isnan(effective_rank(linear_kernel(np.ones((5, 4)))))


def test_effective_rank_is_measured_where_it_is_asked_for(small_net, digits):
    sample = rra.FixedSample.from_tensors(digits[0][:80], digits[1][:80])
    monitor = rra.Monitor({"p": sample}, layers=["input", "0"], quantities=["effective_rank"])
    found = monitor.measure(small_net, step=0, epoch=0)["p"].curves["effective_rank"]
    assert found[0] == pytest.approx(rank_by_svd(digits[0][:80]), rel=1e-6)
    without = rra.Monitor({"p": sample}, layers=["input"]).measure(small_net, step=0, epoch=0)["p"]
    assert "effective_rank" not in without.curves
