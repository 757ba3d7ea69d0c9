"""Trainings: what they leave, what they refuse, and that an interruption leaves no trace in the weights."""

import csv
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from recipe_runs import noise, options, run, trained, weights

import rra_monitor as rra
from rra_monitor.checkpoints import load_checkpoint
from rra_monitor.recipes.options import TrainOptions
from rra_monitor.recipes.recipe import DATA
from rra_monitor.recipes.schedules import warm_cosine
from rra_monitor.recipes.table import RECIPES
from rra_monitor.recipes.trained import network_of

COMMAND = str(Path(sys.executable).with_name("rra-monitor"))
AUGMENT = "translate,flip,rotate,blur"


class Unplugged(L.Callback):
    """Ends a training in the middle of an epoch."""

    def __init__(self, epoch, batch):
        self.when = (epoch, batch)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == self.when:
            raise InterruptedError("unplugged")


def rows(folder):
    with (folder / "metrics.csv").open(newline="") as stream:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(stream)]


def alike(first, second):
    """Two nested structures of tensors and plain values, to the last bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(alike(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(alike, first, second))
    return first == second


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training that was not interrupted."""
    return trained(options(tmp_path_factory.mktemp("whole"), augment=AUGMENT))


@pytest.mark.parametrize("within", [False, True])
def test_a_resumed_training_has_the_weights_of_an_uninterrupted_one(whole, tmp_path, within):
    """Unplugged in epoch 2, after its second batch; from the last epoch's checkpoint, or from one of that batch."""
    given = options(tmp_path, augment=AUGMENT)
    saved = [
        ModelCheckpoint(tmp_path / "seed0" / "checkpoints", "last", every_n_train_steps=2, enable_version_counter=False)
    ]
    with pytest.raises(InterruptedError):
        trained(given, [Unplugged(2, 2), *(saved if within else [])])
    assert weights(tmp_path / "seed0")["global_step"] == (10 if within else 8)
    with pytest.raises(ValueError, match="holds an interrupted training; --resume goes on with it"):
        trained(given)
    resumed = trained(replace(given, resume=True))
    here, there = weights(resumed), weights(whole)
    for name in ("state_dict", "optimizer_states", "lr_schedulers", "global_step"):
        assert alike(here[name], there[name]), name
    assert rra.RunStore(resumed / "rra").steps("train") == rra.RunStore(whole / "rra").steps("train") == (0, 4, 8, 12)
    if not within:  # the loss of an epoch in two halves is the second half's
        assert rows(resumed) == rows(whole)


def test_a_training_interrupted_in_its_first_epoch_starts_again(whole, tmp_path):
    given = options(tmp_path, augment=AUGMENT, every=3)
    with pytest.raises(InterruptedError):
        trained(given, [Unplugged(0, 2)])
    resumed = trained(replace(given, resume=True))
    assert alike(weights(resumed)["state_dict"], weights(whole)["state_dict"])


def test_workers_and_the_monitor_do_not_change_the_weights(whole, tmp_path):
    given = options(tmp_path, augment=AUGMENT, loader="workers", workers=1, monitor=False)
    assert alike(weights(trained(given))["state_dict"], weights(whole)["state_dict"])


def test_another_seed_trains_other_weights(whole, tmp_path):
    other = trained(options(tmp_path, augment=AUGMENT, seed=1, monitor=False))
    assert other.name == "seed1"
    assert not alike(weights(other)["state_dict"], weights(whole)["state_dict"])


def test_a_training_leaves_its_numbers_and_its_configuration(whole):
    table = rows(whole)
    assert [row["epoch"] for row in table] == ["1", "2", "3"]
    assert [row["step"] for row in table] == ["4", "8", "12"]
    for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy"):
        assert all(float(row[name]) >= 0 for row in table)
    result = json.loads((whole / "result.json").read_text())
    assert result["val_accuracy"] == pytest.approx(float(table[-1]["val_accuracy"]), rel=1e-5)
    about = json.loads((whole / "run.json").read_text())
    assert about["plan"]["recipe"]["training"] == {"epochs": 3, "learning_rate": 0.05, "batch": 32}
    assert about["versions"]["torch"] == torch.__version__.split("+")[0]
    # The configuration is that of the training, once more.
    given = json.loads((whole / "config.json").read_text())
    assert TrainOptions(**given) == options(whole.parent, augment=AUGMENT)


def test_the_accuracy_is_that_of_the_saved_weights(whole):
    from rra_monitor.demo import digits

    network = network_of(str(whole))
    load_checkpoint(network, whole / "checkpoints" / "last.ckpt")
    images, labels = digits()[1].tensors
    with torch.no_grad():
        accuracy = (network.eval()(images).argmax(1) == labels).float().mean().item()
    result = json.loads((whole / "result.json").read_text())
    assert result["val_accuracy"] == pytest.approx(accuracy, abs=0.02)  # trained in bfloat16, where there is AMX


def test_probes_are_without_augmentation_and_of_both_parts(whole):
    store = rra.RunStore(whole / "rra")
    assert store.probes() == ("train", "val")
    snapshot = store.load("train", 12)
    assert snapshot.settings.n == 60
    assert {"full", "avg-global"} == set(snapshot.settings.views)
    first, last = (store.load("train", step, graphs=False).id[0] for step in (0, 12))
    assert first == last


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({}, "holds this training already, finished"),
        ({"max_epochs": 5}, "holds another training: --max-epochs 3 there, 5 here"),
        ({"recipe": "resnet20-digits-stac"}, "--recipe resnet20-digits there, resnet20-digits-stac here"),
    ],
)
@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_with_another_training_is_refused(whole, changed, text, resume):
    with pytest.raises(ValueError, match=text):
        trained(options(whole.parent, augment=AUGMENT, **{"resume": resume, **changed}))


