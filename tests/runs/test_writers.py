"""Several writers, readers and pruning on one store, and what a killed writer leaves behind."""

import dataclasses
import os
import shutil
import signal
import threading
import warnings
from pathlib import Path

import pytest

import rra_monitor as rra
from tests.helpers.snapshots import assert_equal, snapshot_of


def leftovers(folder):
    return sorted(folder.rglob("*.tmp"))


@pytest.fixture
def killed(monkeypatch):
    """Save a snapshot with a writer that is killed when it has renamed so many of its two files, and runs no more."""

    def save(store, snapshot, renames):
        with monkeypatch.context() as patch:
            replace, done = os.replace, []

            def stop(source, target):
                if "snapshots" in str(target):
                    if len(done) == renames:
                        raise KeyboardInterrupt
                    done.append(target)
                replace(source, target)

            patch.setattr(os, "replace", stop)
            patch.setattr(os, "remove", lambda path: None)  # a kill leaves what an interruption cleans up
            with pytest.raises(KeyboardInterrupt):
                store.save(snapshot)
        assert len(done) == renames

    return save


class TestRunStoreKilledWriter:
    def test_a_new_snapshot_is_there_whole_or_not_at_all(self, tmp_path, killed):
        store = rra.RunStore(tmp_path)
        store.save(snapshot_of(1))
        killed(store, snapshot_of(2), renames=1)
        assert store.steps("train") == store.graph_steps("train") == (1,)
        assert leftovers(tmp_path)

    @pytest.mark.parametrize("renames", [0, 1])
    def test_readers_meet_one_of_two_whole_snapshots_and_change_nothing(self, tmp_path, killed, renames):
        rra.RunStore(tmp_path).save(snapshot_of(1))
        newer = snapshot_of(1, seed=7)
        killed(rra.RunStore(tmp_path), newer, renames)
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        assert_equal(newer if renames else snapshot_of(1), rra.RunStore(tmp_path).load("train", 1))
        assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    @pytest.mark.parametrize("renames", [0, 1])
    def test_the_next_writer_mends_what_a_killed_one_left(self, tmp_path, killed, renames):
        rra.RunStore(tmp_path).save(snapshot_of(1))
        newer = snapshot_of(1, seed=7)
        killed(rra.RunStore(tmp_path), newer, renames)
        (tmp_path / "samples" / f"{'0' * 16}.safetensors.{'0' * 32}.tmp").write_bytes(b"cut off")
        assert len(leftovers(tmp_path)) >= 2
        rra.RunStore(tmp_path).save(snapshot_of(2))
        assert leftovers(tmp_path) == []
        assert_equal(newer if renames else snapshot_of(1), rra.RunStore(tmp_path).load("train", 1))
        assert rra.RunStore(tmp_path).graph_steps("train") == (1, 2)

    @pytest.mark.parametrize("renames", [0, 1])
    def test_an_interruption_leaves_what_readers_need(self, tmp_path, monkeypatch, renames):
        rra.RunStore(tmp_path).save(snapshot_of(1))
        store, newer, replace = rra.RunStore(tmp_path), snapshot_of(1, seed=7), os.replace
        kinds = ["graphs", "curves"]

        def interrupted(source, target):
            if kinds[renames] in str(target):
                raise KeyboardInterrupt
            replace(source, target)

        monkeypatch.setattr(os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.save(newer)
        assert len(leftovers(tmp_path)) == renames
        assert_equal(newer if renames else snapshot_of(1), rra.RunStore(tmp_path).load("train", 1))

    def test_a_file_of_somebody_else_is_no_leftover(self, tmp_path):
        rra.RunStore(tmp_path).save(snapshot_of(1))
        other = tmp_path / "snapshots" / "train" / "notes.tmp"
        other.write_text("mine")
        rra.RunStore(tmp_path).save(snapshot_of(2))
        assert other.read_text() == "mine"


class TestRunStoreAtOnce:
    def test_a_reader_between_the_two_renames_of_a_live_writer_meets_a_whole_snapshot(self, tmp_path, monkeypatch):
        store, newer = rra.RunStore(tmp_path), snapshot_of(1, seed=7)
        store.save(snapshot_of(1))
        replace, seen = os.replace, []

        def watched(source, target):
            replace(source, target)
            seen.append((Path(target).name.split(".")[1], rra.RunStore(tmp_path).load("train", 1)))

        monkeypatch.setattr(os, "replace", watched)
        store.save(newer)
        assert [kind for kind, _ in seen] == ["graphs", "curves"]
        for _, found in seen:
            assert_equal(newer, found)

    def test_graphs_that_are_removed_while_they_are_read_leave_a_snapshot_without(self, tmp_path, monkeypatch):
        store = rra.RunStore(tmp_path)
        store.save(snapshot_of(1))
        (graphs,) = tmp_path.rglob("*.graphs.safetensors")
        opened = os.open

        def late(path, *args, **kwargs):
            if Path(path) == graphs:
                graphs.unlink(missing_ok=True)
            return opened(path, *args, **kwargs)

        monkeypatch.setattr(os, "open", late)
        assert store.load("train", 1).graphs == {}
        monkeypatch.undo()
        assert store.previous("train", 5) is None

    @pytest.mark.parametrize("keep", ["all", 2])
    def test_writers_and_readers_at_once_raise_nothing_and_leave_whole_snapshots(self, tmp_path, keep):
        snapshots = [snapshot_of(step) for step in range(4)]
        failed, stop = [], threading.Event()

        def write(seed):
            store = rra.RunStore(tmp_path, keep_graphs=keep)
            try:
                for count in range(30):
                    step = (7 * count + seed) % 4
                    store.save(dataclasses.replace(snapshots[step], epoch=count))
                    store.write_text("records.jsonl", f'{{"step": {step}, "x": "{"y" * 20_000}"}}\n')
            except Exception as error:
                failed.append(error)

        def read():
            while not stop.is_set():
                store = rra.RunStore(tmp_path)
                try:
                    with warnings.catch_warnings():
                        warnings.simplefilter("error")
                        for snapshot in store.curves("train"):
                            found = store.load("train", snapshot.step)
                            assert set(found.graphs) in (set(found.layers), set())
                        store.previous("train", 99)
                except Exception as error:
                    failed.append(error)

        writers = [threading.Thread(target=write, args=(seed,)) for seed in (0, 1)]
        reader = threading.Thread(target=read)
        for thread in (*writers, reader):
            thread.start()
        for thread in writers:
            thread.join()
        stop.set()
        reader.join()
        assert failed == []
        assert leftovers(tmp_path) == []
        store = rra.RunStore(tmp_path)
        for step in store.steps("train"):
            assert store.load("train", step).step == step
        rra.RunStore(tmp_path, keep_graphs=keep).save(snapshot_of(9))
        assert store.graph_steps("train") == ((0, 1, 2, 3, 9) if keep == "all" else (3, 9))
        lines = (tmp_path / "records.jsonl").read_text().splitlines()
        assert len(lines) == 60
        assert {line.count('"step"') for line in lines} == {1}

    def test_a_process_that_was_forked_while_a_writer_wrote_keeps_no_other_out(self, tmp_path, monkeypatch):
        store, replace, children = rra.RunStore(tmp_path), os.replace, []
        store.save(snapshot_of(1))

        def forking(source, target):
            if not children:
                children.append(os.fork())
                if children == [0]:
                    signal.pause()  # holds the files that were open, as workers of a data loader do
            replace(source, target)

        monkeypatch.setattr(os, "replace", forking)
        try:
            store.save(snapshot_of(2))
            with rra.RunStore(tmp_path)._files.locked("snapshots", "train") as alone:
                assert alone
        finally:
            os.kill(children[0], signal.SIGKILL)
            os.waitpid(children[0], 0)

    def test_a_folder_that_is_deleted_while_it_is_written_to_is_made_again(self, tmp_path, monkeypatch):
        store, opened = rra.RunStore(tmp_path), os.open
        store.save(snapshot_of(1))
        removed = []

        def late(path, *args, **kwargs):
            if str(path).endswith(".tmp") and "graphs" in str(path) and not removed:
                removed.append(shutil.rmtree(tmp_path / "snapshots"))
            return opened(path, *args, **kwargs)

        monkeypatch.setattr(os, "open", late)
        store.save(snapshot_of(2))
        assert removed
        assert_equal(snapshot_of(2), store.load("train", 2))


class TestRunStoreCost:
    @pytest.mark.parametrize("keep", ["all", 3])
    def test_the_folder_is_not_listed_for_each_snapshot(self, tmp_path, monkeypatch, keep):
        listed, plain = [], os.listdir
        monkeypatch.setattr(os, "listdir", lambda path: listed.append(path) or plain(path))
        store = rra.RunStore(tmp_path, keep_graphs=keep)
        snapshot = snapshot_of(0)
        for step in range(40):
            store.save(dataclasses.replace(snapshot, step=step))
        assert 0 < len(listed) <= 4
        assert len(store.graph_steps("train")) == (40 if keep == "all" else 3)

    def test_graphs_that_another_writer_stored_are_pruned_too(self, tmp_path):
        one, other = rra.RunStore(tmp_path, keep_graphs=2), rra.RunStore(tmp_path)
        for step in range(10):
            (other if step % 2 else one).save(snapshot_of(step))
        one.save(snapshot_of(10))
        assert one.graph_steps("train") == (9, 10)
