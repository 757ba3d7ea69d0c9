"""What lies in a run's directory beside its files, and what its links point to."""

import os
import shutil
import warnings
from pathlib import Path

import pytest

import rra_monitor as rra
from rra_monitor.page.series import stored_series
from tests.helpers.snapshots import snapshot_of


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored")
    store = rra.RunStore(folder)
    recorder = rra.Recorder(store, sinks=[rra.JSONLSink(store)])
    for step in (0, 5, 9):
        recorder.record({"train": snapshot_of(step), "val": snapshot_of(step, probe="val", labelled=False)})
    return folder


@pytest.fixture
def run(stored, tmp_path):
    return shutil.copytree(stored, tmp_path / "run")


@pytest.fixture
def outside(stored, tmp_path):
    """Another run, and what it held before; nothing of it may be read or changed."""
    return shutil.copytree(stored, tmp_path / "outside")


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def curves_file(run, step=5, probe="train"):
    return run / "snapshots" / probe / f"{step:09d}.curves.safetensors"


def replaced(path, make):
    path.unlink()
    make(path)


KINDS = {
    "a pipe": os.mkfifo,
    "a folder": os.mkdir,
    "/dev/zero": lambda path: os.symlink("/dev/zero", path),
    "symbolic links": lambda path: os.symlink(path.name, path),
    "/nonexistent/x": lambda path: os.symlink("/nonexistent/x", path),
    "no complete file": lambda path: path.write_bytes(b""),
}


class TestRunStoreOddFiles:
    @pytest.mark.parametrize(("words", "make"), KINDS.items(), ids=KINDS)
    def test_store_leaves_out_a_snapshot_that_is_no_file(self, run, words, make):
        replaced(curves_file(run), make)
        with pytest.raises(ValueError, match=f"000000005.curves.safetensors .*{words}"):
            rra.RunStore(run).load("train", 5)
        with pytest.warns(UserWarning, match=words):
            assert [snapshot.step for snapshot in rra.RunStore(run).curves("train")] == [0, 9]
        with pytest.warns(UserWarning, match=words):
            assert [frame.step for frame in stored_series(rra.RunStore(run), "run").frames] == [0, 5, 9]

    @pytest.mark.parametrize(("words", "make"), KINDS.items(), ids=KINDS)
    def test_store_goes_past_graphs_that_are_no_file(self, run, words, make):
        replaced(run / "snapshots" / "train" / "000000005.graphs.safetensors", make)
        with pytest.warns(UserWarning, match=words):
            assert rra.RunStore(run).previous("train", 9).step == 0

    @pytest.mark.parametrize(("words", "make"), list(KINDS.items())[:5], ids=list(KINDS)[:5])
    def test_store_leaves_out_records_that_are_no_file(self, run, words, make):
        replaced(run / "records.jsonl", make)
        with pytest.warns(UserWarning, match=f"records.jsonl.*{words}"):
            assert len(stored_series(rra.RunStore(run), "run").frames) == 3
        if words != "a folder":
            with pytest.raises(ValueError, match=r"records\.jsonl"):
                rra.RunStore(run).write_text("records.jsonl", "{}")

    @pytest.mark.parametrize(("words", "make"), KINDS.items(), ids=KINDS)
    def test_store_refuses_a_sample_that_is_no_file(self, run, words, make):
        for path in (run / "samples").iterdir():
            replaced(path, make)
        with pytest.raises(ValueError, match=words):
            rra.RunStore(run).load("train", 5)

    @pytest.mark.parametrize("name", ["²²", "٣", "7", "5", "-00000001", "9" * 30])
    def test_store_leaves_out_files_named_as_no_step_is(self, run, name):
        shutil.copy(curves_file(run), curves_file(run).with_name(f"{name}.curves.safetensors"))
        store = rra.RunStore(run)
        with pytest.warns(UserWarning, match="is named as no snapshot is") as caught:
            assert store.steps("train") == store.graph_steps("train") == (0, 5, 9)
        assert len(caught) == 1  # not once for each reading
        assert store.probes() == ("train", "val")

    def test_store_leaves_out_what_is_no_probe(self, run):
        (run / "snapshots" / ".DS_Store").write_text("x")
        (run / "snapshots" / "notes").mkdir()
        assert rra.RunStore(run).probes() == ("train", "val")
        os.mkdir(os.fsencode(run / "snapshots") + b"/\xff\xfe")
        with pytest.warns(UserWarning, match="probe is .*left out"):
            assert rra.RunStore(run).probes() == ("train", "val")

    def test_store_has_no_probes_where_the_folder_is_a_file(self, run):
        shutil.rmtree(run / "snapshots")
        (run / "snapshots").write_text("x")
        assert rra.RunStore(run).probes() == ()
        with pytest.raises(ValueError, match="no snapshot that can be read"):
            stored_series(rra.RunStore(run), "run")

    @pytest.mark.parametrize("name", ["a::b", "memory::c", "b[1]", "a*b", "ü 1"])
    def test_store_takes_any_name_of_a_directory(self, tmp_path, name):
        rra.RunStore(tmp_path / name).save(snapshot_of(3))
        assert (tmp_path / name / "snapshots").is_dir()
        assert rra.RunStore(tmp_path / name).load("train", 3).step == 3

    def test_store_reads_file_addresses(self, run):
        assert rra.RunStore(f"file://{run}").steps("train") == (0, 5, 9)


