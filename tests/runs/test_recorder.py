import dataclasses
import itertools
import json
import math
import warnings

import numpy as np
import pytest

import rra_monitor as rra
import rra_monitor.runs.recorder as recorder_module
from rra_monitor.measure.schedule import Schedule
from rra_monitor.runs.record import summaries
from tests.helpers.snapshots import snapshot_of, stored_run


class Collected:
    def __init__(self):
        self.records = []

    def write(self, record):
        self.records.append(record)


def nnls_by_hand(a, b, layer_a, layer_b):
    pairs = zip(a.graphs[layer_a].indices, b.graphs[layer_b].indices, strict=True)
    return np.mean([len(set(x) & set(y)) / len(set(x) | set(y)) for x, y in pairs])


class TestFindings:
    def test_a_record_says_what_its_curves_show_and_what_developed(self, tmp_path):
        store = rra.RunStore(tmp_path)
        recorder = rra.Recorder(store, sinks=[rra.JSONLSink(store)])
        once = snapshot_of(0, n=200)
        layers = ("input", "a/b c", "fc")
        alike = dataclasses.replace(once, graphs=dict.fromkeys(layers, once.graphs["fc"])).changed(nnls=np.ones((3, 3)))
        records = [recorder.record({"train": alike}), recorder.record({"train": snapshot_of(1, n=200)})]
        assert {found.kind for found in records[0].findings} == {"redundant_layers"}
        assert {found.kind for found in records[1].findings} == {"unsettled"}
        lines = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
        assert lines[0]["findings"][0]["sentence"] == records[0].findings[0].sentence

    def test_an_error_in_findings_costs_the_findings_alone(self, monkeypatch):
        def broken(*_):
            raise RuntimeError("out of luck")

        monkeypatch.setattr(recorder_module, "findings", broken)
        with pytest.warns(UserWarning, match=r"no findings.*: RuntimeError"):
            record = rra.Recorder(None).record({"train": snapshot_of(0)})
        assert record.findings == ()
        assert set(record.snapshots) == {"train"}


class TestPrevious:
    def test_previous_is_the_snapshot_before_and_the_first_has_none(self, tmp_path):
        recorder = rra.Recorder(rra.RunStore(tmp_path))
        records = [recorder.record({"train": snapshot_of(step)}) for step in (0, 10, 20)]
        assert records[0].matches["train"] == {}
        match = records[2].matches["train"]["prev"]
        assert (match.step, match.epoch) == (10, 10)
        assert match.nnls[0, 2] == pytest.approx(nnls_by_hand(snapshot_of(20), snapshot_of(10), "input", "fc"))

    def test_previous_is_read_from_disk_after_a_resume(self, tmp_path):
        rra.Recorder(rra.RunStore(tmp_path)).record({"train": snapshot_of(10)})
        record = rra.Recorder(rra.RunStore(tmp_path), resume_step=10).record({"train": snapshot_of(20)})
        assert record.matches["train"]["prev"].step == 10

    def test_measuring_a_step_again_compares_with_a_smaller_step(self, tmp_path):
        recorder = rra.Recorder(rra.RunStore(tmp_path))
        for step in (10, 20, 20):
            record = recorder.record({"train": snapshot_of(step)})
        assert record.matches["train"]["prev"].step == 10

    def test_comparisons_are_stored(self, tmp_path):
        recorder = rra.Recorder(rra.RunStore(tmp_path))
        for step in (10, 20):
            record = recorder.record({"train": snapshot_of(step)})
        stored = rra.RunStore(tmp_path).matches("train", 20)["prev"]
        np.testing.assert_array_equal(stored.nnls, record.matches["train"]["prev"].nnls)

    def test_previous_is_remembered_without_a_store(self):
        recorder = rra.Recorder(None)
        recorder.record({"train": snapshot_of(0)})
        assert recorder.record({"train": snapshot_of(1)}).matches["train"]["prev"].step == 0

    def test_previous_that_is_not_comparable_is_left_out_with_a_warning(self, tmp_path):
        rra.RunStore(tmp_path).save(snapshot_of(0, k=5))
        with pytest.warns(UserWarning, match="k=4 here, k=5 there"):
            record = rra.Recorder(rra.RunStore(tmp_path), resume_step=1).record({"train": snapshot_of(1)})
        assert record.matches["train"] == {}


