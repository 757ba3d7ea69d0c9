import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from rra_monitor.integrations.lightning import RRACallback
from tests.helpers.training import Classifier, fit


class Plateau(Classifier):
    """Halves its rate when the ID no longer rises."""

    def __init__(self, monitor="rra/train/id_peak", interval="epoch", frequency=1, **options):
        super().__init__()
        self.schedule = {"monitor": monitor, "interval": interval, "frequency": frequency}
        self.options = options

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, "max", factor=0.5, **self.options)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, **self.schedule}}


class TestRRACallbackWatchers:
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
                "every_n_epochs=1 to it instead of steps",
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

    def test_a_scheduler_of_plateaus_finds_the_value(self, digits, tmp_path, sample):
        module = Plateau(patience=0, threshold=1e9, threshold_mode="abs")
        trainer = fit(digits, tmp_path, [RRACallback(probes={"train": sample})], module=module, epochs=3)
        # The first value is the best one so far; each later one is no improvement by a billion and halves the rate.
        assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.05 / 4)

    @pytest.mark.parametrize(
        ("schedule", "words"),
        [
            ({"monitor": "rra/train/id_top"}, r"ReduceLROnPlateau\(.*not logged; the nearest are rra/train/id_"),
            ({"frequency": 3}, "skips.*every_n_epochs=1 to RRACallback"),
            ({"interval": "step", "frequency": 4}, "let configure_optimizers say interval='epoch'"),
        ],
    )
    def test_a_scheduler_that_would_wait_in_vain_is_refused(self, digits, tmp_path, sample, schedule, words):
        module = Plateau(**schedule)
        with pytest.raises(ValueError, match=words):
            fit(digits, tmp_path, [RRACallback(probes={"train": sample}, every_n_epochs=2)], module=module)
        assert module.steps == 0

    def test_early_stopping_finds_the_value_after_a_first_epoch_that_is_cut_short(self, digits, tmp_path, sample):
        callbacks = [EarlyStopping("rra/train/nnls_prev_mean"), RRACallback(probes={"train": sample})]
        trainer = fit(digits, tmp_path, callbacks, max_steps=2)
        assert trainer.global_step == 2

    def test_a_checkpoint_every_as_many_epochs_finds_the_value(self, digits, tmp_path, sample):
        checkpoint = ModelCheckpoint(tmp_path / "best", monitor="rra/train/id_peak", every_n_epochs=2)
        callbacks = [RRACallback(probes={"train": sample}, every_n_epochs=2), checkpoint]
        fit(digits, tmp_path, callbacks, epochs=4, enable_checkpointing=True)
        assert checkpoint.best_model_score is not None

    def test_watchers_of_other_values_are_left_alone(self, digits, tmp_path, sample):
        stop = EarlyStopping("loss", check_on_train_epoch_end=True)
        fit(digits, tmp_path, [stop, RRACallback(probes={"train": sample}, every_n_epochs=2)], epochs=2)
