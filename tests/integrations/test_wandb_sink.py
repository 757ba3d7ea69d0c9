import math
import random
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch
import wandb
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import rra_monitor as rra
from rra_monitor.integrations.lightning import RRACallback
from rra_monitor.integrations.wandb.sink import WandbSink, picture_stride
from rra_monitor.runs.record import scalars
from tests.helpers.training import fit
from tests.helpers.wandb_files import offline_runs
from tests.helpers.wandb_runs import offline_run, records, wandb_logger

pytestmark = pytest.mark.usefixtures("wandb_offline", "wandb_finished")


@pytest.fixture(scope="module")
def together(digits, tmp_path_factory):
    """One training with a reference and with three loggers at once: its directory, store and W&B run."""
    path = tmp_path_factory.mktemp("three")
    first = RRACallback(n=200)
    fit(digits, path / "first", [first], epochs=2)
    callback = RRACallback(n=200, references={"first": first.store.path}, views=["full", "max2"], on_error="raise")
    loggers = [
        TensorBoardLogger(path, name="tb", version="v"),
        CSVLogger(path, name="csv", version="v"),
        wandb_logger(path, "three"),
    ]
    fit(digits, path, [callback], logger=loggers, epochs=3)
    wandb.finish()
    (run,) = offline_runs(path)
    return path, callback.store, run


class TestWandbSinkBesideOtherLoggers:
    def test_no_artifact_is_logged_by_default(self, together):
        assert not [artifact for artifact in together[2].artifacts if artifact.type == "rra-snapshot"]

    def test_each_key_is_logged_once_per_snapshot_with_the_stores_value(self, together):
        _, store, run = together
        rows = run.rows("rra/seconds")
        # One row per snapshot; the table joins the last.
        assert [row["rra/epoch"] for row in run.rows("rra/epoch")] == [0, 1, 2, 3]
        assert [row["rra/epoch"] for row in rows] == [0, 1, 2, 3]
        assert [row["rra/step"] for row in rows] == [0, 4, 8, 12] == list(store.steps("train"))
        logged = Counter((key, row["rra/epoch"]) for row in run.history for key in row if key.startswith("rra/"))
        for row in rows:
            expected = {}
            for probe in store.probes():
                snapshot, matches = store.load(probe, row["rra/step"]), store.matches(probe, row["rra/step"])
                assert set(matches) == ({"prev"} if row["rra/epoch"] else set()) | (
                    {"ref-first"} if row["rra/epoch"] < 3 else set()
                )
                curves = {"id": snapshot.id, "nncs": snapshot.nncs}
                curves |= {f"nnls_{name}": match.same_layer(snapshot.layers) for name, match in matches.items()}
                for quantity, curve in curves.items():
                    for layer, value in zip(snapshot.layers, curve, strict=True):
                        if not math.isnan(value):
                            expected[rra.metric_key(probe, quantity, layer)] = value
                expected[f"rra/{probe}/id_peak"] = np.nanmax(snapshot.id[snapshot.view().indices])
            assert len(expected) > 25
            for key, value in expected.items():
                assert row[key] == pytest.approx(value), key
                assert logged[key, row["rra/epoch"]] == 1
            # Beside them values of no layer alone; undefined ones stand nowhere.
            other = {key for key in row if key.startswith("rra/")} - expected.keys()
            assert all(len(key.split("/")) <= 3 for key in other), other
            assert all(math.isfinite(value) for value in row.values() if isinstance(value, float))

    def test_each_key_is_defined_with_the_epoch_as_its_axis(self, together):
        run = together[2]
        keys = {key for row in run.history for key in row if key.startswith("rra/")}
        assert len(keys) > 45
        assert keys <= run.metrics.keys()
        for key in keys - {"rra/epoch"}:
            (defined,) = run.metrics[key]
            assert defined.step_metric == "rra/epoch", key
            assert defined.options.hidden == (key == "rra/step" or len(key.split("/")) > 3), key
        assert run.metrics["rra/epoch"][0].step_metric == ""
        assert not any("*" in name for name in run.metrics if name.startswith("rra"))

    def test_lightnings_own_values_keep_their_axis(self, together):
        run = together[2]
        losses = run.rows("loss")
        assert [row["trainer/global_step"] for row in losses] == list(range(12))
        assert [row["_step"] for row in losses] == [*range(4), *range(5, 9), *range(10, 14)]  # and val_accuracy
        assert run.metrics["*"][0].step_metric == "trainer/global_step"

    def test_tensorboard_and_csv_have_the_same_values(self, together):
        path, _, run = together
        events = EventAccumulator(str(path / "tb" / "v"), size_guidance={"scalars": 0})
        events.Reload()
        lines = [line.split(",") for line in (path / "csv" / "v" / "metrics.csv").read_text().splitlines()]
        column = lines[0].index("rra/train/id_peak")
        values = [row["rra/train/id_peak"] for row in run.rows("rra/train/id_peak")]
        assert len(values) == 4
        assert [event.value for event in events.Scalars("rra/train/id_peak")] == pytest.approx(values)
        assert [float(line[column]) for line in lines[1:] if line[column]] == pytest.approx(values)

    def test_each_probe_has_a_labelled_picture_of_every_snapshot(self, together):
        run = together[2]
        for probe in ("train", "val"):
            pictures = [row[f"rra/{probe}/montage"] for row in run.rows(f"rra/{probe}/montage")]
            assert [picture["caption"] for picture in pictures] == [
                f"{probe}, epoch {epoch}, step {4 * epoch}" for epoch in range(4)
            ]
            for picture in pictures:
                with Image.open(run.folder / "files" / picture["path"]) as image:
                    assert image.size == (picture["width"], picture["height"])
                    assert image.width > 500
                    assert image.height > 1000

    def test_the_table_at_the_end_has_every_value(self, together):
        _, store, run = together
        (row,) = run.rows("rra/table")
        assert row["rra/epoch"] == 3
        table = run.table()
        assert {line[:3] for line in table} == {
            (epoch, probe, view) for epoch in range(4) for probe in ("train", "val") for view in ("full", "max2")
        }
        found = {line[:5]: line[5] for line in table}
        assert len(found) == len(table)
        snapshot = store.load("val", 8)
        rows = snapshot.view("max2")
        for layer, at in zip(rows.layers, rows.indices, strict=True):
            assert found[2, "val", "max2", "nncs", layer] == pytest.approx(snapshot.nncs[at])
        assert {line[3] for line in table} == {"id", "nncs", "nnls_prev", "nnls_ref-first"}

    def test_the_settings_are_in_the_config(self, together):
        _, store, run = together
        settings = store.load("train", 0).settings
        about = run.config["rra"]["probes"]["train"]
        assert (about["n"], about["k"], about["ndr"]) == (settings.n, settings.k, settings.k / settings.n)
        assert about["fingerprint"] == settings.fingerprint
        assert about["views"] == ["full", "max2"]
        assert about["layers"] == list(store.load("train", 0).view().layers)
        assert run.config["rra"]["version"] == rra.__version__


