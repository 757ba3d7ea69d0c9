"""Trainings: what they leave, what they refuse, and that an interruption leaves no trace in the weights."""

import csv
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

import rra_monitor as rra
from rra_monitor.cli.train import train_seeds
from rra_monitor.datasets.catalogue import DATA
from rra_monitor.datasets.images import InMemory, Splits
from rra_monitor.integrations.lightning import RRACallback
from rra_monitor.recipes.catalogue import RECIPES
from rra_monitor.recipes.options import TrainOptions
from rra_monitor.recipes.plan import planned
from rra_monitor.recipes.run_files import MetricsFile
from rra_monitor.recipes.schedules import warm_cosine
from rra_monitor.recipes.trained import network_of
from rra_monitor.recipes.training import _monitor, read_data, resumed_from
from rra_monitor.runs.checkpoint import load_checkpoint
from tests.helpers.recipe_runs import noise, options, run, trained, weights

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


def unplugged_at_the_end(given, monkeypatch):
    """Everything but what comes after the last epoch's checkpoint."""

    def unplugged(*_):
        raise InterruptedError("unplugged")

    with monkeypatch.context() as patched:
        patched.setattr(RRACallback, "on_train_end", unplugged)
        with pytest.raises(InterruptedError):
            trained(given)


@pytest.mark.parametrize("seeds", [False, True])
def test_a_training_interrupted_in_its_last_snapshot_is_finished(whole, tmp_path, monkeypatch, seeds):
    given = options(tmp_path, augment=AUGMENT, every=2)
    unplugged_at_the_end(given, monkeypatch)
    folder = tmp_path / "seed0"
    assert not (folder / "result.json").exists()
    assert rra.RunStore(folder / "rra").steps("val") == (0, 8)
    if seeds:
        train_seeds(replace(given, seeds="0"))
    else:
        trained(replace(given, resume=True))
    here, there = (json.loads((one / "result.json").read_text()) for one in (folder, whole))
    assert min(here.pop("seconds"), there.pop("seconds")) > 0
    assert here == there
    assert rows(folder) == rows(whole)
    stores = [rra.RunStore(one / "rra") for one in (folder, whole)]
    for probe in ("train", "val"):
        assert stores[0].steps(probe) == (0, 8, 12)
        first, second = (store.load(probe, 12, graphs=False) for store in stores)
        assert first.epoch == second.epoch == 3
        assert first.id.tolist() == second.id.tolist()


def test_a_finished_training_whose_checkpoint_has_no_numbers_is_named(tmp_path):
    given = replace(options(tmp_path, monitor=False, max_epochs=1, limit=1), resume=True)
    folder = trained(given)
    held = weights(folder)
    del held["callbacks"]["EpochTable"]
    torch.save(held, folder / "checkpoints" / "last.ckpt")
    (folder / "result.json").unlink()
    with pytest.raises(ValueError, match=r"checkpoints/last.ckpt does not have its numbers; delete the folder"):
        trained(given)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda about: about["options"].pop("compile"), r"--compile None there, False here"),
        (
            lambda about: about["plan"]["recipe"]["network"].pop("kernels"),
            r"plan\.recipe\.network\.kernels: None there",
        ),
        (lambda about: about["plan"]["recipe"]["training"].update(teacher=1), r"training\.teacher: 1 there, None here"),
    ],
)
def test_a_training_with_other_options_or_another_plan_is_not_resumed(tmp_path, change, expected):
    given = options(tmp_path, monitor=False)
    with pytest.raises(InterruptedError):
        trained(given, [Unplugged(1, 2)])
    file = tmp_path / "seed0" / "run.json"
    about = json.loads(file.read_text())
    change(about)
    file.write_text(json.dumps(about))
    with pytest.raises(ValueError, match=expected):
        trained(replace(given, resume=True))


def test_a_recipe_described_in_other_words_is_resumed(tmp_path):
    given = options(tmp_path, monitor=False)
    with pytest.raises(InterruptedError):
        trained(given, [Unplugged(1, 2)])
    file = tmp_path / "seed0" / "run.json"
    about = json.loads(file.read_text())
    about["plan"]["recipe"]["note"] = "ours, too"
    file.write_text(json.dumps(about))
    assert (trained(replace(given, resume=True)) / "result.json").exists()


def test_a_recipe_that_has_changed_is_not_resumed(tmp_path):
    given = options(tmp_path, monitor=False)
    with pytest.raises(InterruptedError):
        trained(given, [Unplugged(1, 2)])
    file = tmp_path / "seed0" / "run.json"
    file.write_text(file.read_text().replace('"learning_rate": 0.05', '"learning_rate": 0.06'))
    with pytest.raises(ValueError, match=r"recipe\.training\.learning_rate: 0\.06 there, 0\.05 here"):
        trained(replace(given, resume=True))


