import json
import logging
import os
import random
import subprocess
import sys
import warnings
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
import training
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from test_store import snapshot_of
from training import Classifier, fit

import rra_monitor as rra
from rra_monitor.integrations.lightning import RRACallback

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(training.__file__).parent)}


def epochs(store, probe="train"):
    return [store.load(probe, step, graphs=False).epoch for step in store.steps(probe)]


class TestGuest:
    @pytest.mark.parametrize("precision", ["32-true", "bf16-true"])
    def test_training_is_the_same_to_the_last_bit(self, digits, tmp_path, precision, sample):
        def outcome(callbacks):
            trainer = fit(digits, tmp_path / str(len(callbacks)), callbacks, augmented=True, precision=precision)
            return trainer.model.state_dict(), trainer.optimizers[0].state_dict(), streams()

        def streams():
            return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

        plain, watched = outcome([]), outcome([RRACallback(probes={"train": sample}, on_error="raise")])
        assert plain[0].keys() == watched[0].keys()
        for name, value in plain[0].items():
            assert torch.equal(value, watched[0][name]), name
        for slot, value in plain[1]["state"].items():
            assert torch.equal(value["momentum_buffer"], watched[1]["state"][slot]["momentum_buffer"])
        assert plain[2] == watched[2]

    def test_drawing_samples_from_the_trainer_changes_nothing_either(self, digits, tmp_path):
        plain = fit(digits, tmp_path / "a").model.state_dict()
        stream = torch.get_rng_state()
        watched = fit(digits, tmp_path / "b", [RRACallback(on_error="raise")]).model.state_dict()
        assert all(torch.equal(value, watched[name]) for name, value in plain.items())
        assert torch.equal(stream, torch.get_rng_state())

    def test_a_failing_snapshot_does_not_stop_a_training_that_watches_its_value(self, digits, tmp_path, sample):
        module = Classifier()

        def forward(model, batch):
            if 4 < module.steps < 9:
                raise RuntimeError("out of luck")
            return model(batch)

        callbacks = [
            RRACallback(probes={"train": sample}, forward=forward),
            EarlyStopping("rra/train/id_last", patience=9),
        ]
        with pytest.warns(UserWarning, match="out of luck"):
            trainer = fit(digits, tmp_path, callbacks, module=module)
        assert (module.steps, trainer.current_epoch) == (12, 3)

    def test_a_failing_snapshot_warns_and_training_goes_on(self, digits, tmp_path, sample):
        module = Classifier()

        def forward(model, batch):
            if module.steps > 4:
                raise RuntimeError("out of luck")
            return model(batch)

        callback = RRACallback(probes={"train": sample}, forward=forward)
        with pytest.warns(UserWarning, match=r"no snapshot at epoch 2, step 8; training goes on.*out of luck"):
            fit(digits, tmp_path, [callback], module=module)
        assert module.steps == 12
        assert epochs(callback.store) == [0, 1]

    def test_or_raises_on_request(self, digits, tmp_path, sample):
        module = Classifier()

        def forward(model, batch):
            if module.steps > 4:
                raise RuntimeError("out of luck")
            return model(batch)

        with pytest.raises(ValueError, match="out of luck"):
            fit(
                digits,
                tmp_path,
                [RRACallback(probes={"train": sample}, forward=forward, on_error="raise")],
                module=module,
            )


