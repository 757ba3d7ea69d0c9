import dataclasses

import numpy as np

import rra_monitor as rra
from rra_monitor.page.frame import probe_frame
from tests.helpers.snapshots import snapshot_of


def in_views(snapshot, *views, **aliases):
    return dataclasses.replace(snapshot, settings=dataclasses.replace(snapshot.settings, views=views), aliases=aliases)


class TestProbeFrame:
    def test_a_comparison_has_the_views_that_both_sides_have(self):
        layers = ("input", "a", "a@avg2", "a@avg-global", "fc")
        snapshot = in_views(snapshot_of(1, layers=layers), "full", "avg2", "avg-global")
        other = snapshot_of(0, layers=("input", "a", "a@max2", "a@avg-global", "b", "b@avg-global"))
        match = rra.match(snapshot, other, "ref-other")
        found = probe_frame(snapshot, {"ref-other": match}).matrices["ref-other"]
        assert (found.rows, found.columns) == (("input", "a", "fc"), ("input", "a", "b"))
        assert found.views == ("full", "avg-global")
        assert np.array_equal(found.values[0], match.nnls[np.ix_([0, 1, 4], [0, 1, 4])])
        pooled = np.full((3, 3), np.nan)
        pooled[1, 1:] = match.nnls[3, [3, 5]]  # of input and fc there is no such view
        assert np.array_equal(found.values[1], pooled, equal_nan=True)

    def test_a_view_that_equals_another_one_is_found_there(self):
        layers = ("input", "a", "a@avg-global", "b", "b@avg8", "b@avg-global")
        first, second = (
            in_views(snapshot_of(step, layers=layers), "full", "avg-global", "avg8", **{"a@avg8": "a@avg-global"})
            for step in (0, 1)
        )
        match = rra.match(second, first, "prev")
        found = probe_frame(second, {"prev": match}).matrices["prev"]
        assert found.views == ("full", "avg-global", "avg8")
        assert np.array_equal(found.values[2, 1:, 1:], match.nnls[np.ix_([2, 4], [2, 4])])

    def test_a_comparison_of_full_views_alone_has_no_other(self):
        snapshot = in_views(snapshot_of(1, layers=("input", "a", "a@avg2")), "full", "avg2")
        match = rra.match(snapshot, snapshot_of(0, layers=("input", "a")), "prev")
        assert probe_frame(snapshot, {"prev": match}).matrices["prev"].views == ("full",)
