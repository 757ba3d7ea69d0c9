import sqlite3
import threading
import time
import warnings

import pytest

import rra_monitor as rra
from rra_monitor.runs import recorder as recorder_module
from rra_monitor.runs import sinks as sinks_module
from rra_monitor.runs.sinks import FanOut
from tests.helpers.snapshots import snapshot_of


class Collected:
    def __init__(self):
        self.records = []

    def write(self, record):
        self.records.append(record)


class Hanging(Collected):
    """Hangs in the first call until it is released."""

    def __init__(self):
        super().__init__()
        self.release = threading.Event()

    def write(self, record):
        self.release.wait()
        super().write(record)


def returned(threads):
    deadline = time.monotonic() + 10
    while any(thread.hangs for thread in threads) and time.monotonic() < deadline:
        time.sleep(0.001)


def test_fan_out_reports_a_failing_sink_once_and_goes_on_with_the_others():
    class Broken:
        def write(self, record):
            raise OSError("disk full")

    collected = Collected()
    sinks = FanOut([Broken(), collected])
    with pytest.warns(UserWarning, match="Broken failed .*disk full"):
        sinks.write("first")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sinks.write("second")
    assert collected.records == ["first", "second"]


def test_a_sink_that_hangs_is_left_out_until_it_returns(monkeypatch):
    monkeypatch.setattr(sinks_module, "SINK_SECONDS", 0.05)
    hanging, collected = Hanging(), Collected()
    sinks = FanOut([hanging, collected])
    with pytest.warns(UserWarning, match=r"Hanging has not returned within 0\.05 s and is left out until it does"):
        sinks.write("first")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sinks.write("second")
        sinks.close()
        hanging.release.set()
        returned(sinks._threads)
        sinks.write("third")
    assert hanging.records == ["first", "third"]
    assert collected.records == ["first", "second", "third"]


def test_a_close_that_hangs_ends_in_time(monkeypatch):
    class Closing(Collected):
        def close(self):
            threading.Event().wait()

    monkeypatch.setattr(sinks_module, "SINK_SECONDS", 0.05)
    with pytest.warns(UserWarning, match="Closing has not returned within"):
        FanOut([Closing()]).close()


def test_a_sink_that_needs_the_thread_that_made_it_is_called_there():
    class Database:
        def __init__(self):
            self.connection = sqlite3.connect(":memory:")
            self.connection.execute("create table steps (step)")

        def write(self, record):
            self.connection.execute("insert into steps values (?)", (record,))

    database = Database()
    sinks = FanOut([database])
    with pytest.warns(UserWarning, match="Database is called without a bound on its time, since it needs its own th"):
        sinks.write(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sinks.write(2)
    assert [step for (step,) in database.connection.execute("select step from steps")] == [1, 2]


def test_a_disk_that_hangs_costs_the_storing_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder_module, "STORE_SECONDS", 0.5)
    store, collected, release = rra.RunStore(tmp_path / "run"), Collected(), threading.Event()
    recorder = rra.Recorder(store, sinks=[collected])
    recorder.record({"train": snapshot_of(0)})
    save = store.save
    monkeypatch.setattr(store, "save", lambda *saved: (release.wait(), save(*saved)))
    with pytest.warns(UserWarning, match=r"run did not answer within 0\.5 s; until it does nothing is stored"):
        recorder.record({"train": snapshot_of(1)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        record = recorder.record({"train": snapshot_of(2)})
        release.set()
        returned([recorder._storing])
        recorder.record({"train": snapshot_of(3)})
        recorder.close()
    assert record.matches["train"]["prev"].step == 1
    assert [record.step for record in collected.records] == [0, 1, 2, 3]
    assert store.steps("train") == (0, 1, 3)
