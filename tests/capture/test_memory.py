"""What does not fit in memory is measured with smaller batches."""

import warnings

import pytest
import torch
from torch import nn

import rra_monitor as rra
from rra_monitor.capture.features import CallError, find_layers
from rra_monitor.capture.memory import is_out_of_memory

MESSAGES = {
    "a GPU": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "the CPU": lambda: RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    "Python": MemoryError,
}


class Limited(nn.Module):
    """A network for which memory ends beyond some samples, as on a card that is full; it notes what it was given."""

    def __init__(self, most, error=MESSAGES["a GPU"]):
        super().__init__()
        self.fc, self.most, self.error = nn.Linear(6, 4), most, error

    def forward(self, x):
        if len(x) > self.most:
            raise self.error()
        return self.fc(x)


@pytest.fixture
def inputs():
    return torch.randn(100, 6, generator=torch.Generator().manual_seed(0))


def noted(given):
    """A forward function that notes the batches; what the network itself notes is put back."""

    def forward(model, batch):
        given.append(len(batch))
        return model(batch)

    return forward


@pytest.mark.parametrize("error", MESSAGES.values(), ids=MESSAGES)
def test_a_batch_that_does_not_fit_is_halved_until_it_does(inputs, error):
    sample = rra.FixedSample.from_tensors(inputs)
    with pytest.warns(UserWarning, match=r"batch of 64 samples does not fit .* measures with 16 from now on") as said:
        found = dict(rra.iter_features(Limited(20, error), sample, ["fc"], batch_size=64))
    assert len(said) == 1
    assert found["fc"].shape == (100, 4)


def test_the_features_are_those_of_a_network_that_fits(inputs):
    sample = rra.FixedSample.from_tensors(inputs)
    torch.manual_seed(0)
    small = Limited(3)
    with pytest.warns(UserWarning, match="measures with 2 "):
        (found,) = dict(rra.iter_features(small, sample, ["fc"])).values()
    small.most = 100
    (expected,) = dict(rra.iter_features(small, sample, ["fc"])).values()
    torch.testing.assert_close(found, expected)


def test_the_size_that_fits_is_kept_for_later_measurements_and_said_once(inputs):
    given = []
    monitor = rra.Monitor({"p": rra.FixedSample.from_tensors(inputs)}, forward=noted(given))
    with pytest.warns(UserWarning, match="does not fit") as said:
        monitor.plan(Limited(20))
    assert len(said) == 1
    given.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monitor.measure(Limited(20), step=1, epoch=1)
    assert max(given) <= 16


def test_the_layers_are_found_with_fewer_samples_where_five_do_not_fit(inputs):
    sample = rra.FixedSample.from_tensors(inputs)
    for most in (2, 3):
        assert [layer.name for layer in find_layers(Limited(most), sample)] == ["input", "fc"]


def test_where_one_sample_does_not_fit_the_error_is_the_networks_own(inputs):
    sample = rra.FixedSample.from_tensors(inputs)
    with pytest.raises(torch.OutOfMemoryError):
        find_layers(Limited(0), sample)
    layers = find_layers(Limited(5), sample, ["fc"])
    features = rra.iter_features(Limited(0), sample, layers)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no size is announced, as none fits
        with pytest.raises(torch.OutOfMemoryError):
            next(features)


def test_another_error_is_no_lack_of_memory(inputs):
    broken = Limited(0, lambda: RuntimeError("shapes cannot be multiplied"))
    with pytest.raises(CallError, match="shapes cannot be multiplied"):
        find_layers(broken, rra.FixedSample.from_tensors(inputs))
    assert not is_out_of_memory(ValueError("out of memory"))
