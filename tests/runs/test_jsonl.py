import json
import resource
import warnings

import pytest
from fsspec.implementations.memory import MemoryFileSystem

import rra_monitor as rra
from rra_monitor.page.payload import run_payload
from rra_monitor.page.series import stored_series
from rra_monitor.runs.lines import mended, parted, record_lines
from tests.helpers.snapshots import snapshot_of

FINDING = {
    "kind": "id_peak",
    "probe": "train",
    "layers": ["fc"],
    "sentence": "train: the ID peaks at fc, in größe.",
    "confidence": 0.995,
    "values": {"peak": 3, "other": float("nan")},
}


RECORD = {"step": 5, "epoch": 1, "seconds": 1.5, "overhead": 0.01, "findings": [FINDING], "probes": {}}


def line(**changed):
    return json.dumps(RECORD | changed).encode() + b"\n"


def test_record_lines_reads_what_the_sink_wrote(tmp_path):
    store = rra.RunStore(tmp_path)
    recorder = rra.Recorder(store, sinks=[rra.JSONLSink(store)])
    written = [recorder.record({"train": snapshot_of(step)}) for step in (0, 5)]
    records, foreign = record_lines((tmp_path / "records.jsonl").read_bytes())
    assert foreign == 0
    assert list(records) == [0, 5]
    for record in written:
        found = records[record.step]
        assert (found.epoch, found.seconds, found.overhead) == (record.epoch, record.seconds, record.overhead)
        assert found.findings == record.findings


def test_record_lines_takes_the_last_line_of_a_step():
    records, foreign = record_lines(line(seconds=1) + line(step=6) + line(seconds=2))
    assert (foreign, {step: record.seconds for step, record in records.items()}) == (0, {5: 2.0, 6: 1.5})
    assert records[5].findings[0].layers == ("fc",)


FOREIGN = {
    "cut off": line()[:40],
    "nested": b"[" * 200_000,
    "no object": b"5",
    "no text": b"\xff\xfe\0",
    "step 1e400": line().replace(b'"step": 5', b'"step": 1e400'),
    "step of too many digits": b'{"step": ' + b"9" * 5000 + b"}",
    "step, a text": line(step="5"),
    "step, undefined": line(step=float("nan")),
    "step, a truth value": line(step=True),
    "step, negative": line(step=-1),
    "no step": b"{}",
    "epoch, a list": line(epoch=[1]),
    "seconds, huge": line(seconds=10**400),
    "seconds, infinite": line(seconds=float("inf")),
    "seconds, a list": line(seconds=[]),
    "overhead, undefined": line(overhead=float("nan")),
    "findings, a text": line(findings="x"),
    "finding, a text": line(findings=["x"]),
    "values, a list": line(findings=[FINDING | {"values": [1]}]),
    "values, a text": line(findings=[FINDING | {"values": {"a": "x"}}]),
    "values, infinite": line(findings=[FINDING | {"values": {"a": float("inf")}}]),
    "confidence, undefined": line(findings=[FINDING | {"confidence": float("nan")}]),
    "confidence, 2": line(findings=[FINDING | {"confidence": 2}]),
    "layers, a text": line(findings=[FINDING | {"layers": "fc"}]),
    "layers, an escape": line(findings=[FINDING | {"layers": ["\x1b[2J"]}]),
    "sentence, an escape": line(findings=[FINDING | {"sentence": "\x1b[2J"}]),
    "sentence, a number": line(findings=[FINDING | {"sentence": 5}]),
    "sentence, long": line(findings=[FINDING | {"sentence": "a" * 30_000}]),
    "probe, a list": line(findings=[FINDING | {"probe": []}]),
    "long": line(padding="a" * (9 << 20)),
}


@pytest.mark.parametrize("odd", FOREIGN.values(), ids=FOREIGN)
def test_record_lines_leaves_out_a_line_that_no_writer_wrote(odd):
    records, foreign = record_lines(line(step=0) + odd.rstrip(b"\n") + b"\n" + line(step=9))
    assert list(records) == [0, 9]
    assert foreign == 1


def test_record_lines_count_a_line_that_lacks_something_as_foreign():
    assert record_lines(b'{"step": 5, "epoch": 1}\n') == ({}, 1)


@pytest.mark.parametrize("odd", FOREIGN.values(), ids=FOREIGN)
def test_a_report_reads_the_run_with_such_a_line_and_warns(tmp_path, odd):
    rra.RunStore(tmp_path).save(snapshot_of(5, epoch=1))
    (tmp_path / "records.jsonl").write_bytes(odd)
    with pytest.warns(UserWarning, match=f"{tmp_path}/records.jsonl: a line is cut off or foreign and left out"):
        series = stored_series(rra.RunStore(tmp_path), "run")
    json.dumps(run_payload(series), allow_nan=False)
    assert [frame.step for frame in series.frames] == [5]