class TestMoments:
    @pytest.mark.parametrize(("every", "expected"), [(1, [0, 1, 2, 3]), (2, [0, 2, 3]), (5, [0, 3])])
    def test_untrained_every_nth_and_last(self, digits, tmp_path, sample, every, expected):
        callback = RRACallback(probes={"train": sample}, every_n_epochs=every, dirpath=tmp_path / "run")
        fit(digits, tmp_path, [callback])
        store = rra.RunStore(tmp_path / "run")
        assert epochs(store) == expected
        assert list(store.steps("train")) == [4 * epoch for epoch in expected]

    def test_the_first_snapshot_is_of_the_untrained_network(self, digits, tmp_path, sample):
        callback = RRACallback(probes={"train": sample})
        fit(digits, tmp_path, [callback], epochs=1)
        torch.manual_seed(1)
        untrained = rra.Monitor({"train": sample}).measure(training.network(), step=0, epoch=0)["train"]
        np.testing.assert_array_equal(callback.store.load("train", 0).id, untrained.id)

    def test_a_last_epoch_that_is_cut_short_is_not_counted(self, digits, tmp_path, sample):
        callback = RRACallback(probes={"train": sample})
        fit(digits, tmp_path, [callback], max_steps=6)
        assert list(zip(epochs(callback.store), callback.store.steps("train"), strict=True)) == [(0, 0), (1, 4), (1, 6)]
        assert callback.store.epochs("train") == {0: 0, 1: 4}

    def test_a_run_resumed_within_its_first_epoch_is_not_untrained(self, digits, tmp_path, sample):
        def callbacks():
            saver = ModelCheckpoint(tmp_path / "checkpoints", every_n_train_steps=2, save_top_k=-1, filename="{step}")
            return [RRACallback(probes={"train": sample}), saver]

        fit(digits, tmp_path, callbacks(), epochs=1, enable_checkpointing=True)
        again = callbacks()
        fit(
            digits,
            tmp_path,
            again,
            epochs=1,
            enable_checkpointing=True,
            ckpt_path=tmp_path / "checkpoints" / "step=2.ckpt",
        )
        assert again[0].store.epochs("train") == {0: 0, 1: 4}
        assert again[0].store.steps("train") == (0, 4)

    def test_resuming_an_earlier_checkpoint_sets_the_later_snapshots_aside(self, digits, tmp_path, sample):
        def callbacks():
            saver = ModelCheckpoint(tmp_path / "checkpoints", save_top_k=-1, filename="{epoch}")
            return [RRACallback(probes={"train": sample}, keep_graphs="last"), saver]

        fit(digits, tmp_path, callbacks(), epochs=3, enable_checkpointing=True)
        again = callbacks()
        fit(
            digits,
            tmp_path,
            again,
            epochs=2,
            enable_checkpointing=True,
            ckpt_path=tmp_path / "checkpoints" / "epoch=0.ckpt",
        )
        assert again[0].store.steps("train") == (0, 4, 8)
        assert again[0].store.graph_steps("train") == (8,)
        assert len(list((tmp_path / "rra" / "set-aside").rglob("*.curves.*"))) == 2

    def test_two_fits_of_one_trainer_are_one_run(self, digits, tmp_path, sample):
        callback = RRACallback(probes={"train": sample})
        trainer = fit(digits, tmp_path, [callback], epochs=1)
        trainer.fit_loop.max_epochs = 2
        trainer.fit(trainer.lightning_module, *training.loaders(digits))
        assert epochs(callback.store) == [0, 1, 2]

    def test_a_resumed_run_goes_on_in_its_directory(self, digits, tmp_path, sample):
        def callbacks():
            return [RRACallback(probes={"train": sample}), ModelCheckpoint(tmp_path / "checkpoints", save_last=True)]

        first = callbacks()
        fit(digits, tmp_path, first, epochs=2, enable_checkpointing=True)
        again = callbacks()
        fit(
            digits,
            tmp_path,
            again,
            epochs=4,
            enable_checkpointing=True,
            ckpt_path=tmp_path / "checkpoints" / "last.ckpt",
        )
        assert again[0].store.path == first[0].store.path
        assert epochs(again[0].store) == [0, 1, 2, 3, 4]
        lines = [json.loads(line) for line in (Path(again[0].store.path) / "records.jsonl").read_text().splitlines()]
        assert [line["epoch"] for line in lines] == [0, 1, 2, 3, 4]
        assert lines[3]["probes"]["train"]["nnls"]["prev"]["epoch"] == 2

    def test_a_directory_with_an_earlier_run_is_refused(self, digits, tmp_path, sample):
        fit(digits, tmp_path, [RRACallback(probes={"train": sample}, dirpath=tmp_path / "run")], epochs=1)
        with pytest.raises(ValueError, match=r"snapshots of an earlier run.*another dirpath"):
            fit(digits, tmp_path, [RRACallback(probes={"train": sample}, dirpath=tmp_path / "run")], epochs=1)

    def test_without_a_logger_each_run_has_its_own_directory(self, digits, tmp_path, sample):
        for _ in range(2):
            fit(digits, tmp_path, [RRACallback(probes={"train": sample})], epochs=1)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["rra", "rra-1"]

    def test_fast_dev_run_leaves_nothing(self, digits, tmp_path, sample):
        fit(digits, tmp_path, [RRACallback(probes={"train": sample}, on_error="raise")], fast_dev_run=True, logger=True)
        assert not list(tmp_path.rglob("*.safetensors"))


