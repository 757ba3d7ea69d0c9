import json
import subprocess
import sys
from pathlib import Path

import pytest

import rra_monitor as rra
from rra_monitor.capture.names import displayed
from rra_monitor.recipes.run_files import CHECKPOINT, read_description, read_result
from tests.helpers.tensorboard_server import FAST, SLOW, serving, until

COMMAND = str(Path(sys.executable).with_name("rra-monitor"))


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "out"
    done = subprocess.run(
        [COMMAND, "demo", "--out", str(out), "--epochs", "1"], capture_output=True, text=True, check=True, timeout=900
    )
    return out, done.stdout


def test_the_demo_ends_with_a_table_and_the_command_that_goes_on(demo):
    out, text = demo
    for words in ("layer3.2", "NNLS to seed 0", "ID: ", "NNLS: ", f"tensorboard --logdir {out}"):
        assert words in text
    assert {path.name for path in out.iterdir()} >= {"curves.png", "nnls.png", "seed0", "seed1"}


def test_the_demo_leaves_runs_that_read_back(demo):
    for seed in ("seed0", "seed1"):
        store = rra.RunStore(demo[0] / seed / "rra")
        assert [store.load("train", step).epoch for step in store.steps("train")] == [0, 1]
        assert len(store.load("val", store.steps("val")[-1]).layers) == 13


def test_the_demos_seeds_are_trainings_of_a_recipe_and_the_first_is_the_reference_of_the_second(demo):
    for at, folder in enumerate((demo[0] / "seed0", demo[0] / "seed1")):
        about, result = read_description(folder), read_result(folder)
        assert about["options"]["recipe"] == result["recipe"] == "resnet20-digits"
        assert about["options"]["seed"] == result["seed"] == at
        assert f"validation accuracy {result['val_accuracy']:.1%}" in demo[1]
        assert (folder / CHECKPOINT).exists()
        last = json.loads((folder / "rra" / "records.jsonl").read_text().splitlines()[-1])
        assert ("ref-seed0" in last["probes"]["train"]["nnls"]) == (at == 1)


@pytest.mark.parametrize("loader", [FAST, SLOW], ids=["fast", "slow"])
def test_the_demos_folder_has_its_runs_in_tensorboards_tab(demo, loader):
    with serving(demo[0], *loader) as server:
        assert until(server.names, lambda names: len(names) == 2) == ["seed0", "seed1"]
        assert server.json("data/plugins_listing")["rra"]["enabled"]
        for seed in ("seed0", "seed1"):
            store = rra.RunStore(demo[0] / seed / "rra")
            run = server.run(seed, lambda run: len(run["frames"]) == 2)
            assert tuple(frame["step"] for frame in run["frames"]) == store.steps("train")
            assert tuple(run["probes"]["train"]["layers"]) == displayed(store.load("train", 0).view().layers)


def test_the_demo_does_not_write_into_an_earlier_one(demo):
    done = subprocess.run([COMMAND, "demo", "--out", str(demo[0]), "--epochs", "1"], capture_output=True, text=True)
    assert done.returncode != 0
    assert "an earlier run; pass another --out" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_full_demo_shows_what_its_text_says(tmp_path):
    subprocess.run([COMMAND, "demo", "--out", str(tmp_path / "out")], capture_output=True, text=True, check=True)
    first, second = (rra.RunStore(tmp_path / "out" / seed / "rra") for seed in ("seed0", "seed1"))
    steps = second.steps("train")
    start, end = second.load("train", steps[0]), second.load("train", steps[-1])
    assert len(steps) == 11
    assert start.nncs[-1] < 0.7
    assert end.nncs[-1] > 0.95
    # An arch over the layers: higher in the middle than at both ends.
    ends = [end.id, first.load("train", steps[-1]).id]
    arches = [curve[1:-2].max() - max(curve[0], curve[-1]) for curve in ends]
    assert min(arches) > 0.5
    assert sum(arches) / 2 > 1
    same = rra.match(end, first.load("train", steps[-1]), "seed0").same_layer(end.layers)
    assert same[0] == 1.0
    assert same[1] > same[6] > same[-1] > 10 * end.nnls_chance
