import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import tensorboardX
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto import summary_pb2
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.util.tensor_util import make_ndarray

import rra_monitor as rra
from rra_monitor.integrations.lightning import RRACallback
from rra_monitor.integrations.tensorboard.packed import packed_tensors
from rra_monitor.integrations.tensorboard.sink import TensorBoardSink
from tests.helpers.snapshots import snapshot_of
from tests.helpers.tensorboard_records import made_up, made_up_record, write_records
from tests.helpers.training import fit

KEY = re.compile(r"rra/(train|val)/(id|nncs|nnls_prev|nnls_ref-[\w-]+)/[A-Za-z0-9_/-]+")


SUMMARY = re.compile(r"rra/((train|val)/(id_peak|id_last|nncs_last|nnls_prev_mean)|epoch|seconds|overhead)")


@pytest.fixture(scope="module")
def run(digits, tmp_path_factory):
    """A monitored training with a reference, a TensorBoardLogger with scalars of layers, and a CSVLogger."""
    path = tmp_path_factory.mktemp("runs")
    first = RRACallback()
    fit(digits, path / "first", [first], epochs=2)
    callback = RRACallback(references={"first": first.store.path}, tensorboard_scalars="layers")
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
    assert len(tags) > 30
    for tag in tags:
        assert KEY.fullmatch(tag) or SUMMARY.fullmatch(tag), tag
        assert all(math.isfinite(event.value) for event in events.Scalars(tag))


def test_single_layers_are_left_to_the_tab_unless_asked_for(digits, tmp_path):
    fit(digits, tmp_path, [RRACallback()], logger=[TensorBoardLogger(tmp_path, name="tb", version="v")], epochs=1)
    accumulator = EventAccumulator(str(tmp_path / "tb" / "v"), size_guidance={"tensors": 0})
    accumulator.Reload()
    tags = [tag for tag in accumulator.Tags()["scalars"] if tag.startswith("rra/")]
    assert "rra/train/id_peak" in tags
    assert all(SUMMARY.fullmatch(tag) for tag in tags)
    assert any(tag.startswith("rra/curves") for tag in accumulator.Tags()["tensors"])


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


def test_the_tensors_of_every_snapshot_are_there_instead_of_figures(events):
    tags = events.Tags()
    assert tags["images"] == []
    ours = {tag for tag in tags["tensors"] if tag.startswith("rra/")}
    kinds = ["curves", "findings", "moment", "nnls_prev", "nnls_ref-first", "nnls_self"]
    assert sorted(tag.split("/")[1] for tag in ours) == kinds
    for tag in ours:
        assert [event.step for event in events.Tensors(tag)] == ([4, 8] if "prev" in tag else [0, 4, 8])
        metadata = events.SummaryMetadata(tag)
        assert (metadata.plugin_data.plugin_name, metadata.data_class) == ("rra", summary_pb2.DATA_CLASS_TENSOR)
        assert json.loads(metadata.plugin_data.content)["schema"] == 1