class TestSamples:
    def test_without_arguments_they_come_from_the_trainer(self, digits, tmp_path):
        callback = RRACallback()
        fit(digits, tmp_path, [callback], epochs=1)
        assert callback.store.probes() == ("train", "val")
        train, val = (callback.store.load(probe, 0) for probe in ("train", "val"))
        assert train.layers == ("input", "net.0", "net.1", "net.2", "net.4", "net.6")
        assert (train.nncs is not None, val.nncs is not None) == (True, True)
        assert set(train.settings.ids) <= set(range(256))
        # The validation set is digits 256 to 511: as many of the rarest class as there are, of each.
        assert val.settings.n == 10 * min(np.unique(digits[1][256:512], return_counts=True)[1])

    def test_augmented_training_data_are_left_out_with_the_remedy(self, digits, tmp_path):
        callback = RRACallback()
        with pytest.warns(UserWarning, match=r"not probed: train: .*random transform.*RRACallback"):
            fit(digits, tmp_path, [callback], epochs=1, augmented=True)
        assert callback.store.probes() == ("val",)

    def test_validation_data_are_found_before_the_first_validation(self, digits, tmp_path):
        callback = RRACallback()
        fit(digits, tmp_path, [callback], epochs=1, check_val_every_n_epoch=2, num_sanity_val_steps=0)
        assert callback.store.probes() == ("train", "val")

    def test_a_data_set_that_can_not_be_indexed_leaves_the_other(self, digits, tmp_path):
        class Stream(torch.utils.data.IterableDataset):
            def __iter__(self):
                return iter(zip(*digits, strict=True))

            def __len__(self):
                return 128

        callback = RRACallback()
        trainer = L.Trainer(
            max_epochs=1, accelerator="cpu", default_root_dir=tmp_path, callbacks=[callback], logger=False
        )
        with pytest.warns(UserWarning, match="not probed: train: Stream has no items"):
            trainer.fit(Classifier(), torch.utils.data.DataLoader(Stream(), 64), training.loaders(digits)[1])
        assert callback.store.probes() == ("val",)

    def test_two_callbacks_watch_side_by_side(self, digits, tmp_path, sample):
        callbacks = [
            RRACallback(probes={"train": sample}, dirpath=tmp_path / name, k=k) for name, k in (("a", 2), ("b", 5))
        ]
        fit(digits, tmp_path, callbacks, epochs=1)
        assert [callback.store.load("train", 4).settings.k for callback in callbacks] == [2, 5]

    def test_no_usable_data_at_all_is_refused(self, digits, tmp_path):
        with pytest.raises(ValueError, match="no probe can be drawn"):
            fit(digits, tmp_path, [RRACallback()], augmented=True, limit_val_batches=0)

    def test_a_dictionary_batch_goes_through_forward(self, digits, tmp_path):
        inputs = {"image": digits[0][:60], "mask": torch.ones(60, 1, 8, 8)}
        probe = rra.FixedSample.from_tensors(inputs, digits[1][:60])
        callback = RRACallback(probes={"p": probe}, forward=lambda net, batch: net(batch["image"] * batch["mask"]))
        fit(digits, tmp_path, [callback], epochs=1)
        assert epochs(callback.store, "p") == [0, 1]

    def test_a_network_that_can_not_take_the_sample_is_refused_with_the_remedy(self, digits, tmp_path):
        probe = rra.FixedSample.from_tensors({"image": digits[0][:60]}, digits[1][:60])
        module = Classifier()
        with pytest.raises(ValueError, match=r"(?s)does not run on the sample.*pass forward="):
            fit(digits, tmp_path, [RRACallback(probes={"p": probe})], module=module)
        assert module.steps == 0