class TestRunStoreLinks:
    """Links that lead out of the run's directory are not followed: nothing there is read, written, moved or removed."""

    def test_store_reads_no_file_outside(self, run, outside):
        replaced(curves_file(run), lambda path: path.symlink_to(curves_file(outside)))
        with pytest.raises(ValueError, match=r"leads to .*outside the run's directory"):
            rra.RunStore(run).load("train", 5)

    def test_store_reads_no_folder_outside(self, run, outside):
        shutil.rmtree(run / "snapshots" / "val")
        (run / "snapshots" / "val").symlink_to(outside / "snapshots" / "val")
        with pytest.warns(UserWarning, match=r"leads to .*left out"):
            assert rra.RunStore(run).probes() == ("train",)
        for act in ("steps", "graph_steps", "curves", "epochs"):
            with pytest.raises(ValueError, match="outside the run's directory"):
                getattr(rra.RunStore(run), act)("val")

    def test_store_writes_and_prunes_no_folder_outside(self, run, outside):
        shutil.rmtree(run / "snapshots" / "val")
        (run / "snapshots" / "val").symlink_to(outside / "snapshots" / "val")
        before = contents(outside)
        store = rra.RunStore(run, keep_graphs="last")
        with pytest.raises(ValueError, match="outside the run's directory"):
            store.save(snapshot_of(20, probe="val"))
        store.save(snapshot_of(20))
        assert store.graph_steps("train") == (20,)
        assert contents(outside) == before

    def test_store_writes_no_sample_outside(self, run, outside):
        shutil.rmtree(run / "samples")
        (run / "samples").symlink_to(outside / "samples")
        before = contents(outside)
        with pytest.raises(ValueError, match="outside the run's directory"):
            rra.RunStore(run).save(snapshot_of(20, n=31))
        assert contents(outside) == before

    def test_store_moves_nothing_outside(self, run, outside):
        (run / "set-aside").symlink_to(outside)
        before, mine = contents(outside), contents(run / "snapshots")
        with pytest.raises(ValueError, match=r"set-aside.* leads to .*outside the run's directory"):
            rra.RunStore(run).set_aside(5)
        assert contents(outside) == before
        assert contents(run / "snapshots") == mine

    def test_store_appends_to_no_file_outside(self, run, outside):
        replaced(run / "records.jsonl", lambda path: path.symlink_to(outside / "records.jsonl"))
        before = contents(outside)
        store = rra.RunStore(run)
        recorder = rra.Recorder(store, sinks=[rra.JSONLSink(store)], resume_step=9)
        val = snapshot_of(20, probe="val", labelled=False)
        with pytest.warns(UserWarning, match="JSONLSink failed.*outside the run's directory"):
            recorder.record({"train": snapshot_of(20), "val": val})
        assert contents(outside) == before
        assert store.steps("train") == (0, 5, 9, 20)

    def test_store_replaces_a_link_and_not_what_it_points_to(self, run, outside):
        replaced(curves_file(run), lambda path: path.symlink_to(curves_file(outside)))
        before = contents(outside)
        rra.RunStore(run).save(snapshot_of(5, seed=3))
        assert contents(outside) == before
        assert rra.RunStore(run).load("train", 5).step == 5

    @pytest.mark.parametrize("name", ["../outside/records.jsonl", "/etc/passwd", "..", "a/b"])
    def test_store_takes_no_path_for_the_name_of_a_text(self, run, outside, name):
        before = contents(outside)
        for act in (lambda store: store.write_text(name, "x"), lambda store: store.read_text(name)):
            with pytest.raises(ValueError, match="is a path"):
                act(rra.RunStore(run))
        assert contents(outside) == before

    def test_store_follows_links_within_the_run_and_one_to_it(self, run, tmp_path):
        (run / "snapshots" / "train").rename(run / "train on a large disk")
        (run / "snapshots" / "train").symlink_to(Path("..") / "train on a large disk")
        (tmp_path / "link").symlink_to(run)
        store = rra.RunStore(tmp_path / "link", keep_graphs="last")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            store.save(snapshot_of(20))
        assert store.steps("train") == (0, 5, 9, 20)
        assert store.load("train", 20).step == 20