@pytest.fixture(scope="module")
def in_views(digits, tmp_path_factory):
    """A monitored training in three views; its store and its events."""
    path = tmp_path_factory.mktemp("views")
    callback = RRACallback(views=["full", "max2", "avg-global"], tensorboard_scalars="layers")
    fit(digits, path, [callback], logger=[TensorBoardLogger(path, name="tb", version="v")], epochs=1)
    accumulator = EventAccumulator(str(path / "tb" / "v"), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    accumulator.Reload()
    return rra.RunStore(callback.store.path), accumulator


class TestTensorBoardSinkViews:
    def test_scalars_are_of_layers_as_they_are(self, in_views):
        store, events = in_views
        tags = [tag for tag in events.Tags()["scalars"] if tag.startswith("rra/")]
        assert all(KEY.fullmatch(tag) or SUMMARY.fullmatch(tag) for tag in tags)
        snapshot = store.load("train", 0)
        assert snapshot.layers[:4] == ("input", "input@max2", "input@avg-global", "net.2")
        expected = {rra.metric_key("train", "id", layer) for layer in snapshot.view().layers}
        assert {tag for tag in tags if tag.startswith("rra/train/id/")} == expected

    def test_summaries_are_of_the_full_view(self, in_views):
        store, events = in_views
        snapshot = store.load("train", 0)
        full = snapshot.id[snapshot.view().indices]
        assert events.Scalars("rra/train/id_peak")[0].value == pytest.approx(full.max())
        assert events.Scalars("rra/train/id_last")[0].value == pytest.approx(full[-1])

    def test_the_matrices_of_the_views_are_tensors(self, in_views):
        tags = {tag.split("/")[1] for tag in in_views[1].Tags()["tensors"] if tag.startswith("rra/")}
        assert tags == {"curves", "findings", "moment", "nnls_inter", "nnls_prev", "nnls_self"}

    def test_all_scalars_are_written_where_they_are_asked_for_and_each_view_has_charts_of_its_own(
        self, in_views, tmp_path
    ):
        snapshot = in_views[0].load("train", 0)
        events = written(tmp_path, [record_of(snapshot)], scalars="all")
        tags = {tag for tag in events.Tags()["scalars"] if tag.startswith("rra/train/id/")}
        assert tags == {rra.metric_key("train", "id", layer) for layer in snapshot.layers}
        charts = {title: tag for title, tag in charts_of(events).items() if "(ID)" in title}
        found = {title: {tag for tag in tags if re.search(charts[title], tag)} for title in charts}
        assert list(found) == [f"intrinsic dimension (ID){view}" for view in ("", ", max2", ", avg-global")]
        for tags_of_view, view in zip(found.values(), ("full", "max2", "avg-global"), strict=True):
            # The pool's map is of 2 x 2: its max2 is its max-global, logged as that.
            names = snapshot.view(view).names
            assert tags_of_view == {rra.metric_key("train", "id", name) for name in names}

    def test_summaries_are_few_scalars_with_charts_of_themselves(self, in_views, tmp_path):
        events = written(tmp_path, [record_of(in_views[0].load("train", 0))])
        assert set(events.Tags()["scalars"]) == {
            *("rra/epoch", "rra/seconds", "rra/overhead"),
            *("rra/train/id_peak", "rra/train/id_last", "rra/train/nncs_last"),
        }
        assert list(charts_of(events)) == ["summary of ID", "summary of NNCS and NNLS"]

    def test_the_line_of_a_record_says_which_views_are_equal(self, in_views):
        store, _ = in_views
        (line, *_) = (Path(store.path) / "records.jsonl").read_text().splitlines()
        record = json.loads(line)["probes"]["train"]
        assert record["views"] == ["full", "max2", "avg-global"]
        assert record["aliases"] == dict(store.load("train", 0).aliases)
        assert record["aliases"]["net.6@max2"] == "net.6"


def record_of(snapshot, matches=None):
    return rra.Record(snapshot.step, snapshot.epoch, {"train": snapshot}, {"train": matches or {}}, 1.0, 0.1)


def written(path, records, **options):
    """What TensorBoard reads of records that a sink wrote there."""
    write_records(path, records, **options)
    accumulator = EventAccumulator(str(path), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    accumulator.Reload()
    return accumulator


def charts_of(events):
    """Title to expression of the first probe's charts."""
    (event,) = [*events.Tensors("custom_scalars__config__")][-1:]
    category = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0]).category[0]
    return {chart.title: chart.multiline.tag[0] for chart in category.chart}