class TestCost:
    def test_seconds_include_the_measurement(self, monkeypatch):
        clock = itertools.count(100)
        monkeypatch.setattr(recorder_module.time, "perf_counter", lambda: next(clock))
        # The snapshot says that it took 1.25 s; keeping and comparing it takes one turn of the clock.
        assert rra.Recorder(None).record({"train": snapshot_of(0)}).seconds == pytest.approx(2.25)

    def test_overhead_is_the_monitors_share_of_the_time(self, monkeypatch):
        clock = [100.0]
        monkeypatch.setattr(recorder_module.time, "perf_counter", lambda: clock[0])
        recorder = rra.Recorder(None)
        clock[0] += 10
        # Each snapshot says that it took 1.25 s.
        assert recorder.record({"train": snapshot_of(0)}).overhead == pytest.approx(0.125)
        clock[0] += 10
        assert recorder.record({"train": snapshot_of(1)}).overhead == pytest.approx(2.5 / 20)

    def test_a_schedule_tells_the_share_of_all_that_was_spent_and_its_interval(self, tmp_path):
        now = 0.0
        schedule = Schedule(max_overhead=0.1, interval=4, clock=lambda: now)
        with schedule.spending():  # before the recorder is there
            now = 2.0
        store = rra.RunStore(tmp_path)
        recorder = rra.Recorder(store, sinks=[rra.JSONLSink(store)], schedule=schedule)
        now = 8.0
        assert recorder.record({"train": snapshot_of(0)}).overhead == 0.25
        (line,) = (tmp_path / "records.jsonl").read_text().splitlines()
        assert (json.loads(line)["overhead"], json.loads(line)["interval"]) == (0.25, 4)


