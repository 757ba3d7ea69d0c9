"""The remedies that texts about callbacks, loggers and artifacts name, each of them followed."""

import shutil

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset
from wandb.cli.cli import artifact

import rra_monitor as rra
from rra_monitor.integrations.lightning import RRACallback
from rra_monitor.integrations.wandb.references import reference_path
from rra_monitor.integrations.wandb.sink import WandbSink
from tests.helpers.remedies import Remedy
from tests.helpers.training import Classifier, fit

pytestmark = pytest.mark.usefixtures("one_thread", "wandb_offline")


class Plateau(Classifier):
    """Halves its rate when the ID no longer rises."""

    def __init__(self, interval):
        super().__init__()
        self.interval = interval

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, "max")
        way = {"scheduler": scheduler, "monitor": "rra/train/id_peak", "interval": self.interval}
        return {"optimizer": optimizer, "lr_scheduler": way}


@pytest.fixture
def probes(digits):
    return {"train": rra.FixedSample.from_tensors(digits[0][:30], digits[1][:30])}


@pytest.fixture
def watched(digits, tmp_path, probes):
    """One epoch, watched by a callback of the given options; each in a folder of its own unless one is given."""

    def train(watcher=None, path=None, resumed=None, module=None, augmented=False, **options):
        options = {"probes": probes, "layers": ["input"]} | options
        callbacks = [*([watcher] if watcher else []), RRACallback(**options)]
        path = path or tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        path.mkdir(exist_ok=True)
        saves = isinstance(watcher, ModelCheckpoint)
        epochs = 2 if resumed else 1
        return fit(digits, path, callbacks, epochs, augmented, module, resumed, enable_checkpointing=saves)

    return train


def stopping(**options):
    return EarlyStopping("rra/train/id_peak", **options)


def saving(**options):
    return ModelCheckpoint(monitor="rra/train/id_peak", **options)


def test_callback_remedies_are_followed(watched, tmp_path, digits):
    whole = {
        name: rra.FixedSample.from_tensors(digits[0][at : at + 30], digits[1][at : at + 30])
        for name, at in (("train", 0), ("val", 300))
    }
    for remedy in (
        Remedy(
            "expected 'warn' or 'raise'",
            lambda: RRACallback(on_error="ignore"),
            lambda: RRACallback(on_error="warn"),
            lambda: RRACallback(on_error="raise"),
        ),
        Remedy(
            "no probe can be drawn from the trainer's data ({}); pass probes={…}",
            lambda: fit(digits, tmp_path, [RRACallback()], 1, augmented=True, limit_val_batches=0),
            lambda: watched(augmented=True, probes=whole),
        ),
        Remedy(
            "Pass it in probes={…} of RRACallback.",
            lambda: watched(augmented=True, probes=None),
            lambda: watched(augmented=True, probes=whole),
        ),
    ):
        remedy.check()


def test_callback_remedies_for_a_run_elsewhere_are_followed(watched, tmp_path):
    watched(path=tmp_path / "own").save_checkpoint(tmp_path / "last.ckpt")
    for name in ("by root", "by dirpath"):
        shutil.copytree(tmp_path / "own", tmp_path / name)
    held = torch.load(tmp_path / "last.ckpt", weights_only=True)
    (key,) = (key for key in held["callbacks"] if "RRACallback" in key)

    def resumed(of, **options):
        torch.save(held | {"callbacks": {key: {"dirpath": str(tmp_path / of / "rra")}}}, tmp_path / "first.ckpt")
        return watched(resumed=tmp_path / "first.ckpt", **options)

    Remedy(
        "is neither below default_root_dir ({}) nor below a logger's save_dir, and a checkpoint may come from somebody "
        "else; going on in a new directory. If it is yours, pass that default_root_dir, or dirpath",
        lambda: resumed("own"),
        lambda: resumed("by root", path=tmp_path / "by root"),
        lambda: resumed("by dirpath", dirpath=tmp_path / "by dirpath" / "rra"),
    ).check()
    for name in ("by root", "by dirpath"):
        assert rra.RunStore(tmp_path / name / "rra").steps("train") == (0, 4, 8)


