import copy
import random

import numpy as np
import pytest
import torch
from torch import nn

import rra_monitor as rra


def state(model):
    return (
        {name: value.clone() for name, value in model.state_dict().items()},
        [module.training for module in model.modules()],
        random.getstate(),
        np.random.get_state()[1].tolist(),
        torch.get_rng_state(),
        torch.is_grad_enabled(),
        torch.get_float32_matmul_precision(),
    )


def assert_same(before, after):
    assert before[0].keys() == after[0].keys()
    for name, value in before[0].items():
        torch.testing.assert_close(after[0][name], value, rtol=0, atol=0, equal_nan=True, msg=name)
    assert before[1:4] == after[1:4]
    assert torch.equal(before[4], after[4])
    assert before[5:] == after[5:]


class Counting(nn.Module):
    """Changes a buffer and draws random numbers even in evaluation mode."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("replaced", torch.zeros(()))
        self.register_buffer("cache", None)
        self.register_buffer("undefined", torch.tensor(torch.nan))

    def forward(self, x):
        self.calls += 1
        self.replaced = self.replaced + 1
        self.cache = torch.rand(3)
        return x + torch.rand(()) * random.random() * np.random.rand()


@pytest.fixture
def network(small_net):
    small_net.append(Counting())
    small_net[1].eval()  # a frozen batch norm within a network in training
    return small_net


def test_a_measurement_leaves_no_trace(network, sample):
    monitor = rra.Monitor({"train": sample})
    before = state(network)
    monitor.plan(network)
    monitor.measure(network, step=0, epoch=0)
    assert_same(before, state(network))


def test_a_failing_measurement_leaves_no_trace(network, sample):
    network.append(nn.Linear(3, 3))
    before = state(network)
    with pytest.raises(ValueError, match=r"shapes cannot be multiplied.*pass forward="):
        rra.Monitor({"train": sample}).measure(network, step=0, epoch=0)
    assert_same(before, state(network))


def test_the_network_runs_in_evaluation_mode_without_gradients_but_not_in_inference_mode(network, sample):
    seen = []

    def forward(model, batch):
        seen.append((model[3].training, torch.is_grad_enabled(), torch.is_inference_mode_enabled()))
        return model(batch)

    rra.Monitor({"train": sample}, forward=forward).measure(network, step=0, epoch=0)
    assert set(seen) == {(False, False, False)}


def test_gradients_in_flight_survive(network, sample, digits):
    loss = network(digits[0][:8]).square().mean()
    twin = copy.deepcopy(network)
    rra.Monitor({"train": sample}).measure(network, step=0, epoch=0)
    loss.backward()
    assert all(p.grad is not None for p in network.parameters())
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), twin.parameters(), strict=True))


def test_a_network_that_changes_its_input_does_not_change_the_sample(digits):
    images = digits[0][:60].clone()
    monitor = rra.Monitor({"p": rra.FixedSample.from_tensors(images)})
    network = nn.Sequential(nn.Threshold(0.5, -1, inplace=True), nn.Flatten(), nn.Linear(64, 3))
    monitor.plan(network)
    first, second = (monitor.measure(network, step=step, epoch=0)["p"] for step in (0, 1))
    assert (images == digits[0][:60]).all()
    assert (first.id == second.id).all()


def test_tensors_that_a_module_caches_are_no_inference_tensors(sample, digits):
    class Caching(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(8, 8))
            self.scale = None

        def forward(self, x):
            if self.scale is None:
                self.scale = x.mean()
            return x * self.weight * self.scale

    network = Caching()
    with torch.inference_mode():  # as within a trainer's validation
        rra.Monitor({"p": sample}).measure(nn.Sequential(network, nn.ReLU()), step=0, epoch=0)
    network(digits[0][:4]).sum().backward()
    assert network.weight.grad is not None


def test_a_network_that_is_not_initialised_is_refused_with_the_remedy(sample):
    with pytest.raises(ValueError, match="LazyLinear is not initialised yet; pass one batch"):
        rra.Monitor({"p": sample}).measure(nn.Sequential(nn.Flatten(), nn.LazyLinear(3)), step=0, epoch=0)