class TestTensorBoardSinkTensors:
    def test_a_tag_has_one_description_however_often_it_is_written(self, tmp_path):
        records = [made_up_record(step, ["prev"] if step else []) for step in range(3)]
        tags = [tag for tag in written(tmp_path, records).Tags()["tensors"] if tag.startswith("rra/curves")]
        assert len(tags) == 1
        described = {each.content for record in records for each in packed_tensors(record) if each.tag == tags[0]}
        assert len(described) == 1

    def test_a_reference_without_a_value_this_time_keeps_its_place(self, tmp_path):
        records = [made_up_record(step, ["prev", "ref-a"] if step % 2 == 0 else ["prev"]) for step in range(4)]
        events = written(tmp_path, records)
        (tag,) = [tag for tag in events.Tags()["tensors"] if tag.startswith("rra/curves")]
        place = json.loads(events.SummaryMetadata(tag).plugin_data.content)["metrics"].index("nnls_ref-a")
        curves = [make_ndarray(event.tensor_proto)[place, 0, 0] for event in events.Tensors(tag)]
        assert [bool(np.isnan(curve).all()) for curve in curves] == [False, True, False, True]

    @pytest.mark.parametrize("change", [{"layers": ("input", "other", "fc")}, {"n": 60}, {"probes": ("train", "val")}])
    def test_what_a_description_no_longer_fits_goes_under_another_tag(self, tmp_path, change):
        write_records(tmp_path, [made_up_record(0)])  # another process wrote on
        events = written(tmp_path, [made_up_record(1, **change)])
        tags = [tag for tag in events.Tags()["tensors"] if tag.startswith("rra/curves")]
        assert sorted(event.step for tag in tags for event in events.Tensors(tag)) == [0, 1]
        assert len(tags) == 2
        for tag in tags:
            (event,) = events.Tensors(tag)
            about = json.loads(events.SummaryMetadata(tag).plugin_data.content)
            expected = made_up_record(0) if event.step == 0 else made_up_record(1, **change)
            assert [probe["name"] for probe in about["probes"]] == list(expected.snapshots)
            for probe, snapshot in zip(about["probes"], expected.snapshots.values(), strict=True):
                assert (tuple(probe["layers"]), probe["n"]) == (snapshot.layers, snapshot.settings.n)

    def test_probes_of_different_layers_are_padded_and_each_has_its_own(self, tmp_path):
        short, long = made_up(0, layers=("a",)), made_up(0, layers=("a", "b"), probe="val")
        record = rra.Record(0, 0, {"train": short, "val": long}, {}, 1.0, 0.1)
        events = written(tmp_path, [record])
        (tag,) = [tag for tag in events.Tags()["tensors"] if tag.startswith("rra/nnls_self")]
        values = make_ndarray(events.Tensors(tag)[0].tensor_proto)
        assert values.shape == (2, 1, 2, 2)
        np.testing.assert_array_equal(np.isnan(values[0, 0]), [[False, True], [True, True]])
        np.testing.assert_array_equal(values[1, 0], np.float32(long.nnls))
        about = json.loads(events.SummaryMetadata(tag).plugin_data.content)
        assert [probe["rows"] for probe in about["probes"]] == [["a"], ["a", "b"]]

    def test_an_unlabelled_probe_has_no_class_similarity(self, tmp_path):
        events = written(tmp_path, [record_of(snapshot_of(0, labelled=False))])
        (tag,) = [tag for tag in events.Tags()["tensors"] if tag.startswith("rra/curves")]
        (probe,) = json.loads(events.SummaryMetadata(tag).plugin_data.content)["probes"]
        assert (probe["classes"], "nncs" in probe["chances"], "nncs" in probe["curves"]) == (None, False, False)

    def test_a_tensorboardx_writer_gets_figures_and_the_same_scalars(self, tmp_path):
        writer = tensorboardX.SummaryWriter(str(tmp_path))
        sink = TensorBoardSink(lambda: writer, scalars="layers")
        snapshots = [snapshot_of(step) for step in range(2)]
        sink.write(record_of(snapshots[0]))
        sink.write(record_of(snapshots[1], {"prev": rra.match(snapshots[1], snapshots[0], "prev")}))
        writer.close()
        accumulator = EventAccumulator(str(tmp_path), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
        accumulator.Reload()
        assert set(accumulator.Tags()["images"]) == {"rra/train/curves", "rra/train/nnls"}
        assert "rra/train/id/input" in accumulator.Tags()["scalars"]
        assert not [tag for tag in accumulator.Tags()["tensors"] if tag.startswith("rra/")]
        before, after = accumulator.Images("rra/train/nnls")
        # A heatmap of it with itself at first; then one more, with the previous snapshot.
        assert after.width > 1.3 * before.width

    def test_another_choice_of_scalars_is_refused(self):
        with pytest.raises(ValueError, match=r"scalars='few'; expected 'summaries', 'layers', 'all'"):
            TensorBoardSink(lambda: None, scalars="few")


def test_another_logger_gets_the_scalars_once(run):
    lines = (run[0] / "csv" / "second" / "metrics.csv").read_text().splitlines()
    column = lines[0].split(",").index("rra/train/id_peak")
    values = [line.split(",")[column] for line in lines[1:] if line.split(",")[column]]
    assert len(values) == 3


def test_the_layout_keeps_a_chart_whose_reference_has_no_value_this_time():
    layouts = []

    class Writer:
        def add_custom_scalars(self, layout):
            layouts.append(layout)

        def add_scalar(self, *arguments):
            pass

        add_figure = add_scalar

    sink = TensorBoardSink(lambda: Writer(), scalars="layers")
    snapshots = [snapshot_of(step) for step in range(4)]
    for step, snapshot in enumerate(snapshots):
        matches = {"prev": rra.match(snapshot, snapshots[step - 1], "prev")} if step else {}
        if step % 2:
            matches["ref-a"] = rra.match(snapshot, snapshots[0], "ref-a")
        sink.write(rra.Record(step, step, {"train": snapshot}, {"train": matches}, 1.0, 0.1))
    assert len(layouts) == 2
    assert "similarity to a (NNLS)" in layouts[-1]["RRA train"]
