"""The reader of event files: what TensorBoard's tab shows of one run."""

import dataclasses
import io
import json
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.context import RequestContext
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util.tensor_util import make_ndarray, make_tensor_proto
from torch.utils.tensorboard import SummaryWriter  # noqa: TID251 - the writer that a Lightning logger opens

import rra_monitor as rra
from rra_monitor.conclusions.evidence import Finding
from rra_monitor.integrations.tensorboard import PLUGIN
from rra_monitor.integrations.tensorboard.listing import Events
from rra_monitor.integrations.tensorboard.reading import run_series
from rra_monitor.integrations.tensorboard.sink import TensorBoardSink
from rra_monitor.measure.match import Match
from rra_monitor.page.payload import run_payload
from tests.helpers.snapshots import snapshot_with

from .harness import Files
from .mutations import damaged_array, damaged_bytes, damaged_json

FILE = "events.out.tfevents.1700000000.host.1.0"
N, K = 50, 5
LAYERS = ("input", "conv", "conv@avg4", "fc")
FINDING = Finding("id_peak", "train", ("conv",), "train: the ID peaks at conv.", 0.995, {"peak": 12.5})


def whole() -> Files:
    """Four records of two probes, with a view, comparisons and findings."""
    with tempfile.TemporaryDirectory() as folder:
        writer = SummaryWriter(folder)
        sink = TensorBoardSink(lambda: writer)
        for step in range(4):
            sink.write(_record(step))
        writer.close()
        (file,) = Path(folder).iterdir()
        events = list(_events(file.read_bytes()))
    for number, event in enumerate(events):
        event.wall_time = 1.7e9 + number
    return {FILE: _written(events)}


def _record(step: int) -> rra.Record:
    snapshots = {probe: _snapshot(probe, step) for probe in ("train", "val")}
    matches = {
        probe: {name: Match(name, step, step, each.layers, each.nnls * 0.5) for name in ("prev", "ref-other")}
        for probe, each in snapshots.items()
    }
    return rra.Record(step, step, snapshots, matches, seconds=0.5, overhead=0.25, findings=(FINDING,))


def _snapshot(probe: str, step: int) -> rra.Snapshot:
    rng = np.random.default_rng([step, len(probe)])
    count = len(LAYERS)
    labels = np.arange(N) % 5 if probe == "train" else None
    values = {
        "id": rng.uniform(2, 30, count),
        "nncs": None if labels is None else rng.uniform(0.2, 1, count),
        "nnls": rng.uniform(0.1, 0.9, (count, count)),
        "ties": np.zeros(count),
        "zeros": np.zeros(count),
        "recall": np.ones(count),
        "id_error": rng.uniform(0.1, 1, count),
        "hubness": rng.uniform(-1, 2, count),
    }
    return snapshot_with(
        values,
        probe=probe,
        step=step,
        epoch=step,
        layers=LAYERS,
        settings=rra.Settings(N, K, "euclidean", "auto", np.arange(N), labels, "0123456789abcdef", ("full", "avg4")),
        aliases={"fc@avg4": "fc"},
    )


def mutated(files: Files, random: Random) -> Files:
    """The bytes damaged, or one to three of the descriptions, tensors, steps, times and tags."""
    name, data = next(iter(files.items()))
    assert isinstance(data, bytes)
    if random.random() < 0.12:
        return {name: damaged_bytes(random, data)}
    events = list(_events(data))
    for _ in range(random.choice([1, 1, 2, 3])):
        random.choice([_content, _content, _content, _values, _values, _proto, _findings, _place])(random, events)
    return {name: _written(events)}


def _written(events: list[Any]) -> bytes:
    buffer = io.BytesIO()
    writer = RecordWriter(buffer)
    for event in events:
        writer.write(event.SerializeToString())
    return buffer.getvalue()


def _events(data: bytes) -> Iterator[Any]:
    with tempfile.NamedTemporaryFile(suffix=".tfevents") as file:
        file.write(data)
        file.flush()
        for each in RawEventFileLoader(file.name).Load():
            yield Event.FromString(each)


def _tensors(events: list[Any]) -> list[tuple[Any, Any]]:
    """(event, value) of every tensor of ours."""
    values = ((event, value) for event in events for value in event.summary.value)
    return [(event, value) for event, value in values if value.HasField("tensor")]


def _content(random: Random, events: list[Any]) -> None:
    described = [value for _, value in _tensors(events) if value.metadata.plugin_data.content]
    content = random.choice(described).metadata.plugin_data.content
    if random.random() < 0.2:
        start = b'{"schema":1,"kind":'
        odd = [b"", b"\xff", b"{}", b"[]", b"null", b"[" * 100_000, b'{"schema":1}', b'{"schema":true,"kind":"moment"}']
        odd += [start + rest for rest in (b'["moment"]}', b'"curves"}', b'"nnls","probes":[],"matrix":"x"}', b"{}}")]
        other = random.choice(odd)
    else:
        try:
            other = json.dumps(damaged_json(random, json.loads(content))).encode()
        except (ValueError, RecursionError):
            return  # damaged before
    for value in described:
        if value.metadata.plugin_data.content == content:
            value.metadata.plugin_data.content = other