def test_remedies_about_batches_are_followed(watched, tmp_path, digits):
    class Scaling(Classifier):
        """Scales the inputs, at the given place."""

        def __init__(self, where):
            super().__init__()
            self.where = where

        def training_step(self, batch, index):
            times = 9.0 if self.where == "training_step" else 1.0
            return super().training_step((batch[0] * times, batch[1]), index)

        def on_after_batch_transfer(self, batch, dataloader_idx):
            return [batch[0] * 9.0, batch[1]] if self.where == "hook" else batch

    images, labels = digits
    scaled = {"train": rra.FixedSample.from_tensors(images[:60] * 9, labels[:60])}
    alike = {"train": rra.FixedSample.from_tensors(images[:60], labels[:60])}
    whole = TensorDataset(*(each[:240].unflatten(0, (4, 60)) for each in digits))

    def in_whole_batches(**options):
        callbacks = [RRACallback(layers=["input"], **options)]
        return fit(digits, tmp_path, callbacks, 1, data=DataLoader(whole, batch_size=None))

    for remedy in (
        Remedy(
            "its loader has batch_size=None, so an item of its data set is a whole batch",
            lambda: in_whole_batches(),
            lambda: in_whole_batches(probes=alike),
        ),
        Remedy(
            "probe {} differs from what the network is fed: {}. If that is not meant, pass probes={{}: "
            "FixedSample.from_tensors(…)} with inputs as in a batch",
            lambda: watched(probes=scaled),
            lambda: watched(probes=alike),
        ),
        Remedy(
            "the network gets something else in training than of probe {}: {}. What training_step does with a batch "
            "before it calls the network belongs into on_after_batch_transfer, or into forward=… of RRACallback",
            lambda: watched(probes=alike, module=Scaling("training_step")),
            lambda: watched(probes=alike, module=Scaling("hook")),
            lambda: watched(
                probes=alike, module=Scaling("training_step"), forward=lambda model, batch: model(batch * 9.0)
            ),
        ),
        Remedy(
            "For more, pass every_n_steps=… to RRACallback",
            lambda: fit(digits, tmp_path, [RRACallback(alike)], max_steps=3),
            lambda: fit(digits, tmp_path, [RRACallback(alike, every_n_steps=1)], max_steps=3),
        ),
        Remedy(
            "averaged=True, but no callback averages weights; add one, such as EMAWeightAveraging",
            lambda: watched(averaged=True),
            lambda: watched(EMAWeightAveraging(), averaged=True),
        ),
    ):
        remedy.check()


def test_watcher_remedies_are_followed(watched, tmp_path, digits):
    def seldom(**options):
        value = f"rra/{options.pop('probe', 'val')}/id_last"
        callbacks = [RRACallback(layers=["input"]), EarlyStopping(value, check_on_train_epoch_end=True)]
        return fit(digits, tmp_path, callbacks, 1, num_sanity_val_steps=0, **options)

    for remedy in (
        Remedy(
            "{} watches validation data, which the trainer does not load before its first validation, epochs ahead; "
            "pass check_val_every_n_epoch=1 to it, or watch a value of the probe 'train'",
            lambda: seldom(check_val_every_n_epoch=2),
            lambda: seldom(check_val_every_n_epoch=1),
            lambda: seldom(check_val_every_n_epoch=2, probe="train"),
        ),
        Remedy(
            "{} looks at epochs that RRACallback(every_n_epochs={}) skips; it would fail, or judge stale values. Pass "
            "every_n_epochs=1 to RRACallback, or watch another value.",
            lambda: watched(stopping(), every_n_epochs=2),
            lambda: watched(stopping(), every_n_epochs=1),
            lambda: watched(EarlyStopping("loss", check_on_train_epoch_end=True), every_n_epochs=2),
        ),
        Remedy(
            "{} looks at the ends of epochs, which are not measured where RRACallback has every_n_steps or schedule "
            "alone; pass every_n_epochs=1 as well, or watch another value",
            lambda: watched(stopping(), every_n_steps=2),
            lambda: watched(stopping(), every_n_steps=2, every_n_epochs=1),
            lambda: watched(stopping(), schedule=bool, every_n_epochs=1),
            lambda: watched(EarlyStopping("loss", check_on_train_epoch_end=True), every_n_steps=2),
        ),
        Remedy(
            "{} needs its value each time it looks, and RRACallback(max_overhead={}) may leave epochs out; pass "
            "max_overhead=None to RRACallback, or watch a value that is not the monitor's",
            lambda: watched(stopping(), max_overhead=0.5),
            lambda: watched(stopping(), max_overhead=None),
            lambda: watched(EarlyStopping("loss", check_on_train_epoch_end=True), max_overhead=0.5),
        ),
        Remedy(
            "let configure_optimizers say interval='epoch'",
            lambda: watched(module=Plateau("step")),
            lambda: watched(module=Plateau(interval="epoch")),
        ),
        Remedy(
            "pass check_on_train_epoch_end=True to it",
            lambda: watched(stopping(check_on_train_epoch_end=False)),
            lambda: watched(stopping(check_on_train_epoch_end=True)),
        ),
        Remedy(
            "pass every_n_epochs=1 to it instead of steps or a time interval",
            lambda: watched(saving(every_n_train_steps=2)),
            lambda: watched(saving(every_n_epochs=1)),
        ),
        Remedy(
            "pass save_on_train_epoch_end=True to it",
            lambda: watched(saving(save_on_train_epoch_end=False)),
            lambda: watched(saving(save_on_train_epoch_end=True)),
        ),
    ):
        remedy.check()


def test_wandb_remedies_are_followed(tmp_path):
    local, remote = rra.RunStore(tmp_path / "run"), rra.RunStore("memory://run")
    for remedy in (
        Remedy(
            "artifacts of {}; they need a RunStore in a local directory, or artifacts=False",
            lambda: WandbSink(None, remote, artifacts=True),
            lambda: WandbSink(None, local, artifacts=True),
            lambda: WandbSink(None, remote, artifacts=False),
        ),
        Remedy(
            "download it where there is a connection (`wandb artifact get …`) and pass the directory",
            lambda: reference_path("wandb:me/mine/rra-a:latest"),
            lambda: reference_path(tmp_path / "run"),
        ),
    ):
        remedy.check()
    assert "get" in artifact.commands
