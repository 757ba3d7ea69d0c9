"""What fails in the monitor costs a snapshot at most, never the training."""

import copy
import io
import os
import subprocess
import sys
import warnings

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset, random_split

import rra_monitor as rra
from rra_monitor.integrations.lightning import RRACallback
from rra_monitor.integrations.watchers import _watchers
from tests.helpers import ROOT
from tests.helpers.training import Classifier, epochs, fit, loaders


def warned_about(caught, word):
    return [str(each.message) for each in caught if word in str(each.message)]


@pytest.fixture
def caught():
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        yield found


class Broken(Dataset):
    """Items that are read in training, and no others."""

    def __init__(self, digits):
        self.digits, self.targets = digits, digits[1][:256]
        self.broken = True

    def __len__(self):
        return 256

    def __getitem__(self, index):
        if self.broken:
            raise OSError("the disk is away")
        return self.digits[0][index], self.digits[1][index]


class TestFailuresAtTheStart:
    def test_data_that_cannot_be_read_then_leave_the_training_alone(self, digits, tmp_path, caught):
        class Mending(Classifier):
            def on_train_start(self):
                self.trainer.train_dataloader.dataset.broken = False

        data, module = Broken(digits), Mending()
        fit(digits, tmp_path, [RRACallback()], 2, module=module, data=DataLoader(data, 64))
        assert module.steps == 8
        (said,) = warned_about(caught, "no monitor in this training")
        assert "the disk is away" in said

    def test_a_sample_that_the_network_does_not_take_leaves_the_training_alone(self, digits, tmp_path, caught):
        module = Classifier()
        probe = rra.FixedSample.from_tensors({"image": digits[0][:60]}, digits[1][:60])
        fit(digits, tmp_path, [RRACallback({"p": probe})], module=module)
        assert module.steps == 12
        (said,) = warned_about(caught, "no monitor")
        assert "does not run on the sample" in said
        assert "pass forward=" in said

    def test_lazy_layers_are_measured_after_the_first_epoch(self, digits, tmp_path, caught):
        class Lazy(Classifier):
            def __init__(self):
                super().__init__()
                self.net = nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(10))

        monitor = RRACallback({"p": rra.FixedSample.from_tensors(digits[0][:60], digits[1][:60])})
        fit(digits, tmp_path, [monitor], 2, module=Lazy(), data=loaders(digits)[0])
        (said,) = warned_about(caught, "no snapshot")
        assert "no snapshot before training: LazyLinear is not initialised yet" in said
        assert [monitor.store.load("p", step).epoch for step in monitor.store.steps("p")] == [1, 2]

    def test_it_ends_the_training_on_request(self, digits, tmp_path):
        probe = rra.FixedSample.from_tensors({"image": digits[0][:60]}, digits[1][:60])
        with pytest.raises(ValueError, match=r"(?s)does not run on the sample.*pass forward="):
            fit(digits, tmp_path, [RRACallback({"p": probe}, on_error="raise")])

    def test_no_usable_data_at_all_leave_the_training_alone(self, digits, tmp_path, caught):
        module = Classifier()
        fit(digits, tmp_path, [RRACallback()], augmented=True, limit_val_batches=0, module=module)
        assert module.steps == 12
        (said,) = warned_about(caught, "no monitor in this training")
        assert "random" in said
        assert "pass probes=" in said

    @pytest.mark.parametrize("options", [{"layers": ["net.9"]}, {"references": {"old": "nowhere"}}])
    def test_what_the_user_must_decide_is_refused_before_training(self, digits, tmp_path, sample, options):
        module = Classifier()
        with pytest.raises(ValueError, match=r"no layer matches 'net\.9'|reference 'old'"):
            fit(digits, tmp_path, [RRACallback({"train": sample}, **options)], module=module)
        assert module.steps == 0

    def test_a_watcher_is_refused_where_there_is_no_monitor(self, digits, tmp_path):
        watcher = EarlyStopping("rra/train/id_last")
        with (
            pytest.warns(UserWarning, match="no monitor in this training"),
            pytest.raises(ValueError, match=r"EarlyStopping.*would wait in vain"),
        ):
            fit(digits, tmp_path, [RRACallback(), watcher], augmented=True, limit_val_batches=0)

    def test_a_batch_that_does_not_fit_in_memory_is_halved(self, digits, tmp_path, sample, caught):
        class Full(nn.Module):
            def forward(self, x):
                if len(x) > 64 and not self.training:
                    raise torch.cuda.OutOfMemoryError("CUDA out of memory, played")
                return x

        module = Classifier()
        module.net.insert(0, Full())
        callback = RRACallback({"train": sample})
        fit(digits, tmp_path, [callback], module=module, epochs=1, limit_val_batches=0)
        assert epochs(callback.store) == [0, 1]
        assert len(warned_about(caught, "does not fit in memory")) == 1