ROWS = [{"epoch": epoch, "step": 4 * epoch, "seconds": "1.25"} for epoch in (1, 2, 3)]


def table_file(path):
    table = MetricsFile(path)
    for row in ROWS:
        table.add(row)
    return path.read_bytes()


def epochs_of(path):
    with path.open(newline="") as stream:
        return [int(row["epoch"]) for row in csv.DictReader(stream)]


@pytest.mark.parametrize("kept", range(0, 60, 7))
def test_a_table_that_was_cut_off_goes_on_after_its_last_whole_row(tmp_path, kept):
    file = tmp_path / "metrics.csv"
    content = table_file(file)
    file.write_bytes(content[:kept] + b"\0" * 9)
    whole = max(0, content[:kept].count(b"\n") - 1)
    table = MetricsFile(file)
    table.cut(12)
    table.add({"epoch": 9, "step": 36, "seconds": "1"})
    assert epochs_of(file) == [*range(1, whole + 1), 9]


def test_rows_after_the_resumed_step_are_dropped(tmp_path):
    file = tmp_path / "metrics.csv"
    table_file(file)
    MetricsFile(file).cut(8)
    assert epochs_of(file) == [1, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_a_table_that_can_not_be_written_is_a_warning_and_written_with_the_next_row(tmp_path, monkeypatch):
    file = tmp_path / "metrics.csv"
    table = MetricsFile(file)
    table.add(ROWS[0])

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full)
        with pytest.warns(UserWarning, match=r"metrics\.csv lacks its last row; training goes on.*No space left"):
            table.add(ROWS[1])
    assert epochs_of(file) == [1]
    table.add(ROWS[2])
    assert epochs_of(file) == [1, 2, 3]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


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


def test_the_accuracy_is_that_of_the_saved_weights(tmp_path):
    given = options(tmp_path, max_epochs=1, limit=20, monitor=False, precision="32-true")
    split = read_data(given, planned(given)).val
    folder = trained(given)
    network = network_of(str(folder))
    load_checkpoint(network, folder / "checkpoints" / "last.ckpt")
    images, labels = split.read(torch.arange(len(split.labels))) / 255, split.labels
    with torch.no_grad():
        correct = int((network.eval()(images).argmax(1) == labels).sum())
    result = json.loads((folder / "result.json").read_text())
    assert result["val_accuracy"] * len(labels) == pytest.approx(correct, abs=1e-3)
    assert correct > 1.5 * len(labels) / 10


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


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"views": "foo"}, "unknown view 'foo'"),
        ({"keep_graphs": "x"}, "keep_graphs='x'; expected"),
        ({"k": 1000}, "k must lie in 2 to 59"),
        ({"n": 2}, "n must be at least 3"),
        ({"precision": "foo"}, "Precision 'foo' is invalid"),
        ({"accelerator": "foo"}, "invalid accelerator name"),
        ({"devices": 0}, "--accelerator cpu --devices 0 is not available: .* --accelerator auto --devices 1 takes"),
        ({"weight_decay": -1.0}, "Invalid weight_decay value"),
        ({"loader": "workers", "workers": -1}, "num_workers option should be non-negative"),
    ],
)
def test_an_option_that_was_refused_does_not_block_the_folder(wrong, text, tmp_path):
    given = options(tmp_path, max_epochs=1, limit=1, accelerator="cpu")
    with pytest.raises(ValueError, match=text):
        trained(replace(given, **wrong))
    if next(iter(wrong)) in ("views", "keep_graphs", "loader"):  # of each moment one, since it takes a second
        train_seeds(replace(given, seeds="0"))
        assert (tmp_path / "seed0" / "result.json").exists()
    else:
        assert resumed_from(given, planned(given), tmp_path / "seed0") is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_an_accelerator_that_is_not_there_is_an_error_of_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"--accelerator gpu --devices 1 is not available: .*Expected"):
        trained(options(tmp_path, accelerator="gpu"))
    assert not (tmp_path / "seed0").exists()


@pytest.mark.parametrize("kept", [0, 1000, -1000])
def test_a_damaged_checkpoint_is_named_and_the_training_can_start_again(tmp_path, kept):
    given = options(tmp_path, max_epochs=2, limit=1, monitor=False)
    with pytest.raises(InterruptedError):
        trained(given, [Unplugged(1, 0)])
    file = tmp_path / "seed0" / "checkpoints" / "last.ckpt"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"seed0/checkpoints/last\.ckpt is damaged \(.*\)\. Restore it, or delete it"):
        trained(replace(given, resume=True))
    file.unlink()
    trained(replace(given, resume=True))
    assert (tmp_path / "seed0" / "result.json").exists()


