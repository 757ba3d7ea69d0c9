"""The remedies that texts about stored runs name, each of them followed."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import nn

import rra_monitor as rra
from rra_monitor.runs.checkpoint import load_checkpoint
from rra_monitor.runs.locate import open_run
from tests.helpers.remedies import Remedy, refusal, warnings_as_errors
from tests.helpers.snapshots import snapshot_of, stored_run
from tests.helpers.stored_files import edit

STEPS = (0, 5, 9)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A run, and another one with the same samples."""
    folder = tmp_path_factory.mktemp("stored")
    for name in ("run", "another"):
        stored_run(folder / name, STEPS)
    return folder


@pytest.fixture
def run(stored, tmp_path):
    return shutil.copytree(stored / "run", tmp_path / "run")


def file_of(run, kind):
    """The file of that kind: of step 5, or the sample."""
    names = {"sample": "samples/*.safetensors"}
    (found,) = run.glob(names.get(kind, f"snapshots/train/*5.{kind}.safetensors"))
    return found


def read(run):
    """Everything that is stored; the steps and those with graphs."""
    store = rra.RunStore(run)
    found = [store.load("train", step) for step in store.steps("train")]
    rra.settling(run)
    return [snapshot.step for snapshot in found], [snapshot.step for snapshot in found if snapshot.graphs]


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-100])


