"""Windows by the thesis's three strategies, and the command that prints them."""

import json
import re
import shlex
import shutil
from dataclasses import replace

import numpy as np
import pytest

import rra_monitor as rra
from rra_monitor.capture.names import layer_view
from rra_monitor.recipes.catalogue import STAGE_WINDOWS
from rra_monitor.recipes.windows import greedy, largest_uniform, max_cs
from tests.helpers.image_trees import tree
from tests.helpers.recipe_runs import options, run, trained

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
    return rra.Snapshot(
        probe="train", step=1, epoch=1, layers=tuple(layers), id=np.ones(count), nncs=np.array(values),
        nnls=np.eye(count), ties=np.array(tied), zeros=np.zeros(count), recall=np.ones(count),
        id_error=np.zeros(count), hubness=np.zeros(count),
        settings=rra.Settings(2000, 20, "euclidean", "exact", np.arange(2000), labels, "f", views), aliases=aliases,
    )  # fmt: skip


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
        (snapshot([]), (32,), "no residual stages: no layers layer1.0, … among input, network.fc"),
    ],
)
def test_what_windows_can_not_be_read_from_is_named(given, sides, text):
    with pytest.raises(ValueError, match=text):
        max_cs(given, sides)


ONE_STAGE = ("2,none,none", "none,2,none", "none,none,2")


@pytest.fixture(scope="module")
def digit_run(tmp_path_factory):
    return trained(options(tmp_path_factory.mktemp("pooled"), views=",".join(VIEWS), max_epochs=2, n=100))


def test_the_command_prints_windows_and_a_command_that_runs(digit_run, capsys, tmp_path, monkeypatch):
    run("suggest", digit_run)
    printed = capsys.readouterr().out
    command = re.search(r"Train with them: rra-monitor (train .*)", printed)[1]
    assert re.fullmatch(
        r"train resnet20-digits --attention stac --window \d+,\d+,\d+ --max-epochs 2 --limit 4 --batch-size 32 "
        r"--n 100 --no-progress --out runs/suggested",
        command,
    )
    found = max_cs(rra.RunStore(digit_run / "rra").load("train", 8), (16, 8, 4))
    assert f"--window {','.join(str(choice.window) for choice in found)} " in printed
    monkeypatch.chdir(tmp_path)
    run(*shlex.split(command))
    suggested = tmp_path / "runs" / "suggested" / "seed0"
    assert (suggested / "result.json").exists()
    before, after = (json.loads((folder / "run.json").read_text())["plan"] for folder in (digit_run, suggested))
    assert after["recipe"].pop("network") == before["recipe"].pop("network") | {
        "attention": "stac",
        "windows": [choice.window for choice in found],
    }
    assert after == before


def test_the_suggested_training_keeps_the_options_of_the_run(tmp_path, capsys):
    given = options(
        tmp_path / "of mine", "resnet20-digits-stac", limit=1, max_epochs=1, seed=3, augment="flip",
        learning_rate=0.02, monitor=False, precision="32-true", placement="post", data="/my data",
    )  # fmt: skip
    runs = [trained(replace(given, out=f"{given.out}/{at}", window=window)) for at, window in enumerate(ONE_STAGE)]
    run("suggest", *runs, "--strategy", "greedy")
    command = re.search(r"Train with them: rra-monitor (train .*)", capsys.readouterr().out)[1]
    for words in (
        "train resnet20-digits-stac --attention stac --window 2,2,2 --data '/my data' --seed 3 --max-epochs 1 ",
        " --learning-rate 0.02 ",
        " --augment flip ",
        " --placement post ",
        " --no-monitor ",
        " --precision 32-true ",
    ):
        assert words in command


@pytest.mark.parametrize(
    ("folder", "recipe", "monitor", "said"),
    [
        ("plain", "resnet20-digits", True, "measured without average-pooled views"),
        ("of w8,4,8", "resnet20-digits", False, "trained without the monitor"),
        ("images", "resnet20-images", False, "trained without the monitor"),
    ],
)
def test_a_run_without_pooled_views_says_how_to_get_them(tmp_path, capsys, monkeypatch, folder, recipe, monitor, said):
    data = str(tree(tmp_path / "my data", ("a", "b", "c"), count=10, side=80)) if "images" in recipe else None
    given = options(tmp_path / folder, recipe, views="full", max_epochs=1, limit=1, monitor=monitor, data=data)
    plain = trained(given)
    with pytest.raises(SystemExit, match=said) as error:
        run("suggest", plain)
    analysis, again = re.findall(r"rra-monitor (analyze [^;]*|suggest [^;]*)", str(error.value))
    monkeypatch.chdir(tmp_path)
    run(*shlex.split(analysis), "--n", "100")
    run(*shlex.split(again))
    printed = capsys.readouterr().out
    assert "rra-monitor train RECIPE --attention stac --window" in printed


def test_greedy_reads_trainings_with_attention_in_one_stage(tmp_path, capsys):
    runs = []
    for window in ("2,none,none", "4,none,none", "none,2,none", "none,none,2"):
        given = options(tmp_path / window, window=window, monitor=False, max_epochs=1, limit=1)
        runs.append(trained(given))
    run("suggest", *runs, "--strategy", "greedy")
    assert re.search(r"--window [24],2,2 ", capsys.readouterr().out)
    with pytest.raises(SystemExit, match="no run has STAC in stage 2, 3 alone"):
        run("suggest", *runs[:2], "--strategy", "greedy")


def test_runs_that_a_strategy_can_not_choose_by_are_named(digit_run, tmp_path):
    with pytest.raises(SystemExit, match="has no attention with the windows"):
        run("suggest", digit_run, "--strategy", "greedy")
    with pytest.raises(SystemExit, match="max-cs reads one run, got 2"):
        run("suggest", digit_run, digit_run)
    with pytest.raises(SystemExit, match="there is no run at"):
        run("suggest", tmp_path / "nowhere")
    with pytest.raises(SystemExit, match="has no probe 'test'; it has train, val"):
        run("suggest", digit_run, "--probe", "test")


def test_the_uniform_window_needs_the_size_of_the_images(digit_run, tmp_path, capsys):
    run("suggest", digit_run, "--strategy", "uniform")
    assert "--window 4,4,4 " in capsys.readouterr().out
    # The snapshots alone, without the training's description.
    alone = shutil.copytree(digit_run / "rra", tmp_path / "alone")
    with pytest.raises(SystemExit, match="does not say how large its images were; give --side"):
        run("suggest", alone, "--strategy", "uniform")
    run("suggest", alone, "--strategy", "uniform", "--side", "32")
    assert "--window 8,8,8" in capsys.readouterr().out
    run("suggest", alone)
    assert "--attention stac --window " in capsys.readouterr().out
