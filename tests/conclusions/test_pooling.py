import dataclasses

import numpy as np
import pytest

from rra_monitor.conclusions.pooling import best_windows, stages
from tests.helpers.curves import kinds, snapshot


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
        "0.100 above the next best, the global window."
    )
    assert "within the sampling error" in kinds(pooled_snapshot(0.5, 0.7, 0.69))["pooling_window"].sentence


def test_no_window_is_found_where_pooling_does_not_help():
    assert kinds(pooled_snapshot(0.5, 0.52, 0.4)) == {}
    assert kinds(pooled_snapshot(0.7, 0.5, 0.6)) == {}


class TestBestWindows:
    def test_best_windows_names_equal_views_by_the_global_one_in_any_order_of_views(self):
        given = pooled_snapshot(0.5, 0.6, 0.7)
        for views in (given.settings.views, tuple(reversed(given.settings.views))):
            (stage,) = best_windows(
                dataclasses.replace(given, settings=dataclasses.replace(given.settings, views=views))
            )[1:]
            assert dict(stage.means) == pytest.approx({"full": 0.5, "avg2": 0.6, "avg-global": 0.7})
            assert list(stage.means) == ["full", "avg2", "avg-global"]
            assert (stage.best, stage.second) == ("avg-global", "avg2")
            assert (stage.lead.value, stage.gain.value) == pytest.approx((0.1, 0.2))

    def test_best_windows_takes_the_smallest_of_equal_windows(self):
        given = pooled_snapshot(0.5, 0.7, 0.7)
        settings = dataclasses.replace(given.settings, views=("avg-global", "avg8", "avg2", "full"))
        stage = best_windows(dataclasses.replace(given, settings=settings))[1]
        assert stage.best == "avg2"
        assert not stage.sure

    def test_best_windows_leaves_out_undefined_views(self):
        given = pooled_snapshot(0.5, 0.6, np.nan)
        assert list(best_windows(given)[1].means) == ["full", "avg2"]
        assert best_windows(pooled_snapshot(0.5, np.nan, np.nan))[1].lead is None

    def test_best_windows_of_a_probe_without_labels_are_none(self):
        assert best_windows(pooled_snapshot(0.5, 0.6, 0.7).changed(nncs=None)) == []


def test_stages_are_the_layers_that_differ_in_their_last_number_whatever_lies_between():
    layers = ("input", "layer1.0", "layer1.0.conv2", "layer1.1", "layer1", "layer2.0", "fc")
    assert stages(snapshot(layers=layers, nncs=[0.5] * 7)) == [
        ("input",), ("layer1.0", "layer1.1"), ("layer1.0.conv2",), ("layer1",), ("layer2.0",), ("fc",),
    ]  # fmt: skip
