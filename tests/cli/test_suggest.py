"""The command `rra-monitor suggest`."""

import json
import re
import shlex
import shutil
from dataclasses import replace

import numpy as np
import pytest

import rra_monitor as rra
from rra_monitor.cli.suggest import _command
from rra_monitor.recipes.catalogue import RECIPES
from rra_monitor.recipes.options import TrainOptions
from rra_monitor.recipes.options_file import COMMAND_LINE_ALONE
from rra_monitor.recipes.plan import training_plan
from rra_monitor.recipes.windows import StageChoice, max_cs
from rra_monitor.runs.store import RunStore
from tests.helpers.curves import measured
from tests.helpers.image_trees import tree
from tests.helpers.recipe_runs import options, run, trained
from tests.helpers.remedies import assert_says, refusal

pytestmark = pytest.mark.usefixtures("one_thread")


VIEWS = ("full", "avg2", "avg4", "avg8", "avg-global")


ONE_STAGE = ("2,none,none", "none,2,none", "none,none,2")


@pytest.fixture(scope="module")
def digit_run(tmp_path_factory):
    return trained(options(tmp_path_factory.mktemp("pooled"), views=",".join(VIEWS), max_epochs=2, n=100))


CHOSEN = [StageChoice(1, 8, {}, 0.0, None)]


def test_the_command_prints_windows_and_a_command_that_runs(digit_run, capsys, tmp_path, monkeypatch):
    run("suggest", digit_run)
    printed = capsys.readouterr().out
    assert_says("Train with them: rra-monitor train {} --out runs/suggested", printed)
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
    assert_says("checkpoint gives: rra-monitor analyze {}; then: rra-monitor suggest rra-pooled{}", str(error.value))
    analysis, again = re.findall(r"rra-monitor (analyze [^;]*|suggest [^;]*)", str(error.value))
    monkeypatch.chdir(tmp_path)
    run(*shlex.split(analysis), "--n", "100")
    run(*shlex.split(again))
    printed = capsys.readouterr().out
    assert_says("With a recipe of yours: rra-monitor train RECIPE --attention stac --window {}", printed)
    given = TrainOptions(recipe, attention="stac", window=re.search(r"--window (\S+)", printed)[1])
    assert training_plan(given).recipe.network.attention == "stac"


def test_greedy_reads_trainings_with_attention_in_one_stage(tmp_path, capsys):
    runs = []
    for window in ("2,none,none", "4,none,none", "none,2,none", "none,none,2"):
        given = options(tmp_path / window, window=window, monitor=False, max_epochs=1, limit=1)
        runs.append(trained(given))
    # What the refusals name, the last command does.
    with refusal("several are for --strategy greedy"):
        run("suggest", *runs)
    with refusal("{} holds no finished training of `rra-monitor train`, whose accuracy greedy goes by"):
        run("suggest", *runs, tmp_path, "--strategy", "greedy")
    with refusal("train one for each stage and window, as the recipes resnet20-cifar10-stac-s1-w1, …"):
        run("suggest", *runs[:2], "--strategy", "greedy")
    assert RECIPES["resnet20-cifar10-stac-s1-w1"].network.windows == (1, None, None)
    run("suggest", *runs, "--strategy", "greedy")
    assert re.search(r"--window [24],2,2 ", capsys.readouterr().out)


def test_runs_that_a_strategy_can_not_choose_by_are_named(digit_run, tmp_path):
    with refusal("greedy compares STAC in one stage alone, as resnet20-cifar10-stac-s1-w4 has it"):
        run("suggest", digit_run, "--strategy", "greedy")
    assert RECIPES["resnet20-cifar10-stac-s1-w4"].network.windows == (4, None, None)
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