class TestMended:
    def test_a_line_that_was_cut_off_in_the_middle_goes(self):
        assert mended(line(step=0) + line(step=5)[:30] + b"\n" + line(step=6)) == line(step=0) + line(step=6)

    def test_lines_of_later_steps_are_parted_from_the_others(self):
        lines = line(step=0) + b"of another program\n" + line(step=5) + line(step=9) + line(step=9)[:30]
        assert parted(lines, 4) == (line(step=0) + b"of another program\n", line(step=5) + line(step=9))
        assert parted(lines, -1) == (b"of another program\n", line(step=0) + line(step=5) + line(step=9))

    def test_whole_lines_stay_as_they_are(self):
        lines = line(step=0) + b"of another program\n" + line(step=5)
        assert mended(lines) == lines
        assert mended(b"") == b""

    def test_a_line_that_was_cut_off_goes(self):
        assert mended(line(step=0) + line(step=5)[:30]) == line(step=0)

    def test_a_last_line_without_its_end_stays(self):
        assert mended(line(step=0) + line(step=5)[:-1]) == line(step=0) + line(step=5)

    def test_of_two_lines_of_a_step_the_last_stays(self):
        assert mended(line(seconds=1) + line(step=6) + line(seconds=2)) == line(step=6) + line(seconds=2)


class TestJSONLSink:
    def test_json_lines_hold_every_curve_and_the_matched_epoch(self, record, tmp_path):
        store = rra.RunStore(tmp_path / "run")
        rra.JSONLSink(store).write(record)
        rra.JSONLSink(store).write(record)
        lines = [json.loads(line) for line in (tmp_path / "run" / "records.jsonl").read_text().splitlines()]
        assert len(lines) == 2
        probe = lines[0]["probes"]["train"]
        assert probe["id"] == [2.0, None, 4.0]
        assert probe["nnls"]["prev"]["epoch"] == 0
        assert probe["nnls"]["ref-seed0"]["epoch"] == 1
        assert len(probe["nncs"]) == len(probe["layers"]) == 3

    def test_a_sink_mends_the_file_before_its_first_line(self, tmp_path):
        path = tmp_path / "records.jsonl"
        left = line(seconds=1, step=0) + line(step=0) + line(step=5)[:30]
        path.write_bytes(left)
        (tmp_path / f"records.jsonl.{'0' * 32}.tmp").write_bytes(b"x")
        store = rra.RunStore(tmp_path)
        store.save(snapshot_of(0, epoch=1))
        with pytest.warns(UserWarning, match="a line is cut off"):
            stored_series(store, "run")
        assert path.read_bytes() == left  # readers change nothing
        recorder = rra.Recorder(store, sinks=[rra.JSONLSink(store)], resume_step=4)
        recorder.record({"train": snapshot_of(5)})
        lines = path.read_bytes().splitlines()
        assert [json.loads(each)["step"] for each in lines] == [0, 5]
        assert lines[0] + b"\n" == line(step=0)
        assert not list(tmp_path.glob("*.tmp"))

    def test_later_lines_are_appended_only(self, tmp_path, monkeypatch):
        store = rra.RunStore(tmp_path)
        sink = rra.JSONLSink(store)
        recorder = rra.Recorder(store, sinks=[sink])
        recorder.record({"train": snapshot_of(0)})
        monkeypatch.setattr(store, "read_bytes", None)
        recorder.record({"train": snapshot_of(5)})
        recorder.record({"train": snapshot_of(5)})
        steps = [json.loads(each)["step"] for each in (tmp_path / "records.jsonl").read_text().splitlines()]
        assert steps == [0, 5, 5]

    @pytest.mark.parametrize("place", ["disk", "memory"])
    def test_a_line_stands_alone_after_one_that_was_cut_off(self, tmp_path, place):
        store = rra.RunStore(tmp_path if place == "disk" else f"memory://{tmp_path}")
        store.write_text("records.jsonl", line(step=0).decode())
        store.write_text("records.jsonl", line(step=5).decode()[:30])
        store.write_text("records.jsonl", line(step=6).decode())
        assert store.read_bytes("records.jsonl") == line(step=0) + line(step=5)[:30] + b"\n" + line(step=6)

    def test_a_storage_that_overwrites_where_it_should_append_keeps_every_line(self, tmp_path, monkeypatch):
        opened = MemoryFileSystem._open

        def overwriting(self, path, mode="rb", **options):
            return opened(self, path, mode.replace("a", "w"), **options)

        monkeypatch.setattr(MemoryFileSystem, "_open", overwriting)
        store = rra.RunStore(f"memory://{tmp_path}")
        for step in range(3):
            store.write_text("records.jsonl", line(step=step).decode())
        assert store.read_bytes("records.jsonl") == line(step=0) + line(step=1) + line(step=2)

    def test_a_full_disk_costs_the_snapshot_and_its_line_and_leaves_no_half(self, tmp_path):
        store = rra.RunStore(tmp_path)
        recorder = rra.Recorder(store, sinks=[rra.JSONLSink(store)])
        recorder.record({"train": snapshot_of(0)})
        before = (tmp_path / "records.jsonl").read_bytes()
        limit, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, most))
        try:
            with pytest.warns(UserWarning, match="File too large") as caught:
                recorder.record({"train": snapshot_of(5)})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most))
        assert ["File too large" in str(one.message) for one in caught] == [True, True]
        assert (tmp_path / "records.jsonl").read_bytes() == before
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            recorder.record({"train": snapshot_of(9)})
        assert store.steps("train") == store.graph_steps("train") == (0, 9)
        assert [json.loads(each)["step"] for each in (tmp_path / "records.jsonl").read_text().splitlines()] == [0, 9]
        assert not list(tmp_path.rglob("*.tmp"))