class TestLoadersOfValidation:
    def test_they_are_made_when_the_trainer_makes_them(self, digits, tmp_path):
        class Splitting(L.LightningDataModule):
            """Splits at random when a loader is asked for."""

            def __init__(self):
                super().__init__()
                self.asked = []

            def setup(self, stage):
                self.data = TensorDataset(digits[0][:512], digits[1][:512])

            def train_dataloader(self):
                return DataLoader(random_split(self.data, [256, 256])[0], 64, shuffle=True)

            def val_dataloader(self):
                self.asked.append(self.trainer.current_epoch)
                return DataLoader(random_split(self.data, [256, 256])[1], 128)

        def outcome(callbacks, folder):
            torch.manual_seed(1)
            data, module = Splitting(), Classifier()
            when = {"num_sanity_val_steps": 0, "check_val_every_n_epoch": 2}
            fit(digits, tmp_path / folder, callbacks, 4, module=module, data=data, **when)
            return data.asked, module.state_dict(), torch.get_rng_state()

        callback = RRACallback(on_error="raise")
        plain, watched = outcome([], "plain"), outcome([callback], "watched")
        assert plain[0] == watched[0] == [1]
        assert all(torch.equal(value, watched[1][name]) for name, value in plain[1].items())
        assert torch.equal(plain[2], watched[2])
        assert epochs(callback.store, "train") == [0, 1, 2, 3, 4]
        assert epochs(callback.store, "val") == [2, 3, 4]

    def test_a_watcher_of_data_that_come_late_is_refused_with_a_remedy_that_works(self, digits, tmp_path, sample):
        def watched(**options):
            fit(digits, tmp_path, [RRACallback(), EarlyStopping("rra/val/id_last")], epochs=1, **options)

        with pytest.raises(ValueError, match="pass check_val_every_n_epoch=1"):
            watched(check_val_every_n_epoch=2, num_sanity_val_steps=0)
        watched(check_val_every_n_epoch=1, num_sanity_val_steps=0)


class Scalar(Classifier):
    """Its first layer gets a number, not a batch."""

    def __init__(self):
        super().__init__()
        self.task = nn.Embedding(2, 1)

    def forward(self, images):
        return self.net(images + self.task(torch.tensor(1)))


class Sparse(Classifier):
    """Its first layer gets a sparse matrix."""

    def __init__(self):
        super().__init__()
        self.graph = nn.Linear(4, 4)

    def forward(self, images):
        self.graph.forward = lambda matrix: matrix
        return self.net(images) + self.graph(torch.eye(4).to_sparse()).to_dense().mean()


class Scripted(Classifier):
    def __init__(self):
        super().__init__()
        self.net[0] = torch.jit.trace(self.net[0], torch.zeros(2, 1, 8, 8))


class Copying(Classifier):
    """Copies and saves its network within the first step, as for a teacher."""

    def training_step(self, batch, index):
        if self.steps == 0:
            torch.save(copy.deepcopy(self.net), io.BytesIO())
        return super().training_step(batch, index)


class Narrow(Classifier):
    """Logs in a way of its own."""

    def log(self, name, value):
        super().log(f"mine/{name}", value)


class TestOddModules:
    @pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
    @pytest.mark.parametrize("kind", [Scalar, Sparse, Scripted, Copying, Narrow])
    def test_the_training_is_as_without_the_monitor(self, digits, tmp_path, sample, kind):
        def outcome(folder, callbacks):
            torch.manual_seed(1)
            trainer = fit(digits, tmp_path / folder, callbacks, 1, module=kind(), limit_val_batches=0)
            return trainer.lightning_module.state_dict()

        plain, watched = outcome("plain", []), outcome("watched", [RRACallback({"train": sample})])
        assert all(torch.equal(value, watched[name]) for name, value in plain.items())

    def test_a_default_type_of_double_precision_is_no_reason_to_fail(self, digits, tmp_path, sample):
        torch.set_default_dtype(torch.float64)
        try:
            callback = RRACallback({"train": sample}, on_error="raise", forward=lambda net, batch: net(batch.double()))
            data = DataLoader(TensorDataset(digits[0][:256].double(), digits[1][:256]), 64)
            fit(digits, tmp_path, [callback], 1, data=data)
        finally:
            torch.set_default_dtype(torch.float32)
        assert epochs(callback.store) == [0, 1]

    def test_a_callback_whose_value_cannot_be_read_is_left_alone(self, digits, tmp_path, sample):
        class Odd(L.Callback):
            @property
            def monitor(self):
                raise RuntimeError("not yet")

        callback = RRACallback({"train": sample}, on_error="raise")
        trainer = L.Trainer(callbacks=[callback], accelerator="cpu", logger=False, default_root_dir=tmp_path)
        trainer.callbacks.append(Odd())
        assert list(_watchers(trainer)) == []