def flipped(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def written_by_another(path):
    """The file is whole, and what it holds is impossible."""
    edit(path, lambda arrays, about: arrays.update({name: array[:-1] for name, array in arrays.items()}))


def a_folder(path):
    path.unlink()
    path.mkdir()


class Damage(NamedTuple):
    """What the refusal of a damaged file says, the kind of file, and what damages it."""

    says: str
    kind: str
    damage: Callable[[Path], object]


DAMAGES = [
    Damage("Delete it to go on without {}; the others stay readable.", "curves", cut_off),
    Damage("Delete it to go on without {}; the others stay readable.", "curves", flipped),
    Damage("delete it to go on without this snapshot.", "curves", written_by_another),
    Damage("expected a file; remove it, or put a file in its place", "curves", a_folder),
    Damage("Delete it to go on without {}; the others stay readable.", "graphs", cut_off),
    Damage("Delete it to go on without {}; the others stay readable.", "graphs", flipped),
    Damage("another program wrote it; delete it to go on without these graphs", "graphs", written_by_another),
    Damage("expected a file; remove it, or put a file in its place", "graphs", a_folder),
    Damage("Copy it from another run with the same samples; snapshots of other samples stay", "sample", cut_off),
    Damage("Copy it from another run with the same samples; snapshots of other samples stay", "sample", flipped),
    Damage("Copy it from another run with the same samples.", "sample", written_by_another),
    Damage("expected a file; remove it, or put a file in its place", "sample", a_folder),
    Damage("files of the run refer to it; copy it from another run with the same samples", "sample", os.remove),
]


@pytest.mark.parametrize(("says", "kind", "damage"), DAMAGES)
def test_a_damaged_file_is_gone_on_without_as_its_refusal_says(run, stored, says, kind, damage):
    path = file_of(run, kind)
    damage(path)
    with refusal(says):
        read(run)
    if damage is a_folder:
        path.rmdir()
    if kind == "sample":
        shutil.copy(file_of(stored / "another", kind), path)
    else:
        path.unlink(missing_ok=True)
    with warnings_as_errors(""):
        steps, with_graphs = read(run)
    assert steps == ([0, 9] if kind == "curves" else [0, 5, 9])
    assert with_graphs == ([0, 5, 9] if kind == "sample" else [0, 9])


def test_graphs_of_another_writing_are_gone_on_without_as_their_refusal_says(run):
    path = file_of(run, "graphs")
    shutil.copy(path.with_name("000000009.graphs.safetensors"), path)
    with refusal("was not written with the curves beside it; delete it to go on without these graphs"):
        read(run)
    path.unlink()
    assert read(run) == ([0, 5, 9], [0, 9])


def test_a_link_out_of_the_run_is_replaced_as_its_refusal_says(run, tmp_path):
    path, outside = file_of(run, "curves"), tmp_path / "outside"
    path.rename(outside)
    path.symlink_to(outside)
    with refusal("and is not followed; put what it links to in its place"):
        read(run)
    path.unlink()
    shutil.copy(outside, path)
    assert read(run)[0] == [0, 5, 9]


def without_graphs(path):
    """A run whose graphs were deleted."""
    stored_run(path, STEPS)
    for graphs in path.rglob("*.graphs.safetensors"):
        graphs.unlink()
    return path


def recorded(path, step=0, probe="train", **options):
    return rra.Recorder(rra.RunStore(path), **options).record({probe: snapshot_of(step, probe=probe)})


def checked(path, reference, probe="train"):
    """A recorder, once it is checked that its monitor's samples can be compared with the reference."""
    settings = replace(snapshot_of(0).settings)
    sample = rra.FixedSample.from_tensors(torch.rand(30, 4), settings.labels, settings.ids)
    sample.fingerprint = settings.fingerprint
    recorder = rra.Recorder(rra.RunStore(path), references={"ref": reference})
    recorder.check(rra.Monitor({probe: sample}, k=settings.k))
    return recorder


def test_recorder_remedies_are_followed(tmp_path, stored):
    for remedy in (
        Remedy(
            "align={}; expected 'epoch' or 'last'",
            lambda: recorded(tmp_path / "a", align="step"),
            lambda: recorded(tmp_path / "a", align="epoch"),
            lambda: recorded(tmp_path / "b", align="last"),
        ),
        Remedy(
            "reference {}: {} holds no snapshots; give the directory that an earlier run named at its start (the one "
            "with snapshots/ in it)",
            lambda: recorded(tmp_path / "c", references={"ref": stored}),
            lambda: recorded(tmp_path / "c", references={"ref": stored / "run"}),
        ),
        Remedy(
            "holds no snapshots; give the directory that a run named at its start (the one with snapshots/ in it)",
            lambda: open_run(stored),
            lambda: open_run(stored / "run"),
        ),
        Remedy(
            "name a probe alike in both",
            lambda: checked(tmp_path / "d", stored / "run", probe="val"),
            lambda: checked(tmp_path / "d", stored / "run"),
        ),
        Remedy(
            "kept no graphs of probe {}, and NNLS needs them; run it with keep_graphs='all'",
            lambda: checked(tmp_path / "e", without_graphs(tmp_path / "f")),
            lambda: checked(tmp_path / "e", stored_run(tmp_path / "g", STEPS, keep_graphs="all")),
        ),
        Remedy(
            "expected 'all', 'last' or a number of snapshots, at least 1",
            lambda: stored_run(tmp_path / "i", STEPS, keep_graphs="newest"),
            lambda: stored_run(tmp_path / "i", STEPS, keep_graphs="all"),
            lambda: stored_run(tmp_path / "j", STEPS, keep_graphs="last"),
            lambda: stored_run(tmp_path / "k", STEPS, keep_graphs=1),
        ),
    ):
        remedy.check()


def test_checkpoint_remedies_are_followed(tmp_path):
    network, file = nn.Linear(3, 2), tmp_path / "w.pt"

    def loaded(held, into=None):
        torch.save(held, file)
        return load_checkpoint(into or network, file)

    for remedy in (
        Remedy(
            "expected a state_dict (names to tensors) or a Lightning checkpoint with one under 'state_dict', found {}",
            lambda: loaded({"weights": [1, 2]}),
            lambda: loaded(network.state_dict()),
            lambda: loaded({"state_dict": network.state_dict(), "global_step": 3}),
        ),
        Remedy(
            "Save it with torch.save(model.state_dict(), FILE) where it was trained, and give that file",
            lambda: loaded(network),
            lambda: loaded(network.state_dict()),
        ),
        Remedy(
            "Give the model that was trained",
            lambda: loaded(network.state_dict(), into=nn.Linear(3, 5)),
            lambda: loaded(network.state_dict(), into=nn.Linear(3, 2)),
        ),
    ):
        remedy.check()