@pytest.fixture(scope="module")
def hundred(tmp_path_factory):
    """A run of a hundred snapshots of two probes in a plain loop, and its records."""
    path = tmp_path_factory.mktemp("hundred")
    made = records(100)
    with offline_run(path, "hundred") as run:
        sink = WandbSink(run)
        for record in made:
            sink.write(record)
        sink.close()
        sink.close()
    return made, offline_runs(path)[0]


@pytest.mark.slow
class TestWandbSinkOfAHundredSnapshots:
    def test_a_hundred_snapshots_leave_fewer_than_200_files(self, hundred):
        assert 100 < len(hundred[1].files()) < 200

    def test_each_expected_key_is_there_once_per_snapshot(self, hundred):
        made, run = hundred
        for record in made:
            rows = [row for row in run.rows("rra/seconds") if row["rra/epoch"] == record.epoch]
            assert len(rows) == 1
            expected = scalars(record)
            assert {key: rows[0][key] for key in expected} == pytest.approx(expected)

    def test_early_snapshots_have_pictures_each_and_late_ones_now_and_then_and_the_last(self, hundred):
        pictured = [row["rra/epoch"] for row in hundred[1].rows("rra/train/montage")]
        assert pictured == [*range(32), *range(32, 64, 2), *range(64, 100, 4), 99]

    def test_the_table_comes_every_25_snapshots_and_not_twice_at_the_end(self, hundred):
        assert [row["rra/epoch"] for row in hundred[1].rows("rra/table")] == [24, 49, 74, 99]
        assert {row[0] for row in hundred[1].table()} == set(range(100))


def test_pictures_of_a_thousand_snapshots_stay_few():
    assert sum(number % picture_stride(number) == 0 for number in range(1000)) < 120