class TestFailuresInASnapshot:
    def test_features_that_are_not_finite_cost_the_snapshots_that_have_them(self, digits, tmp_path, sample, caught):
        class Exploding(Classifier):
            def on_train_epoch_start(self):
                if self.current_epoch == 1:
                    self.net[-1].bias.data[0] = float("nan")

        callback = RRACallback({"train": sample})
        module = Exploding()
        fit(digits, tmp_path, [callback], module=module)
        assert module.steps == 12
        assert epochs(callback.store) == [0, 1]
        (said,) = warned_about(caught, "no snapshot at epoch 2")
        assert "layer 'net." in said
        assert "nan" in said.lower()

    def test_what_fails_at_every_snapshot_is_said_at_the_start_and_not_at_each(self, digits, tmp_path, sample, caught):
        module = Classifier()
        module.net[-1].weight.data[0] = float("nan")
        fit(digits, tmp_path, [RRACallback({"train": sample})], 11, module=module, limit_train_batches=1)
        said = warned_about(caught, "no snapshot at")
        assert [text.partition(",")[0] for text in said] == ["no snapshot at epoch 0", "no snapshot at epoch 9"]
        assert "(for the 10th time)" in said[1]

    def test_a_quantity_that_always_fails_is_said_once_for_all_layers(self, digits, tmp_path, sample, caught):
        def failing(graph, labels):
            raise KeyError("mistake")

        callback = RRACallback({"train": sample}, quantities=[rra.Quantity("mine", failing)])
        fit(digits, tmp_path, [callback], 2)
        (said,) = warned_about(caught, "Mine undefined")
        assert said.startswith("layers input, net.2")
        assert "KeyError('mistake')" in said
        assert epochs(callback.store) == [0, 1, 2]

    def test_a_layer_that_disappears_costs_the_snapshots_without_it(self, digits, tmp_path, sample, caught):
        class Losing(Classifier):
            def on_train_epoch_start(self):
                if self.current_epoch == 2:
                    self.net = nn.Sequential(*(each for place, each in enumerate(self.net) if place != 3))

        callback = RRACallback({"train": sample}, layers=["input", "net.6"])
        module = Losing()
        fit(digits, tmp_path, [callback], module=module)
        assert module.steps == 12
        assert epochs(callback.store) == [0, 1, 2]
        assert "no layer matches 'net.6'" in warned_about(caught, "no snapshot at epoch 3")[0]

    def test_training_in_one_endless_epoch_is_said_to_be_measured_at_its_ends(self, digits, tmp_path, sample, caught):
        callback = RRACallback({"train": sample})
        fit(digits, tmp_path, [callback], max_steps=3, epochs=-1)
        assert callback.store.steps("train") == (0, 3)
        (said,) = warned_about(caught, "training ends after 3 of them")
        assert "every_n_steps=…" in said
        again = RRACallback({"train": sample})
        fit(digits, tmp_path, [again], max_steps=3, epochs=-1, limit_train_batches=1)
        assert again.store.steps("train") == (0, 1, 2, 3)


INTERRUPTED = """
import os, signal, sys, torch
from tests.helpers.training import Classifier, fit
from sklearn.datasets import load_digits
import rra_monitor as rra
from rra_monitor.integrations.lightning import RRACallback

signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background has it ignored
data = load_digits()
digits = torch.tensor(data.images / 16, dtype=torch.float32)[:, None], torch.tensor(data.target)
module = Classifier()
calls = 0


def forward(model, batch):
    global calls
    calls += 1
    if module.steps == 8 and calls % 2:
        os.kill(os.getpid(), signal.SIGINT)
    return model(batch)


callback = RRACallback({"train": rra.FixedSample.from_tensors(digits[0][:200], digits[1][:200])}, forward=forward)
try:
    fit(digits, sys.argv[1], [callback], module=module)
finally:
    hooks = sum(len(each._forward_hooks) for each in module.modules())
    print("hooks", hooks, "training", all(each.training for each in module.modules()), flush=True)
"""


class TestInterruption:
    def test_ctrl_c_within_a_snapshot_loses_that_snapshot_alone(self, tmp_path):
        done = subprocess.run(
            [sys.executable, "-c", INTERRUPTED, str(tmp_path)],
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert "hooks 0" in done.stdout, done.stderr
        assert epochs(rra.RunStore(tmp_path / "rra")) == [0, 1]
