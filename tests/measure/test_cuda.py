"""A snapshot of a network on a GPU."""

import copy

import numpy as np
import pytest
import torch

import rra_monitor as rra
from rra_monitor.nn import ResNet
from tests.helpers.guest_trainings import images_of

pytestmark = pytest.mark.cuda


@pytest.fixture
def measured():
    """A network, and its monitor."""
    torch.manual_seed(0)
    return ResNet((1, 1, 1), (8, 16, 32)), rra.Monitor({"p": rra.FixedSample.from_tensors(*images_of(300))}, k=10)


def test_snapshot_of_a_network_on_cuda_equals_that_on_the_cpu(measured):
    network, monitor = measured
    # In double precision, since convolutions in float32 may take TF32 there.
    monitor = rra.Monitor(monitor.probes, k=10, forward=lambda model, batch: model(batch.double()))
    here = monitor.measure(network.double(), step=0, epoch=0)["p"]
    there = monitor.measure(copy.deepcopy(network).cuda(), step=0, epoch=0)["p"]
    assert there.layers == here.layers
    np.testing.assert_allclose(there.id, here.id, rtol=1e-4)
    np.testing.assert_allclose(there.nncs, here.nncs, atol=1e-3)  # three of 3,000 neighbours
    np.testing.assert_allclose(there.nnls, here.nnls, atol=1e-3)


def test_random_state_weights_and_flags_on_cuda_are_as_before(measured):
    network, monitor = measured
    network.cuda()
    torch.rand(3, device="cuda")
    random = torch.cuda.get_rng_state()
    weights = {name: value.clone() for name, value in network.state_dict().items()}

    def drawing(model, batch):
        return model(batch + 0 * torch.rand(1, device=batch.device))

    with torch.no_grad():
        rra.Monitor(monitor.probes, k=10, forward=drawing).measure(network, step=0, epoch=0)
    assert torch.equal(torch.cuda.get_rng_state(), random)
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())
    assert network.training


def test_snapshot_leaves_no_memory_on_the_device(measured):
    network, monitor = measured
    network.cuda()
    monitor.measure(network, step=0, epoch=0)  # libraries take their workspace
    before = torch.cuda.memory_allocated()
    monitor.measure(network, step=1, epoch=1)
    assert torch.cuda.memory_allocated() == before


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_network_on_a_device_that_is_not_current_is_measured_there(measured):
    network, monitor = measured
    before = torch.cuda.memory_allocated(0)
    torch.cuda.reset_peak_memory_stats(0)
    monitor.measure(network.to("cuda:1"), step=0, epoch=0)
    assert torch.cuda.max_memory_allocated(0) == before