@pytest.mark.parametrize(
    "views", [("full", "avg2", "avg4", "avg-global"), ("avg-global", "avg4", "full", "avg2")], ids=["sorted", "not"]
)
@pytest.mark.parametrize("seed", range(3))
def test_suggest_and_findings_name_the_same_windows(seed, views, tmp_path, capsys):
    """Features that separate the classes by random strengths; a layer lies between the blocks of a stage."""
    rng = np.random.default_rng(seed)
    labels = np.arange(500) % 10

    def features():
        return rng.choice([0, 0.5, 1, 2]) * np.eye(10)[labels] + 0.4 * rng.normal(size=(500, 10))

    layers, aliases = {"input": features()}, {}
    for stage in (1, 2, 3):
        for block in (f"network.layer{stage}.0", f"network.layer{stage}.0.conv2", f"network.layer{stage}.1"):
            layers |= {name: features() for name in (block, f"{block}@avg2", f"{block}@avg-global")}
            if stage == 3:
                aliases[f"{block}@avg4"] = f"{block}@avg-global"
            else:
                layers[f"{block}@avg4"] = features()
    given = measured(layers, 10)
    given = replace(given, aliases=aliases, settings=replace(given.settings, views=views))
    RunStore(tmp_path / "rra").save(given)
    run("suggest", tmp_path)
    printed = capsys.readouterr().out
    chosen = dict(enumerate(re.search(r"--window (\S+)", printed)[1].split(","), 1))
    assert list(chosen) == [1, 2, 3]
    stage_of = {(f"network.layer{stage}.0", f"network.layer{stage}.1"): stage for stage in chosen}
    found = {stage_of[each.layers]: each for each in rra.findings({"train": given}) if each.layers in stage_of}
    assert found
    rows = {stage: re.search(rf"^ *{stage} .*$", printed, re.MULTILINE)[0].split() for stage in chosen}
    for stage, finding in found.items():
        named = re.search(
            r"separates the classes best with (?:windows of (\d+)|the (global) window):", finding.sentence
        )
        assert chosen[stage] == (named[1] or named[2])
        assert f"NNCS {finding.values['best']:.3f} against" in finding.sentence
        assert f"{finding.values['margin']:.3f}" in rows[stage]
        assert ("within the sampling error" in finding.sentence) == ("?" in rows[stage])
    for stage in set(chosen) - set(found):
        assert chosen[stage] == "1" or "?" in rows[stage]


class TestSuggestOfAForeignRun:
    def words(self, options):
        said = _command(CHOSEN, {"options": options, "plan": {}})
        assert said.isprintable()
        return shlex.split(said.removeprefix("Train with them: rra-monitor train "))

    def test_suggest_adds_no_permission_and_says_so(self, described, capsys):
        folder, change = described
        change("options.allow_pickle", True)
        run("suggest", folder, "--strategy", "uniform")
        said = capsys.readouterr().out
        command = next(line for line in said.splitlines() if "rra-monitor train" in line)
        assert "--allow-pickle" not in command
        assert "The run read pickles, which runs what they contain. Add --allow-pickle if you trust" in said

    def test_suggest_quotes_what_a_run_says_and_makes_it_visible(self):
        words = self.words({"recipe": "resnet34-imagenet64", "data": "/evil\x1b[8m; true", "augment": "$(true)"})
        assert words[words.index("--data") + 1] == r"/evil\x1b[8m; true"
        assert words[words.index("--augment") + 1] == "$(true)"

    @pytest.mark.parametrize("odd", ["--allow-pickle", "-x", "--download"])
    def test_suggest_lets_no_value_pass_for_an_option(self, odd):
        words = self.words({"recipe": odd, "data": odd, "augment": odd, "precision": odd})
        assert odd not in words
        assert {f"--recipe={odd}", f"--data={odd}", f"--augment={odd}", f"--precision={odd}"} <= set(words)

    def test_suggest_leaves_out_values_of_another_type(self):
        words = self.words({"recipe": "resnet20-digits", "seed": [1], "limit": {"a": 1}, "compile": "yes", "k": True})
        assert words == ["resnet20-digits", "--attention", "stac", "--window", "8", "--out", "runs/suggested"]

    def test_suggest_never_names_what_the_command_line_alone_permits(self):
        own = dict.fromkeys(COMMAND_LINE_ALONE, True) | {"recipe": "resnet20-digits", "data": "d", "out": "o"}
        assert {"--allow-pickle", "--download", "--resume", "o"}.isdisjoint(self.words(own))

    @pytest.mark.parametrize("side", ["0", "-5"])
    def test_suggest_refuses_a_side_that_no_image_has(self, described, side):
        with pytest.raises(SystemExit, match=f"--side {side}: expected"):
            run("suggest", described[0], "--side", side)
