"""Which moments of a fit are measured, under which epoch, and with whose weights."""

from unittest.mock import patch

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import (
    EMAWeightAveraging,
    LearningRateFinder,
    StochasticWeightAveraging,
    WeightAveraging,
)
from torch import nn
from torch.optim.swa_utils import get_ema_avg_fn
from torch.utils.data import DataLoader, IterableDataset

import rra_monitor as rra
from rra_monitor.integrations.lightning import RRACallback
from tests.helpers.training import Classifier, epochs, fit


class WithoutNorm(Classifier):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))


def measured(digits, path, module, callbacks, **options):
    """Epoch and step to the weights of the last layer that were measured."""
    weights = {}
    original = rra.Monitor.measure

    def measure(monitor, model, *, step, epoch, group):
        weights[epoch, step] = float(model.net[-1].weight.abs().sum())
        return original(monitor, model, step=step, epoch=epoch, group=group)

    with patch.object(rra.Monitor, "measure", measure):
        fit(digits, path, callbacks, module=module, **options)
    return weights


class Stream(IterableDataset):
    """256 digits, with a length that promises another number, or none."""

    def __init__(self, digits, promised):
        self.items = list(zip(digits[0][:256], digits[1][:256], strict=True))
        if promised:
            self.promised = promised

    def __iter__(self):
        return iter(self.items)


class Promising(Stream):
    def __len__(self):
        return self.promised


class TestEpochs:
    @pytest.mark.parametrize("every", [1, 2])
    @pytest.mark.parametrize("promised", [300, None])
    def test_a_stream_of_another_length_than_it_promises_counts_like_any_other(
        self, digits, tmp_path, sample, every, promised
    ):
        kind = Promising if promised else Stream
        callback = RRACallback({"train": sample}, every_n_epochs=every)
        fit(digits, tmp_path, [callback], data=DataLoader(kind(digits, promised), 64))
        assert epochs(callback.store) == ([0, 1, 2, 3] if every == 1 else [0, 2, 3])
        assert callback.store.steps("train")[-1] == 12

    def test_an_epoch_that_a_stop_cuts_short_is_not_counted(self, digits, tmp_path, sample):
        class Stopping(Classifier):
            def on_train_batch_end(self, outputs, batch, index):
                self.trainer.should_stop = self.trainer.global_step == 6

        callback = RRACallback({"train": sample})
        fit(digits, tmp_path, [callback], module=Stopping())
        assert list(zip(epochs(callback.store), callback.store.steps("train"), strict=True)) == [(0, 0), (1, 4), (1, 6)]