def _values(random: Random, events: list[Any]) -> None:
    _, value = random.choice(_tensors(events))
    shape = [dimension.size for dimension in value.tensor.tensor_shape.dim]
    try:
        if math.prod(shape) > 10**6:
            raise ValueError("damaged before: it would be too large an array")
        value.tensor.CopyFrom(make_tensor_proto(damaged_array(random, make_ndarray(value.tensor))))
    except (ValueError, TypeError):
        value.tensor.tensor_content = b""  # a string, or damaged before


def _proto(random: Random, events: list[Any]) -> None:
    _, value = random.choice(_tensors(events))
    tensor, what = value.tensor, random.randrange(4)
    if what == 0 and tensor.tensor_shape.dim:
        random.choice(list(tensor.tensor_shape.dim)).size = random.choice([0, -1, 1, 2, 100, 2**20, 2**31, 2**62])
    elif what == 1:
        tensor.tensor_content = tensor.tensor_content[: random.randrange(len(tensor.tensor_content) + 1)]
    elif what == 2:
        tensor.dtype = random.choice([0, 1, 2, 3, 7, 9, 14, 19, 20, 21, 23, 100])
    else:
        tensor.CopyFrom(make_tensor_proto(1.0))
        for size in random.choice([[2**30], [2**20, 2**20], [2**62, 2**62], [7, 2, 2, 3]]):
            tensor.tensor_shape.dim.add().size = size


def _findings(random: Random, events: list[Any]) -> None:
    plain = [dataclasses.asdict(FINDING)]
    text = random.choice([json.dumps(damaged_json(random, plain))] * 9 + ["[" * 100_000, "null", "{}", "[1]", '"x"'])
    for _, value in _tensors(events):
        if value.tag == f"{PLUGIN}/findings":
            value.tensor.CopyFrom(make_tensor_proto(text))


def _place(random: Random, events: list[Any]) -> None:
    event, value = random.choice(_tensors(events))
    what = random.randrange(3)
    if what == 0:
        event.step = random.choice([-1, 0, 3, 5, 2**31, 2**62, -(2**63)])
    elif what == 1:
        event.wall_time = random.choice([0, -1, float("nan"), float("inf"), 1e300])
    else:
        value.tag = random.choice(["rra/moment", "rra/findings", "rra/curves/00", "x", "", "é"])


def reads(run: Path) -> dict[str, Callable[[], object]]:
    """What the tab does: the list of runs, and the run."""
    return {"list": lambda: _list(run), "run": lambda: _run(run)}


def _loaded(run: Path) -> Events:
    """TensorBoard's own loading, with the folder as the run's name, as messages have it."""
    multiplexer = EventMultiplexer(tensor_size_guidance={PLUGIN: 0})
    multiplexer.AddRun(str(run), str(run))
    multiplexer.Reload()
    return Events(MultiplexerDataProvider(multiplexer, str(run)), RequestContext(), "")


def _list(run: Path) -> None:
    for found in _loaded(run).runs():
        _warn(run, found.notes)
        json.dumps([found.name, found.version, *found.notes], allow_nan=False)


def _run(run: Path) -> None:
    events = _loaded(run)
    for found in events.runs():
        series, notes = run_series(found, partial(events.read, found.name))
        _warn(run, notes)
        _check(json.loads(json.dumps(run_payload(series), allow_nan=False)))


def _warn(run: Path, notes: Any) -> None:
    if notes:
        warnings.warn(f"{run}: {' '.join(notes)}", stacklevel=2)


def _check(payload: dict[str, Any]) -> None:
    """Raise AssertionError where the page would meet what it does not expect."""
    frames = payload["frames"]
    steps = [frame["step"] for frame in frames]
    assert steps == sorted(set(steps))
    for frame in frames:
        assert type(frame["epoch"]) is int
        assert 0 <= frame["epoch"] <= 10**9
        assert all(_is_number(frame[name]) for name in ("seconds", "overhead"))
        for finding in frame["findings"]:
            assert all(isinstance(finding[name], str) for name in ("kind", "probe", "sentence"))
            assert all(isinstance(layer, str) for layer in finding["layers"])
            assert 0 <= finding["confidence"] <= 1
    for probe in payload["probes"].values():
        assert type(probe["n"]) is type(probe["k"]) is int
        assert 1 <= probe["k"] < probe["n"]
        assert _is_number(probe["classes"])
        assert all(map(_is_number, probe["chances"].values()))
        shape = [len(frames), len(_names(probe["views"])), len(_names(probe["layers"]))]
        for array in probe["curves"].values():
            assert array["shape"] == shape
        for matrix in probe["matrices"].values():
            axes = [len(_names(matrix[name])) for name in ("views", "rows", "columns")]
            assert matrix["values"]["shape"] == [len(frames), *axes]


def _is_number(found: Any) -> bool:
    return found is None or type(found) in (int, float)


def _names(found: list[Any]) -> list[str]:
    assert all(isinstance(name, str) for name in found)
    assert len(set(found)) == len(found)
    return found
