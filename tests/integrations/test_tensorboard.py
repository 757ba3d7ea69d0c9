import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from test_store import snapshot_of
from training import fit

import rra_monitor as rra
from rra_monitor.integrations.lightning import RRACallback
from rra_monitor.integrations.loggers import LoggerSink, logger_sinks
from rra_monitor.integrations.tensorboard.sink import TensorBoardSink

KEY = re.compile(r"rra/(train|val)/(id|nncs|nnls_prev|nnls_ref-[\w-]+)/[A-Za-z0-9_/-]+")
SUMMARY = re.compile(r"rra/((train|val)/(id_peak|id_last|nncs_last|nnls_prev_mean)|epoch|seconds|overhead)")


@pytest.fixture(scope="module")
def run(digits, tmp_path_factory):
    """A monitored training with a reference, a TensorBoardLogger and a CSVLogger."""
    path = tmp_path_factory.mktemp("runs")
    first = RRACallback()
    fit(digits, path / "first", [first], epochs=2)
    callback = RRACallback(references={"first": first.store.path})
    loggers = [TensorBoardLogger(path, name="tb", version="second"), CSVLogger(path, name="csv", version="second")]
    fit(digits, path, [callback], logger=loggers, epochs=2)
    return path, rra.RunStore(callback.store.path)


@pytest.fixture(scope="module")
def events(run):
    accumulator = EventAccumulator(
        str(run[0] / "tb" / "second"), size_guidance={"scalars": 0, "images": 0, "tensors": 0}
    )
    accumulator.Reload()
    return accumulator


def test_scalars_follow_the_key_scheme_and_are_finite(events):
    tags = [tag for tag in events.Tags()["scalars"] if tag.startswith("rra/")]
    assert len(tags) > 50
    for tag in tags:
        assert KEY.fullmatch(tag) or SUMMARY.fullmatch(tag), tag
        assert all(math.isfinite(event.value) for event in events.Scalars(tag))


def test_values_and_steps_equal_those_of_the_store(run, events):
    store = run[1]
    for probe in store.probes():
        for position, layer in enumerate(store.load(probe, 0).layers):
            logged = events.Scalars(rra.metric_key(probe, "id", layer))
            assert [event.step for event in logged] == list(store.steps(probe))
            expected = [store.load(probe, step).id[position] for step in store.steps(probe)]
            np.testing.assert_allclose([event.value for event in logged], expected, rtol=1e-6)


def test_summaries_are_logged_once_per_snapshot(events):
    assert [event.step for event in events.Scalars("rra/train/id_peak")] == [0, 4, 8]


def test_the_layout_has_a_chart_per_quantity_whose_expression_finds_its_tags(events):
    (event,) = [*events.Tensors("custom_scalars__config__")][-1:]
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    assert [category.title for category in layout.category] == ["RRA train", "RRA val"]
    tags = events.Tags()["scalars"]
    for category in layout.category:
        assert len(category.chart) == 6
        for chart in category.chart:
            for expression in chart.multiline.tag:
                assert any(re.search(expression, tag) for tag in tags), expression


def test_figures_are_there_for_every_snapshot(events):
    assert set(events.Tags()["images"]) == {
        f"rra/{probe}/{name}" for probe in ("train", "val") for name in ("curves", "nnls")
    }
    images = events.Images("rra/train/nnls")
    assert [event.step for event in images] == [0, 4, 8]
    # Two heatmaps at first, with itself and the reference; then one more, with the previous snapshot.
    assert images[1].width > 1.3 * images[0].width
    assert images[2].width == images[1].width


