"""Which steps and epochs of a fit are measured, and how much of its time that takes."""

import json
import os
import subprocess
import sys
import time
import warnings
from unittest.mock import patch

import pytest
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint

import rra_monitor as rra
import rra_monitor.integrations.fit as fit_module
import rra_monitor.integrations.rhythm as rhythm_module
from rra_monitor.integrations.lightning import RRACallback
from tests.helpers import ROOT
from tests.helpers.training import Classifier, epochs, fit

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def probes(digits):
    return {"train": rra.FixedSample.from_tensors(digits[0][:40], digits[1][:40])}


@pytest.fixture
def moments(digits, tmp_path, probes):
    """A training with options of the callback and of the trainer to the steps and epochs that were measured, once."""

    def measured(options, module=None, **training):
        steps, original = [], rra.Monitor.measure

        def measure(monitor, model, **moment):
            steps.append(moment["step"])
            return original(monitor, model, **moment)

        callback = RRACallback(probes, layers=["input"], on_error="raise", **options)
        with patch.object(rra.Monitor, "measure", measure):
            fit(digits, tmp_path, [callback], module=module, **training)
        store = callback.store
        assert [*store.steps("train")] == steps
        return list(zip(steps, epochs(store), strict=True))

    return measured


class TestSteps:
    def test_every_so_many_steps_and_no_end_of_an_epoch(self, moments):
        found = moments({"every_n_steps": 3}, epochs=3)
        assert found == [(0, 0), (3, 0), (6, 1), (9, 2), (12, 3)]

    def test_the_last_step_of_an_epoch_completes_it(self, moments):
        assert moments({"every_n_steps": 4}, epochs=2) == [(0, 0), (4, 1), (8, 2)]

    def test_both_rhythms_at_once(self, moments):
        found = moments({"every_n_steps": 3, "every_n_epochs": 2}, epochs=4)
        assert found == [(0, 0), (3, 0), (6, 1), (8, 2), (9, 2), (12, 3), (15, 3), (16, 4)]

    def test_accumulated_gradients_are_one_step(self, moments):
        found = moments({"every_n_steps": 1}, epochs=2, accumulate_grad_batches=3)
        # Batches 1 to 3, then the rest of the epoch.
        assert found == [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2)]

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({"limit_train_batches": 3}, [(0, 0), (2, 0), (4, 1), (6, 2)]),
            ({"max_steps": 5}, [(0, 0), (2, 0), (4, 1), (5, 1)]),
            ({"max_steps": 6}, [(0, 0), (2, 0), (4, 1), (6, 1)]),
            ({"val_check_interval": 1}, [(0, 0), (2, 0), (4, 1), (6, 1), (8, 2)]),
        ],
        ids=str,
    )
    def test_steps_are_the_trainers(self, moments, options, expected):
        assert moments({"every_n_steps": 2}, epochs=2, **options) == expected

    def test_several_optimisers_step_past_a_moment(self, moments):
        class Two(Classifier):
            automatic_optimization = False

            def training_step(self, batch, index):
                for optimiser in self.optimizers():
                    loss = torch.nn.functional.cross_entropy(self(batch[0]), batch[1])
                    optimiser.zero_grad()
                    self.manual_backward(loss)
                    optimiser.step()

            def configure_optimizers(self):
                return [torch.optim.SGD(self.net[at].parameters(), 0.1) for at in (0, -1)]

            def __init__(self):
                super().__init__()
                self.automatic_optimization = False

        # Two steps a batch: 3, 6 and 9 are passed at the ends of batches 2, 3 and 5.
        assert moments({"every_n_steps": 3}, module=Two(), epochs=1, limit_train_batches=4) == [
            *((0, 0), (4, 0), (6, 0)),
            (8, 1),
        ]

    def test_no_advice_to_a_training_shorter_than_its_epoch_that_is_measured_by_steps(self, moments):
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "an epoch has")
            assert moments({"every_n_steps": 1}, max_steps=2) == [(0, 0), (1, 0), (2, 0)]