LIGHT = ("resnet20-cifar10-aug", "resnet20-cifar10-bam-post", "resnet20-cifar10-stac-s2-w4", "resnet20-images")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in LIGHT else pytest.mark.slow) for name in RECIPES]
)
def test_every_recipe_trains_two_steps(name, tmp_path):
    parts = noise(RECIPES[name])
    given = options(tmp_path, name, max_epochs=1, limit=2, batch_size=4, monitor=False)
    folder = trained(given, parts=parts)
    result = json.loads((folder / "result.json").read_text())
    assert result["steps"] == 2
    assert 0 < result["train_loss"] < 50
    before = network_of(str(folder))
    held = weights(folder)["state_dict"]
    for name, weight in before.named_parameters():
        assert weight.shape == held[f"network.{name}"].shape
        assert held[f"network.{name}"].isfinite().all()


def test_the_rate_warms_up_and_ends_at_a_hundredth():
    """By the formula of 4.1, over 100 epochs of 391 steps."""
    total, warm_up = 39_100, 3_910
    rates = [warm_cosine(step, total, warm_up, 0.01) for step in range(total)]
    assert rates[warm_up // 2 - 1] == pytest.approx(0.5)
    assert max(rates) == rates[warm_up] == 1
    assert rates[(warm_up + total) // 2] == pytest.approx(0.505, abs=1e-4)
    assert rates[-1] == pytest.approx(0.01)
    assert rates[:warm_up] == sorted(rates[:warm_up])
    assert rates[warm_up:] == sorted(rates[warm_up:], reverse=True)


SMALL = ["--max-epochs", "1", "--limit", "2", "--batch-size", "16", "--no-progress"]


def test_several_seeds_are_trained_once_and_compared(tmp_path, capsys):
    words = ["train", "resnet20-digits", "--out", tmp_path, *SMALL, "--n", "60", "--views", "full", "--seeds"]
    run(*words, "0,2")
    printed = capsys.readouterr().out
    assert " ± " in printed
    assert "within resnet20-digits" in printed
    results = [json.loads((tmp_path / f"seed{seed}" / "result.json").read_text()) for seed in (0, 2)]
    mean = 50 * sum(result["val_accuracy"] for result in results)
    assert f"{mean:.2f} ± " in printed
    run(*words, "0-2")
    printed = capsys.readouterr().out
    assert "seed 0 is finished" in printed
    assert "seed 2 is finished" in printed
    assert "seed 1: validation accuracy" in printed
    assert [json.loads((tmp_path / f"seed{seed}" / "result.json").read_text()) for seed in (0, 2)] == results
    comparison = json.loads((tmp_path / "comparison" / "comparison.json").read_text())
    assert len(comparison["groups"][0]["runs"]) == 3
    assert comparison["pairs"][0]["pairs"] == 6


def test_a_configuration_file_is_a_training_and_the_command_line_counts_more(tmp_path):
    run("train", "resnet20-digits", "--out", tmp_path / "a", *SMALL, "--no-monitor", "--weight-decay", "0.01")
    run("train", "--config", tmp_path / "a" / "seed0" / "config.json", "--out", tmp_path / "b")
    run("train", "--config", tmp_path / "a" / "seed0" / "config.json", "--out", tmp_path / "c", "--weight-decay", "0.5")
    first, again, other = (weights(tmp_path / name / "seed0")["state_dict"] for name in "abc")
    assert alike(first, again)
    assert not alike(first, other)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["train", "resnet20-cifar"], "no recipe 'resnet20-cifar'; the nearest"),
        (["train", "resnet20-cifar10"], "CIFAR-10 needs --data DIR"),
        (["train", "resnet20-cifar10", "--data", "/no/where"], "/no/where is no directory"),
        (["train", "resnet20-digits", "--seeds", "3-1"], "the range 3-1 is empty"),
        (
            ["train", "resnet20-digits", "--augment", "colour"],
            "colour need 3 channels, and scikit-learn's digits have 1",
        ),
        (["recipes", "resnet30"], "no recipe 'resnet30'"),
    ],
)
def test_bad_input_is_an_error_of_one_line(words, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=text):
        run(*words)
    assert not list(tmp_path.iterdir())


def test_the_list_has_every_recipe_with_the_thesiss_accuracy(capsys):
    run("recipes", "resnet20-cifar10*")
    printed = capsys.readouterr().out
    assert all(name in printed for name in RECIPES if name.startswith("resnet20-cifar10"))
    assert "81.0 ± 0.5" in printed
    assert "resnet34" not in printed


def test_data_know_their_probes():
    for data in DATA.values():
        assert len(data.scale[0]) == len(data.scale[1]) == data.channels


@pytest.mark.slow
def test_a_killed_process_is_resumed_to_the_same_weights(tmp_path):
    words = ["train", "resnet20-digits", "--max-epochs", "4", "--batch-size", "32", "--no-progress", "--n", "200"]
    words += ["--views", "full"]
    subprocess.run([COMMAND, *words, "--out", tmp_path / "whole"], check=True, capture_output=True)
    process = subprocess.Popen(
        [COMMAND, *words, "--out", tmp_path / "killed"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    until = time.monotonic() + 120
    while not (tmp_path / "killed" / "seed0" / "checkpoints" / "last.ckpt").exists() and time.monotonic() < until:
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert not (tmp_path / "killed" / "seed0" / "result.json").exists()
    subprocess.run([COMMAND, *words, "--out", tmp_path / "killed", "--resume"], check=True, capture_output=True)
    first, second = (weights(tmp_path / name / "seed0") for name in ("whole", "killed"))
    assert alike(first["state_dict"], second["state_dict"])