@pytest.fixture(scope="module")
def in_views(digits, tmp_path_factory):
    """A monitored training in three views; its store and its events."""
    path = tmp_path_factory.mktemp("views")
    callback = RRACallback(views=["full", "max2", "avg-global"])
    fit(digits, path, [callback], logger=[TensorBoardLogger(path, name="tb", version="v")], epochs=1)
    accumulator = EventAccumulator(str(path / "tb" / "v"), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    accumulator.Reload()
    return rra.RunStore(callback.store.path), accumulator


class TestViews:
    def test_scalars_of_views_follow_the_key_scheme(self, in_views):
        store, events = in_views
        tags = [tag for tag in events.Tags()["scalars"] if tag.startswith("rra/")]
        assert all(KEY.fullmatch(tag) or SUMMARY.fullmatch(tag) for tag in tags)
        layers = store.load("train", 0).layers
        assert layers[:4] == ("input", "input@max2", "input@avg-global", "net.0")
        assert {f"rra/train/id/{layer.replace('.', '/').replace('@', '-')}" for layer in layers} <= set(tags)

    def test_summaries_are_of_the_full_view(self, in_views):
        store, events = in_views
        snapshot = store.load("train", 0)
        full = snapshot.id[snapshot.view().indices]
        assert events.Scalars("rra/train/id_peak")[0].value == pytest.approx(full.max())
        assert events.Scalars("rra/train/id_last")[0].value == pytest.approx(full[-1])

    def test_each_view_has_charts_of_its_own(self, in_views):
        store, events = in_views
        (event,) = [*events.Tensors("custom_scalars__config__")][-1:]
        category = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0]).category[0]
        charts = {chart.title: chart.multiline.tag[0] for chart in category.chart}
        tags = [tag for tag in events.Tags()["scalars"] if tag.startswith("rra/train/id/")]
        found = {title: {tag for tag in tags if re.search(charts[title], tag)} for title in charts if "(ID)" in title}
        assert list(found) == [f"intrinsic dimension (ID){view}" for view in ("", ", max2", ", avg-global")]
        for tags_of_view, view in zip(found.values(), ("full", "max2", "avg-global"), strict=True):
            # The pool's map is of 2 x 2: its max2 is its max-global, logged as that.
            names = store.load("train", 0).view(view).names
            assert tags_of_view == {rra.metric_key("train", "id", name) for name in names}

    def test_heatmaps_of_the_views_are_a_figure(self, in_views):
        assert "rra/train/views" in in_views[1].Tags()["images"]

    def test_the_line_of_a_record_says_which_views_are_equal(self, in_views):
        store, _ = in_views
        (line, *_) = (Path(store.path) / "records.jsonl").read_text().splitlines()
        record = json.loads(line)["probes"]["train"]
        assert record["views"] == ["full", "max2", "avg-global"]
        assert record["aliases"] == dict(store.load("train", 0).aliases)
        assert record["aliases"]["net.6@max2"] == "net.6"


def test_another_logger_gets_the_scalars_once(run):
    lines = (run[0] / "csv" / "second" / "metrics.csv").read_text().splitlines()
    column = lines[0].split(",").index("rra/train/id_peak")
    values = [line.split(",")[column] for line in lines[1:] if line.split(",")[column]]
    assert len(values) == 3


def test_loggers_are_recognised_by_name_through_their_bases():
    class TensorBoardLogger:  # of another package
        experiment = None

    class Custom(TensorBoardLogger):
        pass

    class DummyLogger:
        pass

    class CometLogger:
        def log_metrics(self, metrics, step):
            pass

    sinks = logger_sinks([Custom(), DummyLogger(), CometLogger()])
    assert [type(sink) for sink in sinks] == [TensorBoardSink, LoggerSink]


def test_the_layout_keeps_a_chart_whose_reference_has_no_value_this_time():
    layouts = []

    class Writer:
        def add_custom_scalars(self, layout):
            layouts.append(layout)

        def add_scalar(self, *arguments):
            pass

        add_figure = add_scalar

    sink = TensorBoardSink(lambda: Writer())
    snapshots = [snapshot_of(step) for step in range(4)]
    for step, snapshot in enumerate(snapshots):
        matches = {"prev": rra.match(snapshot, snapshots[step - 1], "prev")} if step else {}
        if step % 2:
            matches["ref-a"] = rra.match(snapshot, snapshots[0], "ref-a")
        sink.write(rra.Record(step, step, {"train": snapshot}, {"train": matches}, 1.0, 0.1))
    assert len(layouts) == 2
    assert "similarity to a (NNLS)" in layouts[-1]["RRA train"]
