"""Which directory a run gets: its own from before, or a new one beside that of somebody else."""

import errno
import json
import os
import subprocess
import sys
import threading
import time
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

import rra_monitor as rra
from rra_monitor.measure.settings import ESTIMATORS
from rra_monitor.runs import claim as claim_module
from rra_monitor.runs.claim import CLAIM, configuration
from rra_monitor.runs.local import _LocalFiles
from tests.helpers import ROOT
from tests.helpers.snapshots import assert_equal, snapshot_of

DEAD = 2**22 + 1
"""No process has it: it is above the largest number."""


NOT_STORED = "step 0 of probe 'train' is not stored"


def lines(folder):
    return [json.loads(line)["step"] for line in (folder / "records.jsonl").read_text().splitlines()]


def train(path, steps, resume_step=None, finished=False, **options):
    """A plain loop, which is killed unless it finishes; returns its store and its warnings."""
    store = rra.RunStore(path)
    recorder = rra.Recorder(store, sinks=[rra.JSONLSink(store)], resume_step=resume_step)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in steps:
            recorder.record({"train": snapshot_of(step, **options)})
    if finished:
        recorder.close()
    else:
        recorder._end.detach()
        store.release(finished=False)
        rewrite(Path(store.path), state="running", process=DEAD)
    return store, [str(one.message) for one in caught]


def rewrite(folder, **changed):
    """Change what a claim says."""
    file = folder / CLAIM
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))


class TestOneRule:
    def test_an_unfinished_run_that_starts_anew_goes_on_in_its_directory(self, tmp_path):
        run = tmp_path / "run"
        for attempt in range(10):
            store, said = train(run, (0, 5))
            assert store.path == str(run)
            assert store.steps("train") == (0, 5)
            assert lines(run) == [0, 5]
            assert len(said) == (attempt > 0)
        assert "holds an unfinished run, which starts anew; its 2 snapshots are in" in said[0]
        aside = [rra.RunStore(run / "set-aside" / str(number)) for number in range(1, 10)]
        assert all(store.steps("train") == (0, 5) for store in aside)
        assert_equal(snapshot_of(5), aside[8].load("train", 5))
        assert lines(run / "set-aside" / "9") == [0, 5]

    def test_a_resumed_run_keeps_what_lies_before_its_checkpoint(self, tmp_path):
        train(tmp_path, (0, 5, 9))
        store, said = train(tmp_path, (5, 9, 12), resume_step=5)
        assert said == []
        assert store.path == str(tmp_path)
        assert store.steps("train") == (0, 5, 9, 12)
        assert lines(tmp_path) == [0, 5, 9, 12]
        assert lines(tmp_path / "set-aside" / "1") == [9]

    def test_a_finished_run_is_left_alone(self, tmp_path):
        run = tmp_path / "run"
        train(run, (0, 5), finished=True)
        before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
        store, said = train(run, (0, 5), finished=True)
        assert store.path == f"{run}-1"
        assert lines(tmp_path / "run-1") == [0, 5]
        assert said == [f"{run} is left alone: it holds a run that is finished; this run is stored in {run}-1"]
        assert train(run, (0,))[0].path == f"{run}-2"
        assert train(run, (0,))[0].path == f"{run}-2"
        assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before

    def test_a_finished_run_that_is_trained_further_goes_on(self, tmp_path):
        train(tmp_path, (0, 5), finished=True)
        store, _ = train(tmp_path, (9,), resume_step=5, finished=True)
        assert (store.path, store.steps("train")) == (str(tmp_path), (0, 5, 9))

    @pytest.mark.parametrize("resume_step", [None, 5])
    @pytest.mark.parametrize(
        "other", [{"n": 31}, {"k": 5}, {"layers": ("input", "fc")}, {"labelled": False}, {"probe": "train"}]
    )
    def test_a_run_of_another_configuration_is_left_alone(self, tmp_path, other, resume_step):
        run = tmp_path / "run"
        train(run, (0, 5))
        store, said = train(run, (9,), resume_step, **other)
        assert store.path == (f"{run}" if other == {"probe": "train"} else f"{run}-1")
        assert ("of another configuration" in "".join(said)) == (store.path != f"{run}")

    def test_another_estimator_is_another_configuration(self):
        settings = snapshot_of(0).settings
        marks = {configuration({"p": replace(settings, estimator=each)}, ["fc"], ["id"]) for each in ESTIMATORS}
        assert len(marks) == 3

    def test_a_directory_with_nothing_but_a_dead_claim_is_taken(self, tmp_path):
        train(tmp_path, (0,))
        for path in tmp_path.iterdir():
            if path.name != CLAIM:
                os.rename(path, tmp_path.parent / f"{tmp_path.name}-{path.name}")
        assert train(tmp_path, (0,), n=31)[0].path == str(tmp_path)

    def test_a_run_from_before_claims_is_left_alone_but_for_one_that_resumes(self, tmp_path):
        run = tmp_path / "run"
        rra.RunStore(run).save(snapshot_of(0))
        assert train(run, (0,))[0].path == f"{run}-1"
        store, _ = train(run, (5,), resume_step=3)
        assert (store.path, store.steps("train")) == (f"{run}", (0, 5))

    def test_a_token_of_another_run_goes_elsewhere(self, tmp_path):
        run = tmp_path / "run"
        train(run, (0, 5))
        mine = configuration({"train": snapshot_of(0).settings}, snapshot_of(0).layers, ["id"])
        rewrite(run, configuration=mine)
        token = json.loads((run / CLAIM).read_text())["token"]
        other = rra.RunStore(run)
        assert other.claim(mine, resume_step=5, token="another").path == f"{run}-1"
        again = rra.RunStore(run).claim(mine, resume_step=5, token=token)
        assert (again.path, again.token, again.remarks) == (f"{run}", token, [])

    def test_a_store_that_moved_is_followed_by_its_sinks(self, tmp_path):
        run = tmp_path / "run"
        train(run, (0,), finished=True)
        store = rra.RunStore(run)
        sink = rra.JSONLSink(store)
        with pytest.warns(UserWarning, match="this run is stored in"):
            rra.Recorder(store, sinks=[sink]).record({"train": snapshot_of(7)})
        assert lines(tmp_path / "run-1") == [7]
        assert lines(run) == [0]


