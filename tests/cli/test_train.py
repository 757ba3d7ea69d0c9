"""The command `rra-monitor train`."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import rra_monitor as rra
from rra_monitor.cli.train import read_seeds
from tests.helpers.recipe_runs import alike, rows, run, weights

pytestmark = pytest.mark.usefixtures("one_thread")


COMMAND = str(Path(sys.executable).with_name("rra-monitor"))


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
def test_train_says_bad_input_in_one_line(words, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=text):
        run(*words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["0-999999999999", "0-1000", "9" * 5000, "4294967296", "0-999,2000-2999", "²"])
def test_seeds_beyond_reason_are_refused(text):
    with pytest.raises(ValueError, match="--seeds"):
        read_seeds(text)


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