class TestTrainers:
    @pytest.mark.parametrize("precision", ["bf16-true", "16-mixed", "64-true"])
    def test_other_precisions(self, digits, tmp_path, sample, precision):
        callback = RRACallback(probes={"train": sample}, on_error="raise")
        fit(digits, tmp_path, [callback], epochs=1, precision=precision)
        assert np.isfinite(callback.store.load("train", 4).id).all()

    def test_pytorch_lightning(self, digits, tmp_path, sample):
        import pytorch_lightning as pl

        class Module(pl.LightningModule):
            forward, training_step = Classifier.forward, Classifier.training_step
            validation_step, configure_optimizers = Classifier.validation_step, Classifier.configure_optimizers

            def __init__(self):
                super().__init__()
                self.net, self.steps = training.network(), 0

        callback = RRACallback(probes={"train": sample}, on_error="raise")
        logger = pl.loggers.TensorBoardLogger(tmp_path)
        trainer = fit(digits, tmp_path, [callback], kind=pl, module=Module(), logger=logger)
        assert epochs(callback.store) == [0, 1, 2, 3]
        assert callback.store.path == f"{logger.log_dir}/rra"
        assert "rra/train/id_peak" in trainer.callback_metrics

    def test_a_lightning_cli_file(self, tmp_path):
        script = tmp_path / "train.py"
        script.write_text(
            "import torch, training\n"
            "from lightning.pytorch import LightningDataModule\n"
            "from lightning.pytorch.cli import LightningCLI\n"
            "from sklearn.datasets import load_digits\n"
            "class Digits(LightningDataModule):\n"
            "    def setup(self, stage):\n"
            "        data = load_digits()\n"
            "        images = torch.tensor(data.images / 16, dtype=torch.float32)[:, None]\n"
            "        self.loaders = training.loaders((images, torch.tensor(data.target)))\n"
            "    def train_dataloader(self):\n"
            "        return self.loaders[0]\n"
            "    def val_dataloader(self):\n"
            "        return self.loaders[1]\n"
            "LightningCLI(training.Classifier, Digits)\n"
        )
        (tmp_path / "fit.yaml").write_text(
            "trainer:\n  max_epochs: 1\n  accelerator: cpu\n  enable_progress_bar: false\n  logger: false\n"
            "  enable_checkpointing: false\n  callbacks:\n"
            "    - class_path: rra_monitor.integrations.lightning.RRACallback\n"
            "      init_args: {dirpath: run, n: 100, layers: ['input', 'net.*'], k: 5, batch_size: 32}\n"
        )
        command = [sys.executable, str(script), "fit", "--config", "fit.yaml"]
        done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        store = rra.RunStore(tmp_path / "run")
        assert store.probes() == ("train", "val")
        assert store.load("train", 4).settings.k == 5

    def test_two_ranks_measure_alike_and_rank_zero_writes(self, tmp_path):
        script = Path(__file__).with_name("two_ranks.py")
        environment = {
            "PYTHONPATH": str(Path(training.__file__).parent),
            "PATH": "/usr/bin:/bin",
            "OMP_NUM_THREADS": "1",
        }
        done = subprocess.run(
            [sys.executable, str(script), str(tmp_path)], env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        assert epochs(rra.RunStore(tmp_path / "run")) == [0, 1, 2]
        assert len((tmp_path / "run" / "records.jsonl").read_text().splitlines()) == 3
        ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
        assert ranks[0]["monitored"]["rra/train/id_peak"] > 0
        assert ranks[0]["monitored"] == ranks[1]["monitored"]
        # What each rank measured by itself, before anything was shared.
        assert ranks[0]["measured"] == ranks[1]["measured"]
        assert len(ranks[1]["measured"]) == 3

    def test_it_says_what_it_will_do(self, digits, tmp_path, sample, caplog):
        logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
        logger.addHandler(caplog.handler)
        with caplog.at_level(logging.INFO):
            fit(digits, tmp_path, [RRACallback(probes={"train": sample}, every_n_epochs=2, keep_graphs=3)], epochs=1)
        logger.removeHandler(caplog.handler)
        (text,) = {record.message for record in caplog.records if record.message.startswith("RRA monitor")}
        for words in (
            "train: 6 layers of 200 samples (10 classes), k = 2",
            "input, net.0, net.1",
            "before training, every 2 epochs and at the end; each time about",
            "s and 0.1 MB",
            f"stored in {tmp_path}/rra; the graphs of 3 snapshots are kept",
        ):
            assert words in text

    def test_a_refusal_on_rank_zero_ends_both_ranks_with_its_reason(self, tmp_path):
        rra.RunStore(tmp_path / "run").save(snapshot_of(4))
        script = Path(__file__).with_name("two_ranks.py")
        done = subprocess.run(
            [sys.executable, str(script), str(tmp_path)],
            env=ENVIRONMENT | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode != 0
        assert done.stderr.count("holds the snapshots of an earlier run") >= 2


class TestReferences:
    def test_every_epoch_is_compared_with_the_same_epoch(self, digits, tmp_path, sample):
        first = RRACallback(probes={"train": sample})
        fit(digits, tmp_path / "a", [first], epochs=2)
        second = RRACallback(probes={"train": sample}, references={"twin": first.store.path})
        fit(digits, tmp_path / "b", [second], epochs=2)
        lines = [json.loads(line) for line in (tmp_path / "b" / "rra" / "records.jsonl").read_text().splitlines()]
        twins = [line["probes"]["train"]["nnls"]["ref-twin"] for line in lines]
        assert [twin["epoch"] for twin in twins] == [0, 1, 2]
        # The same seed: the same network at each epoch.
        assert all(value == 1.0 for twin in twins for value in twin["layers"])

    def test_what_can_not_be_compared_is_refused_before_training(self, digits, tmp_path, sample):
        first = RRACallback(probes={"train": sample}, k=3)
        fit(digits, tmp_path / "a", [first], epochs=1)
        module = Classifier()
        callback = RRACallback(probes={"train": sample}, k=4, references={"a": first.store.path})
        with pytest.raises(ValueError, match="k=4 here, k=3 there"):
            fit(digits, tmp_path / "b", [callback], module=module)
        assert module.steps == 0


class TestWatchers:
    def test_early_stopping_and_checkpoints_find_the_values(self, digits, tmp_path, sample):
        stop = EarlyStopping("rra/train/id_peak", patience=0, min_delta=1e9)
        checkpoint = ModelCheckpoint(tmp_path / "best", monitor="rra/train/nnls_prev_mean", mode="max")
        callbacks = [stop, RRACallback(probes={"train": sample}), checkpoint]
        trainer = fit(digits, tmp_path, callbacks, epochs=5, enable_checkpointing=True)
        # No improvement by a billion: stopped at the second look.
        assert trainer.current_epoch == 2
        assert 0 < float(checkpoint.best_model_score) < 1

    @pytest.mark.parametrize(
        ("watcher", "options", "words"),
        [
            (lambda: EarlyStopping("rra/train/id_peek"), {}, "not logged; the nearest are rra/train/id_peak"),
            (
                lambda: EarlyStopping("rra/train/id_peak"),
                {"every_n_epochs": 2},
                "skips.*every_n_epochs=1 to RRACallback",
            ),
            (
                lambda: EarlyStopping("rra/train/id_peak", check_on_train_epoch_end=False),
                {},
                "pass check_on_train_epoch_end=True",
            ),
            (
                lambda: ModelCheckpoint(monitor="rra/train/id_peak", every_n_train_steps=2),
                {},
                "every_n_epochs=1 instead of steps",
            ),
            (
                lambda: ModelCheckpoint(monitor="rra/train/id_peak", save_on_train_epoch_end=False),
                {},
                "pass save_on_train_epoch_end=True",
            ),
        ],
    )
    def test_a_watcher_that_would_wait_in_vain_is_refused_before_training(
        self, digits, tmp_path, sample, watcher, options, words
    ):
        module = Classifier()
        callbacks = [watcher(), RRACallback(probes={"train": sample}, **options)]
        with pytest.raises(ValueError, match=words):
            fit(digits, tmp_path, callbacks, module=module, enable_checkpointing=True)
        assert module.steps == 0

    def test_a_checkpoint_of_the_same_rhythm_is_fine(self, digits, tmp_path, sample):
        checkpoint = ModelCheckpoint(tmp_path / "best", monitor="rra/train/id_peak", every_n_epochs=2)
        callbacks = [RRACallback(probes={"train": sample}, every_n_epochs=2), checkpoint]
        fit(digits, tmp_path, callbacks, epochs=4, enable_checkpointing=True)
        assert checkpoint.best_model_score is not None

    def test_watchers_of_other_values_are_left_alone(self, digits, tmp_path, sample):
        stop = EarlyStopping("loss", check_on_train_epoch_end=True)
        fit(digits, tmp_path, [stop, RRACallback(probes={"train": sample}, every_n_epochs=2)], epochs=2)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"every_n_epochs": 0}, ValueError, "expected 1 or more"),
        ({"on_error": "ignore"}, ValueError, "'warn' or 'raise'"),
        ({"layer": ["fc"]}, TypeError, "no option layer; beside its own it takes backend"),
    ],
)
def test_bad_options_are_refused(options, error, words):
    with pytest.raises(error, match=words):
        RRACallback(**options)


def test_options_of_the_monitor_and_the_store_are_refused_at_fit_start(digits, tmp_path, sample):
    module = Classifier()
    for options, words in (
        ({"k": 0}, "k must lie in 2"),
        ({"layers": ["net.9"]}, r"no layer matches 'net.9'"),
        ({"keep_graphs": "none"}, "'all', 'last'"),
    ):
        with pytest.raises(ValueError, match=words):
            fit(digits, tmp_path, [RRACallback(probes={"train": sample}, **options)], module=module)
    assert module.steps == 0


def test_nothing_is_warned_about_in_an_ordinary_run(digits, tmp_path, sample):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(digits, tmp_path, [RRACallback(probes={"train": sample})], epochs=1)
    own = [str(warning.message) for warning in caught if "rra_monitor" in warning.filename]
    assert own == []
