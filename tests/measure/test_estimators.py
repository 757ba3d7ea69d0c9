"""The choice of the estimator of the ID, and what near-duplicates among the samples make a snapshot say."""

import dataclasses
import typing
import warnings

import numpy as np
import pytest
import torch

import rra_monitor as rra
from rra_monitor.measure.options import MonitorOptions
from rra_monitor.measure.quantities import STANDARD, is_ours, standard, with_standard
from rra_monitor.measure.settings import ESTIMATORS
from rra_monitor.metrics import twonn, twonn_standard_error
from rra_monitor.metrics._ratios import Method
from tests.helpers.snapshots import assert_equal

LAYERS = ["input", "0"]


@pytest.fixture(scope="module")
def copied(digits):
    """400 digits, four of them replaced by others that differ in the last bits; ids from 1,000 on."""
    images = digits[0][:400].clone()
    images[:4] = images[-4:] * (1 + 1e-6 * torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    return rra.FixedSample.from_tensors(images, digits[1][:400], ids=np.arange(1000, 1400))


def measured(net, sample, **options):
    return rra.Monitor({"train": sample}, layers=LAYERS, k=5, **options).measure(net, step=0, epoch=0)["train"]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_id_and_its_error_are_by_the_chosen_estimator(small_net, sample, estimator):
    snapshot = measured(small_net, sample, estimator=estimator)
    assert snapshot.settings.estimator == estimator
    for row, graph in enumerate(snapshot.graphs.values()):
        assert snapshot.id[row] == twonn(graph, method=estimator)
        assert snapshot.id_error[row] == twonn_standard_error(graph, method=estimator)
    symbol = next(one.symbol for one in snapshot.quantities if one.name == "id")
    assert symbol == ("ID" if estimator == "ml" else f"ID ({estimator})")
    # Where the ID is robust itself, no second one stands beside it.
    assert (snapshot.id_censored is None) == (estimator != "ml")


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_stored_snapshot_knows_its_estimator(small_net, sample, tmp_path, estimator):
    snapshot = measured(small_net, sample, estimator=estimator)
    rra.RunStore(tmp_path).save(snapshot)
    read = rra.RunStore(tmp_path).load("train", 0)
    assert_equal(read, snapshot)
    assert [one.title for one in read.quantities] == [one.title for one in snapshot.quantities]


@pytest.mark.parametrize("estimator", ["ML", "", None, ["ml"], "twonn"])
def test_another_estimator_is_refused(estimator):
    with pytest.raises(ValueError, match=r"expected one of .ml., .regression., .censored."):
        MonitorOptions(estimator=estimator)


def test_the_estimators_are_those_of_twonn():
    assert typing.get_args(Method) == ESTIMATORS


def test_every_estimator_has_standard_quantities_of_its_own():
    assert standard() == STANDARD
    for estimator in ESTIMATORS:
        assert all(is_ours(one) for one in standard(estimator))
        assert with_standard(["effective_rank", *STANDARD], estimator)[:-1] == standard(estimator)
    assert not is_ours(dataclasses.replace(STANDARD[0]))


def test_near_duplicates_are_said_once_in_a_run(small_net, copied):
    monitor = rra.Monitor({"train": copied}, layers=LAYERS, k=5)
    words = "input, 0 of probe 'train': near-duplicates rule the ID; measure with estimator='censored'"
    with pytest.warns(UserWarning, match=words) as caught:
        snapshot = monitor.measure(small_net, step=0, epoch=0)["train"]
    assert len(caught) == 1
    assert snapshot.near_duplicates.tolist() == [0.02, 0.02]
    assert (snapshot.id_censored > 1.3 * snapshot.id).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monitor.measure(small_net, step=1, epoch=1)


def test_nothing_is_said_where_the_estimator_is_robust_or_the_samples_are_sound(small_net, copied, sample):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert measured(small_net, copied, estimator="censored").near_duplicates.tolist() == [0.02, 0.02]
        assert measured(small_net, sample).near_duplicates.tolist() == [0, 0]