LIGHT = ("resnet20-cifar10-aug", "resnet20-cifar10-bam-post", "resnet20-cifar10-stac-s2-w4", "resnet20-images")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in LIGHT else pytest.mark.slow) for name in RECIPES]
)
def test_every_recipe_trains_two_steps(name, tmp_path):
    splits = noise(RECIPES[name])
    given = options(tmp_path, name, max_epochs=1, limit=2, batch_size=4, monitor=False)
    folder = trained(given, splits=splits)
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


PUBLISHED = {"cifar10": (50_000, 10_000), "imagenet64-50": (50_000, 2_500), "imagenet64": (1_280_000, 50_000)}
"""Images of both splits, equally many of each class."""


def black(data):
    """Black images, as many as the data set has, in the memory of one."""
    classes, image = data.classes or 7, torch.zeros(1, data.channels, data.side, data.side, dtype=torch.uint8)
    sizes = PUBLISHED.get(data.name, (7_000, 7_000))
    splits = [InMemory(image.expand(size, -1, -1, -1), torch.arange(size) % classes) for size in sizes]
    return Splits(data, tuple(map(str, range(classes))), *splits)


RECIPE_OF = {recipe.data: recipe for recipe in RECIPES.values()}


@pytest.mark.parametrize("name", DATA)
def test_data_know_their_probes(name, tmp_path):
    data, given = DATA[name], options(tmp_path, RECIPE_OF[name].name, n=None)
    assert len(data.normalization[0]) == len(data.normalization[1]) == data.channels
    plan = planned(given)
    splits = read_data(given, plan) if name == "digits" else black(data)
    probes = _monitor(given, plan, splits, tmp_path).probes
    assert (probes["train"].n, probes["val"].n) == data.probe_n
    for probe in probes.values():
        assert probe.classes == len(splits.classes)


@pytest.mark.slow
def test_a_killed_process_is_resumed_to_the_same_weights(tmp_path):
    words = ["train", "resnet20-digits", "--max-epochs", "4", "--batch-size", "32", "--no-progress", "--n", "200"]
    words += ["--views", "full"]
    subprocess.run([COMMAND, *words, "--out", tmp_path / "whole"], check=True, capture_output=True)
    process = subprocess.Popen(
        [COMMAND, *words, "--out", tmp_path / "killed"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    until = time.monotonic() + 600
    while not (tmp_path / "killed" / "seed0" / "checkpoints" / "last.ckpt").exists() and time.monotonic() < until:
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert not (tmp_path / "killed" / "seed0" / "result.json").exists()
    subprocess.run([COMMAND, *words, "--out", tmp_path / "killed", "--resume"], check=True, capture_output=True)
    first, second = (weights(tmp_path / name / "seed0") for name in ("whole", "killed"))
    assert alike(first["state_dict"], second["state_dict"])


@pytest.mark.slow
def test_two_devices_train_one_network(tmp_path):
    """Two processes of gloo, whose batches of 15 are not even; then they finish a training without its end."""
    words = ["train", "resnet20-digits", "--devices", "2", "--accelerator", "cpu", "--max-epochs", "1", "--limit", "2"]
    words += [
        "--batch-size",
        "15",
        "--n",
        "60",
        "--views",
        "full",
        "--no-progress",
        "--seeds",
        "0,1",
        "--out",
        tmp_path,
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def done_again():
        return subprocess.run(
            [COMMAND, *words], check=True, capture_output=True, text=True, timeout=900, env=environment
        )

    done = done_again()
    assert "2 processes" in done.stderr
    assert done.stdout.count("validation accuracy") == 2
    assert done.stdout.count("within resnet20-digits") == 1
    for seed in (0, 1):
        folder = tmp_path / f"seed{seed}"
        result = json.loads((folder / "result.json").read_text())
        assert result["steps"] == 2
        assert 0 < result["val_loss"] < 50
        assert [row["step"] for row in rows(folder)] == ["2"]
        assert rra.RunStore(folder / "rra").steps("val") == (0, 2)
        assert not list(folder.rglob("*.partial"))
    assert (tmp_path / "comparison" / "comparison.json").exists()
    before = json.loads((tmp_path / "seed0" / "result.json").read_text())
    (tmp_path / "seed0" / "result.json").unlink()
    rra.RunStore(tmp_path / "seed0" / "rra").set_aside(after=0)
    assert done_again().stdout.count("is finished") == 1
    after = json.loads((tmp_path / "seed0" / "result.json").read_text())
    assert after | {"seconds": 0} == before | {"seconds": 0}
    assert rra.RunStore(tmp_path / "seed0" / "rra").steps("val") == (0, 2)