class TestFaults:
    """What is broken elsewhere must not cost this run its own values."""

    def test_an_unreadable_previous_snapshot_is_passed_over(self, tmp_path):
        store = rra.RunStore(tmp_path)
        store.save(snapshot_of(0))
        store.save(snapshot_of(1))
        (tmp_path / "snapshots" / "train" / "000000001.graphs.safetensors").write_bytes(b"cut off")
        with pytest.warns(UserWarning, match="no complete file"):
            record = rra.Recorder(store, resume_step=1).record({"train": snapshot_of(2)})
        assert record.matches["train"]["prev"].step == 0
        assert store.steps("train") == (0, 1, 2)

    @pytest.mark.parametrize("align", ["epoch", "last"])
    def test_a_reference_that_breaks_during_the_run_costs_its_own_match(self, tmp_path, align):
        reference = stored_run(tmp_path / "ref", (0, 1))
        store = rra.RunStore(tmp_path / "run")
        recorder = rra.Recorder(store, references={"a": reference}, align=align)
        recorder.record({"train": snapshot_of(0)})
        for path in (tmp_path / "ref").rglob("*.graphs.safetensors"):
            path.write_bytes(b"cut off")
        with pytest.warns(UserWarning, match="no NNLS to 'ref-a'.*no complete file"):
            record = recorder.record({"train": snapshot_of(1)})
        assert set(record.matches["train"]) == {"prev"}
        assert store.steps("train") == (0, 1)

    def test_a_full_disk_costs_the_snapshot_and_not_the_scalars(self, tmp_path, monkeypatch):
        store, collected = rra.RunStore(tmp_path), Collected()
        recorder = rra.Recorder(store, sinks=[collected])
        monkeypatch.setattr(store, "save", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
        with pytest.warns(UserWarning, match="step 0 of probe 'train' is not stored.*no space left"):
            recorder.record({"train": snapshot_of(0)})
        assert len(collected.records) == 1

    def test_a_disk_that_stays_full_is_said_the_first_and_the_tenth_time(self, tmp_path, monkeypatch):
        store = rra.RunStore(tmp_path)
        recorder = rra.Recorder(store)
        monkeypatch.setattr(store, "save", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for step in range(12):
                recorder.record({"train": snapshot_of(step)})
        said = [str(each.message) for each in caught if "is not stored" in str(each.message)]
        assert [text.partition(" of ")[0] for text in said] == ["step 0", "step 9"]
        assert said[1].endswith("no space left') (for the 10th time)")

    def test_a_measurement_that_failed_leaves_an_empty_record_and_no_trace(self, tmp_path):
        store, collected = rra.RunStore(tmp_path / "run"), Collected()
        recorder = rra.Recorder(store, sinks=[collected])
        record = recorder.record({})
        assert (record.step, record.snapshots, summaries(record)) == (0, {}, {})
        recorder.record({"train": snapshot_of(5)})
        assert recorder.record({}).step == 5
        assert [record.step for record in collected.records] == [5]


class TestReferences:
    def test_align_epoch_has_no_value_where_the_reference_has_no_epoch(self, tmp_path):
        reference = stored_run(tmp_path / "ref", (0, 2))
        recorder = rra.Recorder(None, references={"seed0": reference})
        found = [recorder.record({"train": snapshot_of(step)}).matches["train"].get("ref-seed0") for step in (0, 1, 2)]
        assert [match and match.epoch for match in found] == [0, None, 2]

    def test_align_last_compares_every_snapshot_with_the_last(self, tmp_path):
        recorder = rra.Recorder(None, references={"seed0": stored_run(tmp_path / "ref", (0, 2))}, align="last")
        assert recorder.record({"train": snapshot_of(1)}).matches["train"]["ref-seed0"].epoch == 2

    def test_layers_may_differ_and_are_matched_by_name(self, tmp_path):
        store = rra.RunStore(tmp_path / "ref")
        store.save(snapshot_of(1, layers=("input", "other", "one more", "fc")))
        match = (
            rra.Recorder(None, references={"deep": store.path})
            .record({"train": snapshot_of(1)})
            .matches["train"]["ref-deep"]
        )
        assert match.nnls.shape == (3, 4)
        same = match.same_layer(("input", "a/b c", "fc"))
        assert same[[0, 2]].tolist() == [match.nnls[0, 0], match.nnls[2, 3]]
        assert math.isnan(same[1])

    def test_layers_are_matched_whatever_module_the_network_lies_in(self, tmp_path):
        store = rra.RunStore(tmp_path / "ref")
        store.save(snapshot_of(1, layers=("input", "model.body.0", "model.fc")))
        here = snapshot_of(1, layers=("input", "body.0", "fc"))
        match = rra.Recorder(None, references={"mine": store.path}).record({"train": here}).matches["train"]["ref-mine"]
        np.testing.assert_array_equal(match.same_layer(here.layers), np.diag(match.nnls))

    @pytest.mark.parametrize("name", ["my ref", "", "a/b", "a.b"])
    def test_names_that_cannot_be_keys_are_refused(self, tmp_path, name):
        with pytest.raises(ValueError, match="letters, digits"):
            rra.Recorder(None, references={name: stored_run(tmp_path, (0,))})

    def test_an_empty_directory_is_refused_with_the_remedy(self, tmp_path):
        with pytest.raises(ValueError, match="holds no snapshots; give the directory"):
            rra.Recorder(None, references={"seed0": tmp_path / "nothing"})


class TestCheck:
    @pytest.fixture
    def monitor(self, sample):
        return rra.Monitor({"train": sample})

    @pytest.fixture
    def reference(self, sample, small_net, tmp_path):
        def saved(probe="train", step=0, k=None, **changes):
            snapshot = rra.Monitor({probe: sample}, k=k).measure(small_net, step=step, epoch=0)[probe]
            settings = dataclasses.replace(snapshot.settings, **changes)
            nncs = None if settings.labels is None else snapshot.nncs
            rra.RunStore(tmp_path).save(dataclasses.replace(snapshot, settings=settings).changed(nncs=nncs))
            return rra.Recorder(None, references={"a": tmp_path})

        return saved

    def test_check_passes_equal_samples(self, monitor, reference):
        reference().check(monitor)

    def test_every_snapshot_of_the_reference_is_looked_at(self, monitor, reference):
        reference(k=3, step=0)
        with pytest.raises(ValueError, match="k=2 here, k=3 there"):
            reference(step=9).check(monitor)

    def test_check_names_both_k(self, monitor, reference):
        with pytest.raises(ValueError, match="k=2 here, k=3 there"):
            reference(k=3).check(monitor)

    def test_check_names_the_first_different_id(self, monitor, reference, sample):
        with pytest.raises(ValueError, match=rf"200 of 200 ids do \(at position 0: {sample.ids[0]} here"):
            reference(ids=sample.ids + 1).check(monitor)

    def test_check_refuses_a_reference_without_labels(self, monitor, reference, sample):
        with pytest.raises(ValueError, match="labels are present here, absent there"):
            reference(labels=None).check(monitor)

    def test_other_contents_under_equal_ids_are_a_warning(self, monitor, reference):
        with pytest.warns(UserWarning, match="another normalisation"):
            reference(fingerprint="other").check(monitor)

    def test_no_probe_in_common(self, monitor, reference):
        with pytest.raises(ValueError, match="has the probes validation, this run has train"):
            reference(probe="validation").check(monitor)

    def test_check_refuses_a_reference_without_graphs(self, monitor, reference, tmp_path):
        recorder = reference()
        for path in tmp_path.rglob("*.graphs.safetensors"):
            path.unlink()
        with pytest.raises(ValueError, match="kept no graphs of probe 'train'"):
            recorder.check(monitor)