class TestLivingProcesses:
    def test_a_run_of_a_living_process_is_left_alone_until_it_ends(self, tmp_path):
        run = tmp_path / "run"
        train(run, (0,))
        with subprocess.Popen(["sleep", "60"]) as process:
            rewrite(run, process=process.pid, started=claim_module._started(process.pid))
            store, said = train(run, (0,))
            assert store.path == f"{run}-1"
            assert f"process {process.pid} on " in said[0]
            rewrite(run, started="1")  # its number was given to another process
            assert train(run, (0,))[0].path == f"{run}"
            rewrite(run, process=process.pid, started=claim_module._started(process.pid))
            process.kill()
            deadline = time.monotonic() + 10
            while claim_module._started(process.pid) is not None and time.monotonic() < deadline:
                time.sleep(0.01)
            # It is a zombie now, as where nobody waits for a killed job.
            assert train(run, (0,))[0].path == f"{run}"

    def test_two_stores_of_one_process_have_two_directories_until_one_is_released(self, tmp_path):
        run = tmp_path / "run"
        stores = [rra.RunStore(run) for _ in range(3)]
        paths = [store.claim("c").path for store in stores[:2]]
        assert paths == [f"{run}", f"{run}-1"]
        stores[0].release(finished=False)
        assert stores[2].claim("c").path == f"{run}"

    @pytest.mark.parametrize(("minutes", "taken"), [(50, False), (70, True)])
    def test_a_process_of_another_machine_counts_as_living_for_an_hour(self, tmp_path, minutes, taken):
        run = tmp_path / "run"
        train(run, (0,))
        rewrite(run, host="elsewhere")
        then = time.time() - 60 * minutes
        os.utime(run / CLAIM, (then, then))
        assert (train(run, (0,))[0].path == f"{run}") == taken

    def test_a_checkpoint_of_another_machine_is_resumed_at_once(self, tmp_path):
        run = tmp_path / "run"
        store = rra.RunStore(run)
        token = store.claim("c").token
        store.save(snapshot_of(5))
        store.release(finished=False)
        rewrite(run, host="elsewhere", state="running")
        assert rra.RunStore(run).claim("c", resume_step=5).path == f"{run}-1"
        assert rra.RunStore(run).claim("c", resume_step=5, token=token).path == f"{run}"

    def test_a_snapshot_says_that_the_claim_is_in_use(self, tmp_path):
        store = rra.RunStore(tmp_path)
        store.claim("c")
        os.utime(tmp_path / CLAIM, (1, 1))
        store.save(snapshot_of(0))
        assert time.time() - os.stat(tmp_path / CLAIM).st_mtime < 60

    @pytest.mark.parametrize("lockable", [True, False])
    def test_of_many_that_claim_at_once_each_has_a_directory(self, tmp_path, monkeypatch, lockable):
        if not lockable:
            monkeypatch.setattr("rra_monitor.runs.local._lock", lambda *_: False)
        run, stores = tmp_path / "run", [rra.RunStore(tmp_path / "run") for _ in range(8)]
        barrier = threading.Barrier(len(stores))

        def start(store):
            barrier.wait()
            store.claim("c")

        threads = [threading.Thread(target=start, args=(store,)) for store in stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(store.path for store in stores) == [f"{run}", *(f"{run}-{number}" for number in range(1, 8))]
        assert not list(tmp_path.rglob("*.lock"))


AT_ONCE = """
import sys, time
from pathlib import Path
from tests.helpers.snapshots import snapshot_of
import rra_monitor as rra

def together(what):  # both live while both write
    Path(sys.argv[1], what + sys.argv[2]).touch()
    while len(list(Path(sys.argv[1]).glob(what + "*"))) < 2:
        time.sleep(0.001)

store = rra.RunStore(sys.argv[1] + "/run")
recorder = rra.Recorder(store, sinks=[rra.JSONLSink(store)])
snapshots = [snapshot_of(step) for step in (0, 5, 9)]
together("ready")
for snapshot in snapshots:
    recorder.record({"train": snapshot})
together("done")
recorder.close()
"""


def test_two_processes_that_record_at_once_have_two_directories(tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", AT_ONCE, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    processes = [subprocess.Popen([*command, name], env=environment) for name in ("a", "b")]
    try:
        assert [process.wait(timeout=60) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    assert lines(tmp_path / "run") == lines(tmp_path / "run-1") == [0, 5, 9]


class TestEndOfARecorder:
    CODE = (
        "import sys; from tests.helpers.snapshots import snapshot_of; import rra_monitor as rra\n"
        "recorder = rra.Recorder(rra.RunStore(sys.argv[1])); recorder.record({'train': snapshot_of(0)})\n"
    )

    @pytest.mark.parametrize(("end", "state"), [("", "finished"), ("1 / 0", "interrupted")])
    def test_a_recorder_that_nobody_closed_has_finished_unless_an_error_ended_the_process(self, tmp_path, end, state):
        command = [sys.executable, "-c", self.CODE + end, str(tmp_path)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert json.loads((tmp_path / CLAIM).read_text())["state"] == state, done.stderr


DAMAGED = {
    "empty": b"",
    "cut off": b'{"host": "a',
    "no object": b"[]",
    "nested": b"[" * 9_000,
    "large": b" " * 20_000,
    "process, a text": json.dumps({"process": "1"}).encode(),
    "host, an escape": b'{"host": "\\u001b[2J", "process": 1}',
}


class TestFaults:
    @pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
    def test_a_damaged_claim_counts_as_none(self, tmp_path, data):
        run = tmp_path / "run"
        train(run, (0,))
        (run / CLAIM).write_bytes(data)
        store, said = train(run, (5,), resume_step=3)
        assert (store.path, store.steps("train")) == (f"{run}", (0, 5))
        assert "is damaged, or another program wrote it" in said[0]
        (run / CLAIM).write_bytes(data)
        assert train(run, (0,))[0].path == f"{run}-1"

    def test_a_directory_that_cannot_be_written_to_costs_the_storing_alone(self):
        store, seen = rra.RunStore("/proc/no/such/run"), []

        class Sink:
            def write(self, record):
                seen.append(record.step)

        recorder = rra.Recorder(store, sinks=[rra.JSONLSink(store), Sink()])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for step in (0, 5):
                recorder.record({"train": snapshot_of(step)})
            recorder.close()
        (warning,) = caught
        assert "/proc/no/such/run cannot be written to, and nothing is stored: " in str(warning.message)
        assert seen == [0, 5]
        assert recorder.record({"train": snapshot_of(9)}).matches["train"]["prev"].step == 5

    def test_a_recorder_takes_over_the_claim_of_a_host_or_its_failure(self, tmp_path):
        run = tmp_path / "run"
        for place in (run, "/proc/no/such/run"):
            store = rra.RunStore(place)
            said = store.claim("of a host").remarks
            recorder = rra.Recorder(store, sinks=[rra.JSONLSink(store)])
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                recorder.record({"train": snapshot_of(0)})
                recorder.close()
            assert (len(said), store.writable) == ((0, True) if place == run else (1, False))
        found = json.loads((run / CLAIM).read_text())
        assert (found["configuration"], found["state"]) == ("of a host", "running")

    def test_a_disk_that_is_full_at_the_start_is_written_to_once_it_has_room(self, tmp_path, monkeypatch):
        store, write = rra.RunStore(tmp_path / "run"), _LocalFiles._write

        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        recorder = rra.Recorder(store, sinks=[rra.JSONLSink(store)])
        monkeypatch.setattr(_LocalFiles, "_write", full)
        with pytest.warns(UserWarning, match="No space left") as caught:
            recorder.record({"train": snapshot_of(0)})
        assert [str(one.message).partition(": ")[0] for one in caught] == [str(tmp_path / "run"), NOT_STORED]
        monkeypatch.setattr(_LocalFiles, "_write", write)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            recorder.record({"train": snapshot_of(5)})
        assert store.steps("train") == (5,)
        assert lines(tmp_path / "run") == [0, 5]
        assert json.loads((tmp_path / "run" / CLAIM).read_text())["state"] == "running"

    def test_a_directory_that_is_deleted_during_a_run_costs_what_it_held(self, tmp_path):
        run = tmp_path / "run"
        store = rra.RunStore(run)
        recorder = rra.Recorder(store, sinks=[rra.JSONLSink(store)])
        recorder.record({"train": snapshot_of(0)})
        run.rename(tmp_path / "gone")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            recorder.record({"train": snapshot_of(5)})
        assert_equal(snapshot_of(5), rra.RunStore(run).load("train", 5))
        assert lines(run) == [5]
        recorder.close()
        assert json.loads((run / CLAIM).read_text())["state"] == "finished"

    def test_a_link_out_of_the_directory_sends_the_run_elsewhere(self, tmp_path):
        run = tmp_path / "run"
        train(run, (0,))
        (tmp_path / "outside").mkdir()
        (run / "set-aside").symlink_to(tmp_path / "outside")
        store, said = train(run, (0,))
        assert store.path == f"{run}-1"
        assert "outside the run's directory" in said[0]
        assert not list((tmp_path / "outside").iterdir())


class TestPlaces:
    @pytest.mark.parametrize("named", ["run/", "./run", "../{}/run", "memory://{}/run/"])
    def test_the_directory_beside_has_a_number(self, tmp_path, monkeypatch, named):
        monkeypatch.chdir(tmp_path)
        named = named.format(tmp_path.name)
        for expected in ("run", "run-1", "run-2"):
            store = rra.RunStore(named)
            store.claim("c")
            store.save(snapshot_of(0))
            store.release(finished=True)
            assert Path(store.path.rstrip("/")).name == expected
            assert store.steps("train") == (0,)

    def test_the_working_directory_itself(self, tmp_path, monkeypatch):
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        paths = []
        for _ in range(2):
            store = rra.RunStore(".")
            store.claim("c")
            store.save(snapshot_of(0))
            store.release(finished=True)
            paths.append(store.path)
        assert paths == [".", str(tmp_path / "here-1")]
