"""A training that is killed at any moment and resumed leaves what an uninterrupted one leaves."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

import rra_monitor as rra
from tests.helpers import ROOT
from tests.helpers.snapshots import assert_equal

STEPS = (0, 4, 8, 12, 16)


def trained(folder, *names):
    """Trainings, all of them killed but `whole`; each resumed to its end."""
    script = ROOT / "tests" / "helpers" / "killed_training.py"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(folder), "whole", *names]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split()[3::2]


def records(folder):
    """The lines of records.jsonl without what differs from run to run."""
    found = [json.loads(line) for line in (folder / "rra" / "records.jsonl").read_text().splitlines()]
    for record in found:
        for name in ("seconds", "overhead"):
            del record[name]
    return found


def compared(store, step):
    return {name: (match.step, match.nnls.tobytes()) for name, match in store.matches("train", step).items()}


def assert_same(resumed, whole):
    here, there = rra.RunStore(resumed / "rra"), rra.RunStore(whole / "rra")
    assert here.steps("train") == there.steps("train") == STEPS
    assert here.graph_steps("train") == there.graph_steps("train") == STEPS[-2:]
    for step in STEPS:
        mine, other = here.load("train", step), there.load("train", step)
        assert_equal(replace(mine, seconds=0), replace(other, seconds=0))
        assert compared(here, step) == compared(there, step)
    assert records(resumed) == records(whole)
    assert not list(resumed.rglob("*.tmp"))
    assert {path.name for path in resumed.iterdir()} == {"rra", "checkpoints"}
    assert json.loads((resumed / "rra" / "claim.json").read_text())["state"] == "finished"


def test_a_killed_training_goes_on_as_if_uninterrupted_and_two_at_once_do_not_mix(tmp_path):
    names = ("renames-3", "line-3", "pruning-1")
    assert trained(tmp_path, *names, "pair") == ["killed"] * 3 + ["ended"]
    for name in names:
        assert_same(tmp_path / name, tmp_path / "whole")
    # Two that began together have a directory each.
    for name in ("rra", "rra-1"):
        assert rra.RunStore(tmp_path / "pair" / name).steps("train") == STEPS
        lines = (tmp_path / "pair" / name / "records.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == list(STEPS)


@pytest.mark.slow
def test_at_every_kind_of_moment_and_at_20_random_ones(tmp_path):
    kinds = ("temporary", "renames", "line", "checkpoint", "pruning")
    names = [f"{kind}-{number}" for kind in kinds for number in (1, 2, 4)] + ["claim-1"]
    drawn = [f"random-{number / 20:.2f}" for number in range(20)]
    ends = trained(tmp_path, *names, *drawn)
    assert ends[: len(names)] == ["killed"] * len(names)
    assert ends.count("killed") > len(names) + 15
    for name in (*names, *drawn):
        assert_same(tmp_path / name, tmp_path / "whole")
