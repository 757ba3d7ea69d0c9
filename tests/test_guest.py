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
    for name, value in before[0].items():
        assert torch.equal(value, after[0][name]), name
    assert before[1:4] == after[1:4]
    assert torch.equal(before[4], after[4])
    assert before[5:] == after[5:]


class Counting(nn.Module):
    """Changes a buffer and draws random numbers even in evaluation mode."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
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
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
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
