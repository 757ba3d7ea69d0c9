"""Windows by the thesis's three strategies."""

from dataclasses import replace

import numpy as np
import pytest

import rra_monitor as rra
from rra_monitor.capture.names import layer_view
from rra_monitor.recipes.catalogue import STAGE_WINDOWS
from rra_monitor.recipes.windows import greedy, largest_uniform, max_cs
from tests.helpers.snapshots import snapshot_with

VIEWS = ("full", "avg2", "avg4", "avg8", "avg-global")


def snapshot(scores, views=VIEWS, aliases=None, ties=(), blocks=2):
    """NNCS by stage and view; the blocks of a stage lie around it."""
    layers, values = ["input"], [0.2]
    aliases = aliases or {}
    for stage, row in enumerate(scores, 1):
        for block in range(blocks):
            for view, score in zip(views, row, strict=True):
                name = layer_view(f"network.layer{stage}.{block}", view)
                if score is not None:
                    layers.append(name)
                    values.append(score + 0.05 * (2 * block - 1))
    layers.append("network.fc")
    values.append(0.9)
    count = len(layers)
    tied = [1.0 if any(layer.endswith(name) for name in ties) else 0.0 for layer in layers]
    labels = np.arange(2000) % 10
    values = {
        "id": np.ones(count),
        "nncs": np.array(values),
        "nnls": np.eye(count),
        "ties": np.array(tied),
        "zeros": np.zeros(count),
        "recall": np.ones(count),
        "id_error": np.zeros(count),
        "hubness": np.zeros(count),
    }
    settings = rra.Settings(2000, 20, "euclidean", "exact", np.arange(2000), labels, "f", views)
    return snapshot_with(
        values, probe="train", step=1, epoch=1, layers=tuple(layers), settings=settings, aliases=aliases
    )


# Of CIFAR-10, as Fig. 6.3a has it: the best windows are 8, 4 and 8, of which the last is global.
THREE = [(0.2, 0.3, 0.35, 0.42, 0.3), (0.25, 0.4, 0.5, 0.4, 0.35), (0.6, 0.65, 0.7, None, 0.9)]


GLOBAL = {f"network.layer3.{block}@avg8": f"network.layer3.{block}@avg-global" for block in range(2)}


def test_max_cs_takes_the_window_of_the_highest_mean_over_blocks():
    found = max_cs(snapshot(THREE, aliases=GLOBAL), (32, 16, 8))
    assert [choice.window for choice in found] == [8, 4, 8]
    assert found[0].scores == pytest.approx({1: 0.2, 2: 0.3, 4: 0.35, 8: 0.42, 32: 0.3})
    assert found[2].scores == pytest.approx({1: 0.6, 2: 0.65, 4: 0.7, 8: 0.9})
    assert [choice.margin for choice in found] == pytest.approx([0.07, 0.1, 0.2])
    assert all(choice.sure for choice in found)


def test_without_the_size_of_the_images_the_global_window_keeps_its_name():
    found = max_cs(snapshot(THREE, aliases=GLOBAL), None)
    assert [choice.window for choice in found] == [8, 4, "global"]
    assert list(found[2].scores) == [1, 2, 4, "global"]


def test_no_pooling_is_a_window_of_one_and_ties_go_to_the_smallest():
    assert max_cs(snapshot([(0.5, 0.3, 0.2, 0.2, 0.2)]), (32,))[0].window == 1
    assert max_cs(snapshot([(0.1, 0.3, 0.5, 0.5, 0.2)]), (32,))[0].window == 4


def test_a_margin_within_the_sampling_error_is_not_sure():
    found = max_cs(snapshot([(0.2, 0.3, 0.42, 0.421, 0.3)]), (32,))[0]
    assert found.window == 8
    assert found.sure is False


def test_a_collapsed_view_does_not_count():
    found = max_cs(snapshot([(0.2, 0.3, 0.35, 0.42, 0.9)], ties=["@avg-global"]), (32,))[0]
    assert found.window == 8
    assert 32 not in found.scores


def test_the_greedy_choice_is_the_thesiss():
    """Table 7.5 to Table 7.6."""
    for data, windows in {"cifar10": [16, 8, 1], "imagenet64-50": [32, 4, 2]}.items():
        rows = enumerate(STAGE_WINDOWS[data], 1)
        accuracies = {(stage, 2**at): [value] for stage, row in rows for at, value in enumerate(row)}
        assert [choice.window for choice in greedy(accuracies)] == windows


def test_greedy_takes_means_over_seeds_to_a_tenth_of_a_percent():
    found = greedy({(1, 8): [90.0, 90.43], (1, 2): [90.1, 90.28], (1, 4): [90.3, 89.0]})[0]
    assert found.window == 2
    assert found.margin == 0


def test_the_largest_uniform_window_is_the_last_maps_side():
    assert [choice.window for choice in largest_uniform((64, 32, 16))] == [16, 16, 16]


@pytest.mark.parametrize(
    ("given", "sides", "text"),
    [
        (snapshot(THREE, aliases=GLOBAL), (32, 16, 8, 4), "has 3 stages of blocks, and 4 were expected"),
        (snapshot([(0.5,)], views=("full",)), (32,), r"without pooled views \(it has full\)"),
        (snapshot([(0.5, 0.6)], views=("full", "avg4"), ties=["@avg4"]), (32,), "stage 1 has 1 window to choose from"),
        (snapshot(THREE, aliases=GLOBAL), (32, 8, 8), "stage 2 has windows of 8 that are not its whole map, which is"),
        (snapshot([]), (32,), "no residual stages: no layers layer1.0, … among input, network.fc"),
    ],
)
def test_max_cs_names_a_snapshot_that_has_no_windows_to_choose_from(given, sides, text):
    with pytest.raises(ValueError, match=text):
        max_cs(given, sides)


def test_two_stages_of_one_number_are_named():
    twice = snapshot(THREE, aliases=GLOBAL)
    layers = tuple(name.replace("network.layer3", "other.layer1") for name in twice.layers)
    with pytest.raises(ValueError, match=r"two stages 1, of network\.layer1\.0 and of other\.layer1\.0; analyze one"):
        max_cs(replace(twice, layers=layers), None)
