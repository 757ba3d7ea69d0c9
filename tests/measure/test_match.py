import dataclasses

import pytest

import rra_monitor as rra
from rra_monitor.measure.match import check_comparable
from tests.helpers.snapshots import snapshot_of


def test_matching_without_graphs_says_how_to_keep_them():
    with pytest.raises(ValueError, match="keep_graphs"):
        rra.match(snapshot_of(1), dataclasses.replace(snapshot_of(0), graphs={}), "prev")


def test_matching_other_samples_is_refused():
    other = snapshot_of(0)
    settings = dataclasses.replace(other.settings, ids=other.settings.ids + 1)
    with pytest.raises(ValueError, match="30 of 30 ids"):
        rra.match(snapshot_of(1), dataclasses.replace(other, settings=settings), "prev")


def test_comparable_settings_pass_silently(recwarn):
    check_comparable(snapshot_of(0).settings, snapshot_of(1).settings)
    assert not recwarn.list
