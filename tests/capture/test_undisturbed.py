import copy
import random
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import rra_monitor as rra
from tests.helpers.switches import switches


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


SWITCHES = {
    "cudnn.benchmark": lambda: setattr(torch.backends.cudnn, "benchmark", True),
    "cudnn.deterministic": lambda: setattr(torch.backends.cudnn, "deterministic", True),
    "cudnn.enabled": lambda: setattr(torch.backends.cudnn, "enabled", False),
    "TF32 of cudnn": lambda: setattr(torch.backends.cudnn, "allow_tf32", False),
    "TF32 of products": lambda: setattr(torch.backends.cuda.matmul, "allow_tf32", True),
    "float16 sums": lambda: setattr(torch.backends.cuda.matmul, "allow_fp16_reduced_precision_reduction", False),
    "precision of products": lambda: torch.set_float32_matmul_precision("medium"),
    "attention": lambda: torch.backends.cuda.enable_flash_sdp(False),
    "default type": lambda: torch.set_default_dtype(torch.float64),
    "determinism": lambda: torch.use_deterministic_algorithms(True, warn_only=True),
    "anomalies": lambda: torch.autograd.set_detect_anomaly(True, check_nan=False),
    "threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "grad mode": lambda: torch.set_grad_enabled(True),
    "autocast": lambda: torch.set_autocast_enabled("cpu", True),
    "autocast's type": lambda: torch.set_autocast_dtype("cpu", torch.float16),
    "NumPy's errors": lambda: np.seterr(divide="raise"),
}
if hasattr(torch.backends.cuda.matmul, "fp32_precision"):
    SWITCHES |= {
        "precision of products on a GPU": lambda: setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32"),
        "precision of everything": lambda: setattr(torch.backends, "fp32_precision", "tf32"),
        "precision of cudnn": lambda: setattr(torch.backends.cudnn.conv, "fp32_precision", "ieee"),
    }


@pytest.mark.parametrize("switch", SWITCHES.values(), ids=SWITCHES)
def test_a_global_switch_that_a_network_sets_is_put_back(switch):
    class Switching(nn.Module):
        def forward(self, x):
            switch()
            return x

    before = switches()
    with rra.undisturbed(network := Switching()):
        quiet = switches()
        network(torch.ones(3))
        assert switches() != quiet
    assert switches() == before


@pytest.mark.parametrize("moment", ["before the step", "between forward and backward"])
def test_a_step_under_autocast_has_the_gradients_that_it_has_without_the_monitor(sample, digits, moment):
    """Autocast keeps casts of weights; those that are made without gradients cut the training's graph."""

    def gradients(measure):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            if moment == "before the step":
                measure(network)
            loss = network(digits[0][:8]).float().square().mean()
            if moment != "before the step":
                measure(network)
            loss = loss + network(digits[0][8:16]).float().square().mean()
        loss.backward()
        return [parameter.grad for parameter in network.parameters()]

    monitor = rra.Monitor({"p": sample}, layers=["1", "3"])
    alone, watched = gradients(lambda _: None), gradients(lambda net: monitor.measure(net, step=0, epoch=0))
    assert all(torch.equal(one, other) for one, other in zip(alone, watched, strict=True))


@pytest.mark.parametrize("compiled", [False, True], ids=["plain", "compiled"])
def test_the_layers_of_a_network_within_data_parallel_have_its_own_names(small_net, sample, compiled):
    model = nn.DataParallel(small_net)
    model = torch.compile(model, backend="eager") if compiled else model
    names = rra.Monitor({"p": sample}, layers=["0", "6"]).measure(model, step=0, epoch=0)["p"].layers
    assert names == ("0", "6")
    wrapped = rra.Monitor({"p": sample}, layers=["module.0", "module.*"]).measure(model, step=0, epoch=0)["p"].layers
    assert wrapped[0] == "0"
    assert len(wrapped) == len(small_net)


def test_a_compiled_network_whose_forward_changes_it_is_compiled_once(digits):
    compilations = []

    def backend(module, inputs):
        compilations.append(1)
        return module.forward

    class Remembering(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.last, self.seen = nn.Linear(64, 4), torch.zeros(4), []
            self.register_buffer("mean", torch.zeros(4))

        def forward(self, x):
            y = self.fc(x.flatten(1))
            self.last.copy_(y.detach().mean(0))
            self.mean.mul_(0.9).add_(y.detach().mean(0))
            return y

    torch.compiler.reset()
    network = torch.compile(Remembering(), backend=backend)
    monitor = rra.Monitor({"p": rra.FixedSample.from_tensors(digits[0][:40])}, layers=["fc"])
    for step in range(3):
        network(digits[0][:20]).sum().backward()
        monitor.measure(network, step=step, epoch=0)
    network(digits[0][:20])
    assert len(compilations) == 1


def test_a_scripted_network_within_another_is_put_back(digits):
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(1))
            self.fc = nn.Linear(64, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls.add_(1)
            return self.fc(x)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.script(Counting())
    network = nn.Sequential(nn.Flatten(), scripted, nn.ReLU())
    rra.Monitor({"p": rra.FixedSample.from_tensors(digits[0][:40])}).measure(network, step=0, epoch=0)
    assert float(scripted.calls) == 0
    network(digits[0][:2])
    assert float(scripted.calls) == 1