class TestFunctions:
    def test_it_is_asked_at_every_step_and_chooses(self, moments):
        asked = []

        def choose(step):
            asked.append(step)
            return step in (1, 2, 7)

        found = moments({"schedule": choose}, epochs=2, accumulate_grad_batches=1)
        assert asked == [*range(1, 9)]
        assert found == [(0, 0), (1, 0), (2, 0), (7, 1), (8, 2)]

    def test_one_that_fails_is_a_warning_and_training_goes_on(self, digits, tmp_path, probes):
        def choose(step):
            if step == 2:
                raise KeyError(step)
            return step == 3

        callback = RRACallback(probes, layers=["input"], schedule=choose)
        with pytest.warns(UserWarning, match=r"schedule failed at step 2, which is not measured: KeyError\(2\)$"):
            fit(digits, tmp_path, [callback], epochs=1)
        assert callback.store.steps("train") == (0, 3, 4)

    def test_one_that_fails_ends_the_training_on_request(self, moments):
        with pytest.raises(ZeroDivisionError):
            moments({"schedule": lambda step: 1 // 0}, epochs=1)


class TestOverhead:
    @pytest.fixture
    def slow(self, monkeypatch):
        """Seconds that each measurement and each step of the training take, by the clock of the monitor."""
        clock = [0.0]
        monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
        monkeypatch.setattr(fit_module, "total", lambda *_: 2.0)

        def take(measuring, training):
            original = rra.Monitor.measure

            def measure(monitor, model, **moment):
                clock[0] += measuring
                return original(monitor, model, **moment)

            class Training(Callback):
                def on_train_batch_start(self, *_):
                    clock[0] += training

            monkeypatch.setattr(rra.Monitor, "measure", measure)
            return Training()

        return take

    def run(self, digits, path, probes, training, epochs=16, resumed=None, **options):
        options = {"max_overhead": 0.1, "layers": ["input"], "on_error": "raise"} | options
        callback = RRACallback(probes, dirpath=path / "run", **options)
        saver = ModelCheckpoint(path / "checkpoints", save_top_k=-1, filename="{epoch}")
        fit(
            digits,
            path,
            [callback, training, saver],
            epochs=epochs,
            limit_train_batches=1,
            limit_val_batches=0,
            enable_checkpointing=True,
            ckpt_path=resumed,
        )
        lines = [json.loads(line) for line in (path / "run" / "records.jsonl").read_text().splitlines()]
        return [line["epoch"] for line in lines], lines[-1]

    def test_the_interval_doubles_until_the_share_is_kept_and_is_said(
        self, digits, tmp_path, probes, slow, monkeypatch
    ):
        said = []
        monkeypatch.setattr(rhythm_module, "rank_zero_info", said.append)
        # 16 epochs of 8 s: 5 snapshots of 2 s are 7 %, 9 are 12 %.
        found, last = self.run(digits, tmp_path, probes, slow(2.0, 8.0))
        assert found == [0, 4, 8, 12, 16]
        assert last["interval"] == 4
        assert last["overhead"] == pytest.approx(10 / 138, abs=0.02)
        assert last["overhead"] <= 0.1
        assert said == [
            "RRA monitor: from now on every 4 epochs: every epoch would take 21.0% of the time, at 2 s each, more than "
            "max_overhead=0.1"
        ]

    def test_steps_and_chosen_steps_are_thinned_alike(self, digits, tmp_path, probes, slow):
        training = slow(2.0, 8.0)
        found, _ = self.run(digits, tmp_path / "a", probes, training, every_n_steps=2)
        assert found == [0, 4, 8, 12, 16]
        found, _ = self.run(digits, tmp_path / "b", probes, training, schedule=lambda step: step % 2 == 0)
        assert found == [0, 4, 8, 12, 16]

    def test_a_resumed_run_keeps_its_interval(self, digits, tmp_path, probes, slow):
        self.run(digits, tmp_path, probes, slow(2.0, 8.0), epochs=9)
        saved = tmp_path / "checkpoints" / "epoch=5.ckpt"
        # By itself the rest would be measured at every epoch.
        found, last = self.run(digits, tmp_path, probes, slow(0.0, 1000.0), resumed=saved)
        assert found == [0, 4, 8, 12, 16]
        assert last["interval"] == 4

    def test_a_state_that_is_damaged_starts_anew(self, digits, tmp_path, probes):
        for state in ({"rhythm": {"interval": -4}}, {"rhythm": {"interval": "4"}}, {"rhythm": 4}, {"rhythm": {}}):
            callback = RRACallback(probes, layers=["input"], max_overhead=0.99)
            callback.load_state_dict(state)
            fit(digits, tmp_path, [callback], epochs=1, limit_train_batches=1)
            assert callback.state_dict()["rhythm"] == {"interval": 1, "chosen": 0}

    def test_all_that_the_monitor_does_counts(self, digits, tmp_path, probes, slow, monkeypatch):
        training = slow(0.0, 1.0)

        def lasting(kind, name):
            original = getattr(kind, name)

            def longer(*arguments, **options):
                clock = time.perf_counter.__closure__[0].cell_contents
                clock[0] += 1.0
                return original(*arguments, **options)

            monkeypatch.setattr(kind, name, longer)

        lasting(rra.Monitor, "plan")
        lasting(rra.RunStore, "claim")
        lasting(rra.JSONLSink, "write")
        _, last = self.run(digits, tmp_path, probes, training, epochs=2, max_overhead=None)
        # Announced, claimed, and two of three records written until then, beside two steps of training.
        assert last["overhead"] == pytest.approx(4 / 6)

    def test_values_reach_every_logger(self, digits, tmp_path, probes):
        callback = RRACallback(probes, layers=["input"], every_n_steps=2)
        fit(digits, tmp_path, [callback], epochs=1, logger=True)
        (file,) = tmp_path.rglob("events.out.tfevents*")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(file)).Reload()
        for key in ("rra/overhead", "rra/seconds"):
            found = events.Tensors(key) if key in events.Tags()["tensors"] else events.Scalars(key)
            assert [event.step for event in found] == [0, 2, 4]


class TestWatchers:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"max_overhead": 0.05}, r"RRACallback\(max_overhead=0.05\) may leave epochs out; pass max_overhead=None"),
            ({"every_n_steps": 4}, "every_n_steps or schedule alone; pass every_n_epochs=1 as well"),
            ({"schedule": bool}, "every_n_steps or schedule alone; pass every_n_epochs=1 as well"),
        ],
        ids=str,
    )
    def test_a_watcher_of_an_epoch_that_may_be_left_out_is_refused(self, digits, tmp_path, probes, options, words):
        module = Classifier()
        callbacks = [EarlyStopping("rra/train/id_peak"), RRACallback(probes, layers=["input"], **options)]
        with pytest.raises(ValueError, match=words):
            fit(digits, tmp_path, callbacks, module=module)
        assert module.steps == 0

    def test_the_newest_value_is_found_at_every_step_and_not_a_mean(self, digits, tmp_path, probes):
        seen = {}

        class Looking(Callback):
            def on_train_batch_end(self, trainer, *_):
                seen[trainer.global_step] = float(trainer.callback_metrics.get("rra/train/id_last", -1))

            def on_train_epoch_end(self, trainer, *_):
                seen[-trainer.global_step] = float(trainer.callback_metrics["rra/train/id_last"])

        callback = RRACallback(probes, layers=["net.6"], every_n_steps=1, every_n_epochs=1)
        module = Classifier()
        trainer = fit(digits, tmp_path, [callback, Looking()], module=module, epochs=2)
        stored = {step: callback.store.load("train", step).id[-1] for step in callback.store.steps("train")}
        assert seen == pytest.approx(
            {step: stored[step] for step in (1, 2, 3, 5, 6, 7)}
            | {4: stored[3], 8: stored[7], -4: stored[4], -8: stored[8]}
        )
        assert float(trainer.callback_metrics["rra/train/id_last"]) == pytest.approx(stored[8])


def test_two_ranks_measure_the_moments_of_rank_zero(tmp_path):
    script = ROOT / "tests" / "helpers" / "ranks" / "rhythm_ranks.py"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    assert ranks[0] == ranks[1]
    # 256 images in batches of 64 over two ranks: two steps an epoch.
    assert ranks[0]["schedule"]["steps"] == [0, 3, 6, 8]
    for name in ("schedule", "max_overhead"):
        stored = rra.RunStore(tmp_path / name).steps("train")
        assert [*stored] == sorted({0, *ranks[0][name]["steps"]})
