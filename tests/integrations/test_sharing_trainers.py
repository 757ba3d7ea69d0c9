"""The ranks of a Lightning trainer measure together."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

import rra_monitor as rra
from tests.helpers import ROOT
from tests.helpers.ranks.sharing_ranks import network, sample
from tests.helpers.ranks.trainer_ranks import N

pytestmark = pytest.mark.foreign


def train(folder, *kind, script="trainer_ranks.py"):
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "tests/helpers/ranks" / script), str(folder), *kind]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def outcome(folder, name):
    """What each rank ended with, by rank."""
    return [json.loads((folder / f"{name}-rank{rank}.json").read_text()) for rank in (0, 1)]


@pytest.fixture(scope="module")
def ddp(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ddp")
    train(folder, "ddp")
    return folder


def test_each_sample_passes_the_network_once_a_snapshot(ddp):
    passed = [each["passed"][-4:] for each in outcome(ddp, "watched")]
    assert np.sum(passed, axis=0).tolist() == [N] * 4
    assert rra.RunStore(ddp / "watched").steps("train") == (0, 2, 4, 6)


def test_training_is_the_same_to_the_last_bit_as_without(ddp):
    for watched, bare in zip(outcome(ddp, "watched"), outcome(ddp, "bare"), strict=True):
        assert watched["weights"] == bare["weights"]
        assert watched["random"] == bare["random"]


def test_every_rank_has_the_same_values_for_watchers(ddp):
    first, second = outcome(ddp, "watched")
    assert first["values"]["rra/train/id_peak"] > 0
    assert first["values"] == second["values"]


def test_a_failing_rank_costs_one_snapshot(ddp):
    first, second = outcome(ddp, "failing")
    (warning,) = first["warned"]
    assert warning == ("no snapshot at epoch 2, step 4; training goes on: RankError('rank 1: RuntimeError: bad luck')")
    assert second["warned"] == []
    assert first["weights"] == outcome(ddp, "bare")[0]["weights"]


def test_a_sample_that_one_rank_cannot_draw_is_measured_on_none(ddp):
    first, _ = outcome(ddp, "undrawn")
    assert "train: rank 1: OSError('no such disk')" in first["refused"][0]
    assert first["weights"] == outcome(ddp, "bare")[0]["weights"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp_spawn", "sharded"])
def test_other_strategies_measure_the_same(ddp, tmp_path, kind):
    train(tmp_path, kind)
    name = "sharded" if kind == "sharded" else "watched"
    stored, plain = rra.RunStore(tmp_path / name), rra.RunStore(ddp / "watched")
    assert len(stored.steps("train")) == 4
    for quantity, curve in plain.load("train", 0).curves.items():
        np.testing.assert_allclose(stored.load("train", 0).curves[quantity], curve, rtol=1e-6, err_msg=quantity)


@pytest.mark.slow
def test_what_fabric_has_set_up_is_measured_in_its_precision(tmp_path):
    train(tmp_path, script="fabric_ranks.py")
    first, second = outcome(tmp_path, "fabric")
    plain = network().to(torch.bfloat16)
    monitor = rra.Monitor({"p": sample()}, forward=lambda model, batch: model(batch.to(torch.bfloat16)))
    alone = monitor.measure(plain, step=0, epoch=0)["p"]
    assert first["layers"] == [*alone.layers]
    for name in ("id", "nncs"):
        np.testing.assert_allclose(first["curves"][name], alone.curves[name], rtol=1e-4)
    assert first["curves"] == second["curves"]