class TestAveragedWeights:
    @pytest.mark.parametrize("every", [1, 3])
    @pytest.mark.parametrize("first", ["ours", "theirs"])
    @pytest.mark.parametrize(
        ("module", "average"),
        [
            (Classifier, lambda: StochasticWeightAveraging(swa_lrs=0.05, swa_epoch_start=2)),
            (WithoutNorm, lambda: StochasticWeightAveraging(swa_lrs=0.05, swa_epoch_start=2)),
            (Classifier, lambda: WeightAveraging(avg_fn=get_ema_avg_fn(0.9))),
        ],
        ids=["swa with batch norm", "swa", "ema"],
    )
    def test_each_snapshot_is_of_the_weights_in_training(self, digits, tmp_path, sample, module, average, first, every):
        class Recording(module):
            def __init__(self):
                super().__init__()
                self.trained = {}

            def on_train_batch_end(self, outputs, batch, index):
                # The extra epoch of averaging takes no step.
                self.trained.setdefault(self.trainer.global_step, float(self.net[-1].weight.abs().sum()))

        net = Recording()
        callbacks = [RRACallback({"train": sample}, every_n_epochs=every), average()]
        found = measured(digits, tmp_path, net, callbacks[:: 1 if first == "ours" else -1], epochs=4)
        assert [epoch for epoch, _ in found] == ([0, 1, 2, 3, 4] if every == 1 else [0, 3, 4])
        for (epoch, step), weights in found.items():
            assert step == 4 * epoch
            assert weights == net.trained.get(step, weights)

    def test_a_fit_that_is_stopped_is_measured_before_averages_replace_its_weights(self, digits, tmp_path, sample):
        class Stopping(Classifier):
            def on_train_batch_end(self, outputs, batch, index):
                self.last = float(self.net[-1].weight.abs().sum())
                self.trainer.should_stop = self.trainer.global_step == 6

        net, callback = Stopping(), RRACallback({"train": sample}, every_n_epochs=5)
        found = measured(digits, tmp_path, net, [EMAWeightAveraging(decay=0.9), callback])
        assert found[1, 6] == net.last

    def test_averages_are_probes_of_their_own_on_request(self, digits, tmp_path, sample):
        callback = RRACallback({"train": sample}, averaged=True, on_error="raise")
        fit(digits, tmp_path, [callback, EMAWeightAveraging(decay=0.9)], epochs=2)
        store = callback.store
        assert store.probes() == ("train", "train-averaged")
        last, averaged = (store.load(probe, 8) for probe in store.probes())
        assert (last.weights, averaged.weights) == ("current", "averaged")
        assert not np.array_equal(last.id, averaged.id)

    def test_averages_of_swa_are_measured_once_their_batch_norms_are(self, digits, tmp_path, sample):
        callback = RRACallback({"train": sample}, averaged=True, on_error="raise")
        swa = StochasticWeightAveraging(swa_lrs=0.05, swa_epoch_start=2)
        trainer = fit(digits, tmp_path, [callback, swa], epochs=3)
        (step,) = callback.store.steps("train-averaged")
        averaged = callback.store.load("train-averaged", step)
        with torch.no_grad():
            trained = rra.Monitor({"train": sample}).measure(trainer.lightning_module, step=1, epoch=1)["train"]
        np.testing.assert_array_equal(averaged.id, trained.id)


class TestOtherFits:
    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({"overfit_batches": 2}, [(0, 0), (1, 2), (2, 4), (3, 6)]),
            ({"val_check_interval": 2}, [(0, 0), (1, 4), (2, 8), (3, 12)]),
            ({"accumulate_grad_batches": 3}, [(0, 0), (1, 2), (2, 4), (3, 6)]),
            ({"limit_train_batches": 3}, [(0, 0), (1, 3), (2, 6), (3, 9)]),
        ],
    )
    def test_epochs_are_those_of_the_trainer(self, digits, tmp_path, sample, options, expected):
        callback = RRACallback({"train": sample}, on_error="raise")
        fit(digits, tmp_path, [callback], **options)
        assert list(zip(epochs(callback.store), callback.store.steps("train"), strict=True)) == expected

    def test_a_search_of_the_learning_rate_is_no_part_of_the_run(self, digits, tmp_path, sample):
        callback = RRACallback({"train": sample}, on_error="raise")
        search = LearningRateFinder(num_training_steps=5, early_stop_threshold=None)

        class Searching(Classifier):
            lr = 0.05

        fit(digits, tmp_path, [search, callback], module=Searching(), epochs=2)
        assert epochs(callback.store) == [0, 1, 2]
        assert callback.store.steps("train") == (0, 4, 8)

    def test_each_fold_has_a_run_of_its_own(self, digits, tmp_path, sample):
        callback = RRACallback({"train": sample}, on_error="raise")
        for _ in range(3):
            fit(digits, tmp_path, [callback], epochs=1)
        runs = sorted(path.parent.name for path in tmp_path.rglob("records.jsonl"))
        assert runs == ["rra", "rra-1", "rra-2"]
        assert all(epochs(rra.RunStore(tmp_path / run)) == [0, 1] for run in runs)

    def test_a_fit_that_runs_out_of_time_ends_with_a_snapshot(self, digits, tmp_path, sample):
        callback = RRACallback({"train": sample}, every_n_epochs=10_000, on_error="raise")
        trainer = fit(digits, tmp_path, [callback], epochs=-1, max_time={"seconds": 1})
        assert callback.store.steps("train") == (0, trainer.global_step)
