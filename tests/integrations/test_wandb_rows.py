"""A W&B run that a user logs to as well: nothing of the user's own is dropped, and its steps are the user's."""

import dataclasses
import math

import pytest

from rra_monitor.integrations.lightning import RRACallback
from rra_monitor.integrations.wandb.rows import RunRows
from rra_monitor.integrations.wandb.sink import WandbSink
from tests.helpers.training import Classifier, fit
from tests.helpers.wandb_files import offline_runs
from tests.helpers.wandb_runs import offline_run, records, wandb_logger

pytestmark = pytest.mark.usefixtures("wandb_offline", "wandb_finished")

EPOCHS = 5


def moments(per_epoch, untrained, first):
    """Epochs of the snapshots, and None where the user logs."""
    found = [0] if untrained else []
    for epoch in range(EPOCHS):
        found += [epoch] * (per_epoch - 1)
        found += [None, epoch + 1] if first else [epoch + 1, None]
    return found


@pytest.mark.parametrize("stepped", [True, False], ids=["step=epoch", "no step"])
@pytest.mark.parametrize("first", [True, False], ids=["the user first", "the snapshot first"])
@pytest.mark.parametrize("untrained", [True, False], ids=["untrained", "trained"])
@pytest.mark.parametrize("per_epoch", [1, 5])
def test_every_value_of_the_users_own_is_there(tmp_path, per_epoch, untrained, first, stepped):
    with offline_run(tmp_path, "shared") as run:
        rows, logged, snapshots = RunRows(run), 0, 0
        for epoch in moments(per_epoch, untrained, first):
            if epoch is None:
                run.log({"loss": float(logged)}, **({"step": logged} if stepped else {}))
                logged += 1
            else:
                rows.add({"rra/epoch": float(epoch), "rra/step": float(snapshots)}, epoch)
                snapshots += 1
        rows.end(EPOCHS)
        run.log({"test": 1.0}, **({"step": EPOCHS - 1} if stepped else {}))
    (read,) = offline_runs(tmp_path)
    assert [(row["loss"], row["_step"]) for row in read.rows("loss")] == [(step, step) for step in range(EPOCHS)]
    assert len(read.rows("test")) == 1
    drawn = [row["rra/step"] for row in read.rows("rra/step")]
    assert drawn == sorted(set(drawn))
    assert drawn[-1] == snapshots - 1
    assert len(drawn) >= EPOCHS


def test_the_table_has_the_snapshots_that_no_row_had_room_for(tmp_path):
    with offline_run(tmp_path, "table") as run:
        sink = WandbSink(run)
        for record in records(4, probes=("train",)):
            sink.write(dataclasses.replace(record, epoch=0))
        run.log({"loss": 1.0}, step=0)
        sink.close()
    (read,) = offline_runs(tmp_path)
    (row,) = read.history
    assert (row["loss"], row["rra/step"]) == (1, 3)
    assert [line[0] for line in read.table() if line[1:5] == ("train", "full", "id", "fc")] == [0, 1, 2, 3]


def test_a_run_that_nobody_else_logs_to_has_a_row_for_each_snapshot(tmp_path):
    with offline_run(tmp_path, "alone") as run:
        sink = WandbSink(run)
        for record in records(5, probes=("train",)):
            sink.write(record)
        sink.close()
    (read,) = offline_runs(tmp_path)
    assert [(row["_step"], row["rra/epoch"]) for row in read.rows("rra/train/id/fc")] == [(n, n) for n in range(5)]


def test_a_snapshot_in_place_of_another_has_none_of_its_values(tmp_path):
    with offline_run(tmp_path, "stale") as run:
        rows = RunRows(run)
        rows.add({"rra/epoch": 1.0, "rra/a": 1.0, "rra/b": 1.0}, 1)
        rows.add({"rra/epoch": 1.0, "rra/a": 2.0}, 1)
        rows.end(1)
    (row,) = offline_runs(tmp_path)[0].history
    assert row["rra/a"] == 2.0
    assert math.isnan(float(row["rra/b"]))


def test_a_run_without_steps_takes_every_snapshot():
    class Shared:
        def __init__(self):
            self.logged = []

        @property
        def step(self):
            raise RuntimeError("a run in mode='shared' has no step")

        def log(self, values, commit=None):
            self.logged.append((values, commit))

    run = Shared()
    rows = RunRows(run)
    for epoch in range(3):
        rows.add({"rra/epoch": float(epoch)}, epoch)
    rows.end(2)
    assert run.logged == [({"rra/epoch": float(epoch)}, None) for epoch in range(3)]


def test_what_a_lightning_module_logs_with_steps_of_its_own_is_there(digits, tmp_path, sample):
    class Logging(Classifier):
        def on_train_epoch_end(self):
            self.logger.experiment.log({"mine": float(self.current_epoch)}, step=100 * (1 + self.current_epoch))

    logger = wandb_logger(tmp_path, "module")
    fit(digits, tmp_path, [RRACallback({"train": sample})], 3, module=Logging(), logger=logger)
    import wandb

    wandb.finish()
    (run,) = offline_runs(tmp_path)
    assert [(row["mine"], row["_step"]) for row in run.rows("mine")] == [(0, 100), (1, 200), (2, 300)]
    assert [row["rra/epoch"] for row in run.rows("rra/train/id_peak")] == [0, 1, 2, 3]
