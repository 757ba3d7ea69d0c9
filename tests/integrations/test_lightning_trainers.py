import json
import logging
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

import rra_monitor as rra
from rra_monitor.integrations.lightning import RRACallback
from tests.helpers import ROOT, training
from tests.helpers.training import Classifier, epochs, fit
from tests.helpers.wandb_files import offline_runs

ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


class TestRRACallbackSamples:
    def test_samples_are_drawn_from_the_trainers_data_by_default(self, digits, tmp_path):
        callback = RRACallback()
        fit(digits, tmp_path, [callback], epochs=1)
        assert callback.store.probes() == ("train", "val")
        train, val = (callback.store.load(probe, 0) for probe in ("train", "val"))
        assert train.layers == ("input", "net.2", "net.6")
        assert (train.nncs is not None, val.nncs is not None) == (True, True)
        assert set(train.settings.ids) <= set(range(256))
        # The validation set is digits 256 to 511: as many of the rarest class as there are, of each.
        assert val.settings.n == 10 * min(np.unique(digits[1][256:512], return_counts=True)[1])

    def test_augmented_training_data_are_left_out_with_the_remedy(self, digits, tmp_path):
        callback = RRACallback()
        with pytest.warns(UserWarning, match=r"not probed: train: .*random transform.*RRACallback"):
            fit(digits, tmp_path, [callback], epochs=1, augmented=True)
        assert callback.store.probes() == ("val",)

    def test_a_data_set_that_can_not_be_indexed_leaves_the_other(self, digits, tmp_path):
        class Stream(torch.utils.data.IterableDataset):
            def __iter__(self):
                return iter(zip(*digits, strict=True))

            def __len__(self):
                return 128

        callback = RRACallback()
        data = torch.utils.data.DataLoader(Stream(), 64), training.loaders(digits)[1]
        with pytest.warns(UserWarning, match="not probed: train: Stream has no items"):
            fit(digits, tmp_path, [callback], 1, data=data)
        assert callback.store.probes() == ("val",)

    def test_two_callbacks_watch_side_by_side(self, digits, tmp_path, sample):
        callbacks = [
            RRACallback(probes={"train": sample}, dirpath=tmp_path / name, k=k) for name, k in (("a", 2), ("b", 5))
        ]
        fit(digits, tmp_path, callbacks, epochs=1)
        assert [callback.store.load("train", 4).settings.k for callback in callbacks] == [2, 5]

    def test_a_dictionary_batch_goes_through_forward(self, digits, tmp_path):
        inputs = {"image": digits[0][:60], "mask": torch.ones(60, 1, 8, 8)}
        probe = rra.FixedSample.from_tensors(inputs, digits[1][:60])
        callback = RRACallback(probes={"p": probe}, forward=lambda net, batch: net(batch["image"] * batch["mask"]))
        fit(digits, tmp_path, [callback], epochs=1)
        assert epochs(callback.store, "p") == [0, 1]


class TestRRACallbackTrainers:
    @pytest.mark.parametrize("precision", ["bf16-true", "16-mixed", "64-true"])
    def test_callback_measures_in_every_precision(self, digits, tmp_path, sample, precision):
        callback = RRACallback(probes={"train": sample}, on_error="raise")
        fit(digits, tmp_path, [callback], epochs=1, precision=precision)
        assert np.isfinite(callback.store.load("train", 4).id).all()

    def test_callback_works_in_a_trainer_of_pytorch_lightning(self, digits, tmp_path, sample):
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

    def test_callback_is_configured_by_a_lightning_cli_file(self, tmp_path):
        script = tmp_path / "train.py"
        script.write_text(
            "import torch\n"
            "from tests.helpers import training\n"
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
        script = ROOT / "tests" / "helpers" / "ranks" / "two_ranks.py"
        environment = {
            "PYTHONPATH": str(ROOT),
            "PATH": "/usr/bin:/bin",
            "OMP_NUM_THREADS": "1",
        }
        done = subprocess.run(
            [sys.executable, str(script), str(tmp_path)], env=environment, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, done.stderr
        assert epochs(rra.RunStore(tmp_path / "run")) == [0, 1, 2]
        assert len((tmp_path / "run" / "records.jsonl").read_text().splitlines()) == 3
        (run,) = offline_runs(tmp_path)
        assert [row["rra/epoch"] for row in run.rows("rra/val/nncs_last")] == [0, 1, 2]
        ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
        assert ranks[0]["monitored"]["rra/train/id_peak"] > 0
        assert ranks[0]["monitored"] == ranks[1]["monitored"]
        # What each rank measured by itself, before anything was shared.
        assert ranks[0]["measured"] == ranks[1]["measured"]
        assert len(ranks[1]["measured"]) == 3

    def test_the_plan_is_logged_before_training(self, digits, tmp_path, sample, caplog):
        logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
        logger.addHandler(caplog.handler)
        with caplog.at_level(logging.INFO):
            callback = RRACallback({"train": sample}, every_n_epochs=2, keep_graphs=3, views=["full", "avg2"])
            fit(digits, tmp_path, [callback], epochs=1)
        logger.removeHandler(caplog.handler)
        (text,) = {record.message for record in caplog.records if record.message.startswith("RRA monitor")}
        for words in (
            "train: 3 layers of 200 samples (10 classes), k = 2",
            "input, net.2, net.6",
            "views of each layer: full, avg2; 5 different ones in all",
            "before training, every 2 epochs and at the end; each time about",
            " kB",
            f"stored in {tmp_path}/rra; the graphs of 3 snapshots are kept, ",
        ):
            assert words in text

    def test_a_refusal_on_rank_zero_ends_both_ranks_with_its_reason(self, tmp_path):
        script = ROOT / "tests" / "helpers" / "ranks" / "two_ranks.py"
        done = subprocess.run(
            [sys.executable, str(script), str(tmp_path), str(tmp_path / "nothing")],
            env=ENVIRONMENT | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode != 0
        assert done.stderr.count("nothing holds no snapshots; give the directory") >= 2
