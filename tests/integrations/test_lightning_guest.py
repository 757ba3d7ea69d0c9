import random

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping

from rra_monitor.integrations.lightning import RRACallback
from tests.helpers.training import Classifier, epochs, fit


def unlucky(module, steps):
    """A forward that fails while the module has done one of the given numbers of training steps."""

    def forward(model, batch):
        if module.steps in steps:
            raise RuntimeError("out of luck")
        return model(batch)

    return forward


class TestRRACallbackGuest:
    @pytest.mark.parametrize("precision", ["32-true", "bf16-true"])
    def test_training_is_bit_identical_with_the_callback(self, digits, tmp_path, precision, sample):
        def outcome(callbacks):
            trainer = fit(digits, tmp_path / str(len(callbacks)), callbacks, augmented=True, precision=precision)
            return trainer.model.state_dict(), trainer.optimizers[0].state_dict(), streams()

        def streams():
            return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

        callback = RRACallback(probes={"train": sample}, views=["full", "avg2", "max-global"], on_error="raise")
        plain, watched = outcome([]), outcome([callback])
        assert plain[0].keys() == watched[0].keys()
        for name, value in plain[0].items():
            assert torch.equal(value, watched[0][name]), name
        for slot, value in plain[1]["state"].items():
            assert torch.equal(value["momentum_buffer"], watched[1]["state"][slot]["momentum_buffer"])
        assert plain[2] == watched[2]

    def test_drawing_samples_from_the_trainer_leaves_weights_and_random_stream(self, digits, tmp_path):
        plain = fit(digits, tmp_path / "a").model.state_dict()
        stream = torch.get_rng_state()
        watched = fit(digits, tmp_path / "b", [RRACallback(on_error="raise")]).model.state_dict()
        assert all(torch.equal(value, watched[name]) for name, value in plain.items())
        assert torch.equal(stream, torch.get_rng_state())

    def test_a_failing_snapshot_does_not_stop_a_training_that_watches_its_value(self, digits, tmp_path, sample):
        module = Classifier()

        callbacks = [
            RRACallback(probes={"train": sample}, forward=unlucky(module, range(5, 9))),
            EarlyStopping("rra/train/id_last", patience=9),
        ]
        with pytest.warns(UserWarning, match="out of luck"):
            trainer = fit(digits, tmp_path, callbacks, module=module)
        assert (module.steps, trainer.current_epoch) == (12, 3)

    def test_a_failing_snapshot_warns_and_training_goes_on(self, digits, tmp_path, sample):
        module = Classifier()

        callback = RRACallback(probes={"train": sample}, forward=unlucky(module, range(5, 99)))
        with pytest.warns(UserWarning, match=r"no snapshot at epoch 2, step 8; training goes on.*out of luck"):
            fit(digits, tmp_path, [callback], module=module)
        assert module.steps == 12
        assert epochs(callback.store) == [0, 1]

    def test_a_failing_snapshot_raises_when_on_error_is_raise(self, digits, tmp_path, sample):
        module = Classifier()

        with pytest.raises(RuntimeError, match="out of luck"):
            fit(
                digits,
                tmp_path,
                [RRACallback(probes={"train": sample}, forward=unlucky(module, range(5, 99)), on_error="raise")],
                module=module,
            )