class TestWandbSink:
    def test_undefined_values_are_left_out(self, tmp_path):
        (record,) = records(1)
        record.snapshots["val"].id[1] = math.nan
        with offline_run(tmp_path, "undefined") as run:
            WandbSink(run).write(record)
        (row,) = offline_runs(tmp_path)[0].rows("rra/seconds")
        assert "rra/val/id/a/b-c" not in row
        assert "rra/train/id/a/b-c" in row

    def test_the_table_comes_every_so_often_and_at_the_end_once(self, tmp_path):
        with offline_run(tmp_path, "rhythm") as run:
            sink = WandbSink(run, every=2)
            for record in records(5, probes=("train",)):
                sink.write(record)
            sink.close()
            sink.close()
        (read,) = offline_runs(tmp_path)
        assert [row["rra/epoch"] for row in read.rows("rra/table")] == [1, 3, 4]
        assert [row["rra/epoch"] for row in read.rows("rra/train/montage")] == list(range(5))
        assert {row[0] for row in read.table()} == set(range(5))

    def test_a_run_without_a_record_is_closed_without_a_trace(self, tmp_path):
        with offline_run(tmp_path, "empty") as run:
            WandbSink(run).close()
        assert offline_runs(tmp_path)[0].history == []

    def test_unlabelled_data_have_no_nncs(self, tmp_path):
        with offline_run(tmp_path, "unlabelled") as run:
            WandbSink(run).write(records(1, labelled=False)[0])
        (read,) = offline_runs(tmp_path)
        assert "rra/train/id/fc" in read.history[0]
        assert not any("nncs" in key for row in read.history for key in row)
        assert read.config["rra"]["probes"]["train"]["labelled"] is False

    def test_pictures_are_left_out_where_matplotlib_is_missing(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
        with offline_run(tmp_path, "bare") as run, pytest.warns(UserWarning, match=r"no pictures for W&B.*matplotlib"):
            WandbSink(run).write(records(1)[0])
        (read,) = offline_runs(tmp_path)
        assert len(read.rows("rra/train/id_peak")) == 1
        assert not read.rows("rra/train/montage")

    def test_a_disabled_run_takes_everything(self, tmp_path):
        with wandb.init(dir=tmp_path, mode="disabled") as run:
            sink = WandbSink(run)
            for record in records(2):
                sink.write(record)
            sink.close()
        assert not list(tmp_path.rglob("*.wandb"))


class TestWandbSinkResume:
    def test_the_table_of_a_resumed_training_goes_on(self, digits, tmp_path, sample):
        def train(epochs, **options):
            saver = ModelCheckpoint(tmp_path / "checkpoints", save_top_k=-1, filename="{epoch}")
            callback = RRACallback(probes={"train": sample})
            logger = wandb_logger(tmp_path, "again")
            fit(digits, tmp_path, [callback, saver], epochs, logger=logger, enable_checkpointing=True, **options)
            wandb.finish()
            return callback.store

        train(3)
        store = train(3, ckpt_path=tmp_path / "checkpoints" / "epoch=0.ckpt")
        before, after = offline_runs(tmp_path)
        # Resumed after the first epoch: the snapshots of the second and third are those of the new process.
        assert [row["rra/epoch"] for row in after.rows("rra/seconds")] == [2, 3]
        assert {name: len(metrics) for name, metrics in after.metrics.items() if name.startswith("rra")} == {
            name: 1 for name in before.metrics if name.startswith("rra")
        }
        assert len(after.table()) == len(before.table())
        found = {row[:5]: row[5] for row in after.table()}
        for step, epoch in zip(store.steps("train"), range(4), strict=True):
            snapshot = store.load("train", step)
            for layer, value in zip(snapshot.layers, snapshot.id, strict=True):
                assert found[epoch, "train", "full", "id", layer] == pytest.approx(value)

    def test_defining_and_describing_again_in_one_run_is_harmless(self, tmp_path):
        with offline_run(tmp_path, "twice") as run:
            for record in records(2):
                sink = WandbSink(run)
                sink.write(record)
                sink.close()
                run.log({"mine": 1.0})
        (read,) = offline_runs(tmp_path)
        assert [row["rra/epoch"] for row in read.rows("rra/train/id/fc")] == [0, 1]
        assert {(metric.step_metric, metric.options.hidden) for metric in read.metrics["rra/train/id/fc"]} == {
            ("rra/epoch", True)
        }


def test_an_interrupted_training_has_its_table(digits, tmp_path, sample):
    class Interrupting(RRACallback):
        def on_train_epoch_end(self, trainer, pl_module):
            super().on_train_epoch_end(trainer, pl_module)
            raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        fit(digits, tmp_path, [Interrupting({"train": sample})], logger=wandb_logger(tmp_path, "interrupted"))
    wandb.finish()
    (run,) = offline_runs(tmp_path)
    assert {row[0] for row in run.table()} == {0, 1}


def test_training_is_bit_identical_with_the_callback(digits, tmp_path, sample):
    def outcome(name, callbacks):
        trainer = fit(digits, tmp_path, callbacks, 2, augmented=True, logger=wandb_logger(tmp_path, name))
        wandb.finish()
        return trainer.model.state_dict(), random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()

    callback = RRACallback({"train": sample}, artifacts=True, on_error="raise")
    plain, watched = outcome("plain", []), outcome("watched", [callback])
    assert all(torch.equal(value, watched[0][name]) for name, value in plain[0].items())
    assert plain[1:3] == watched[1:3]
    assert torch.equal(plain[3], watched[3])


def test_the_sinks_module_imports_without_wandb():
    code = (
        "import sys; sys.modules['wandb'] = None\n"
        "from rra_monitor.integrations.loggers import logger_sinks\n"
        "import rra_monitor.integrations.wandb\n"
        "print(logger_sinks([]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
