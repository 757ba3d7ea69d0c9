"""A measurement in the middle of a training logs nothing, whatever the network's forward pass logs."""

import csv

import lightning as L
import pytest
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger
from torch import nn

import rra_monitor as rra
from rra_monitor.integrations.muted import muted
from tests.helpers.training import Classifier, fit


class Measuring(Callback):
    """Measures before the training and after each epoch."""

    def __init__(self, sample):
        self.monitor = rra.Monitor({"train": rra.FixedSample.from_tensors(sample + 100)}, layers=["net.6"])
        self.measured = 0

    def on_train_start(self, trainer, pl_module):
        with muted(trainer, pl_module):
            self.monitor.measure(pl_module, step=trainer.global_step, epoch=trainer.current_epoch)
        self.measured += 1

    on_train_epoch_end = on_train_start


class Talkative(Classifier):
    """Logs in its forward pass in the ways that a setting names."""

    def __init__(self, **how):
        super().__init__()
        self.how = how

    def forward(self, images):
        self.log("mean_input", images.mean(), batch_size=len(images), **self.how)
        self.log_dict({"largest": images.max()}, batch_size=len(images))
        if self.logger is not None:
            self.logger.experiment.log_metrics({"direct": 1.0}, step=self.global_step)
            self.logger.log_metrics({"by_logger": float(images.mean().detach())}, step=self.global_step)
        return self.net(images)


def logged(trainer):
    with open(f"{trainer.logger.log_dir}/metrics.csv") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    "how",
    [
        {"on_step": True, "on_epoch": True},
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"on_step": False, "on_epoch": True}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_what_a_forward_pass_logs_is_the_trainings_alone(digits, tmp_path, how):
    def outcome(name, callbacks):
        L.seed_everything(1)  # for the weights
        logger = CSVLogger(tmp_path / name)
        trainer = fit(digits, tmp_path / name, callbacks, module=Talkative(**how), logger=logger, epochs=2)
        return logged(trainer), {key: float(value) for key, value in trainer.callback_metrics.items()}, trainer

    measuring = Measuring(digits[0][:40])
    alone, watched = outcome("alone", []), outcome("watched", [measuring])
    assert measuring.measured == 3
    assert watched[:2] == alone[:2]
    assert "mean_input" in str(alone[1])
    assert watched[2].loggers == [watched[2].logger]
    assert isinstance(watched[2].logger, CSVLogger)


def test_without_it_the_training_ends_or_its_records_change(digits, tmp_path):
    class Unmuted(Measuring):
        def on_train_start(self, trainer, pl_module):
            self.monitor.measure(pl_module, step=0, epoch=0)

    with pytest.raises(ValueError, match=r"self\.log"):
        fit(digits, tmp_path, [Unmuted(digits[0][:40])], module=Talkative(on_step=True), epochs=1)


class Nested(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.inner = Talkative()


def test_all_is_as_before_after_an_error():
    module = nn.Sequential(Nested())
    module[0].inner.__dict__["log"] = own = object()
    before = [dict(each.__dict__) for each in module.modules()]
    trainer = L.Trainer(logger=False, accelerator="cpu", enable_checkpointing=False, enable_progress_bar=False)

    def fails():
        with muted(trainer, module):
            module[0].log("a", 1.0)
            module[0].inner.log_dict({"a": 1.0})
            raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        fails()
    assert [dict(each.__dict__) for each in module.modules()] == before
    assert module[0].inner.log is own
    assert trainer.loggers == []


def test_a_training_without_a_logger_has_none_meanwhile(digits, tmp_path):
    seen = []

    class Looking(Callback):
        def on_train_start(self, trainer, pl_module):
            with muted(trainer, pl_module):
                seen.append(pl_module.logger)

    fit(digits, tmp_path, [Looking()], epochs=1)
    assert seen == [None]
