"""Networks that give the same samples other features in each pass, or in another batch."""

import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rra_monitor.capture.features import find_layers
from rra_monitor.samples.sample import FixedSample
from rra_monitor.utils.rng import preserved_rng

SAMPLE = FixedSample.from_tensors(torch.rand(12, 16, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 2)


class Dropped(nn.Module):
    """A dropout of its own that does not follow the mode."""

    def forward(self, x):
        return F.dropout(x, 0.1)


class Switched(nn.Dropout):
    """A dropout that goes back to training in each pass."""

    def forward(self, x):
        self.train()
        return super().forward(x)


class Skipped(nn.Module):
    """Stochastic depth by hand: samples leave out the layer at random."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(16, 16)

    def forward(self, x):
        return x + self.layer(x) * (torch.rand(len(x), 1) < 0.5)


class OfTheBatch(nn.Module):
    """Statistics of the batch by hand."""

    def forward(self, x):
        return x / x.std(dim=0)


class Pairs(nn.Module):
    """A branch that nobody watches, beside the layers."""

    def __init__(self):
        super().__init__()
        self.aside, self.layer = Dropped(), nn.Linear(16, 4)

    def forward(self, x):
        self.aside(x)
        return self.layer(x)


def said_of(*layers, watched="auto", sample=SAMPLE):
    with preserved_rng():
        torch.manual_seed(0)
        net, said = nn.Sequential(nn.Linear(16, 16), *layers, nn.Linear(16, 4)), []
        before = torch.get_rng_state()
        find_layers(net, sample, watched, say=said.append)
        assert torch.equal(torch.get_rng_state(), before)
    return said


@pytest.mark.parametrize("layer", [Dropped, Switched, Skipped])
def test_a_network_that_is_random_in_evaluation_mode_is_said_with_its_first_such_layer(layer):
    (said,) = said_of(layer())
    assert re.match(
        r"the features of the same samples in layer '1' differ by \d+ % between two passes: the network is", said
    )
    assert "random in evaluation mode" in said


@pytest.mark.parametrize("layer", [OfTheBatch, lambda: nn.BatchNorm1d(16, track_running_stats=False)])
def test_a_layer_that_depends_on_the_batch_is_said_as_such(layer):
    (said,) = said_of(layer())
    assert "layer '1' differ by" in said
    assert "depend on the other samples of a batch" in said


def test_the_difference_is_that_of_the_features():
    (said,) = said_of(Dropped())
    # A tenth is left out and the rest grows by a ninth, in both passes: sqrt(2 * 0.1 / 0.9) of the features.
    assert 30 < int(re.search(r"by (\d+) %", said)[1]) < 60


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), nn.BatchNorm1d(16), nn.LayerNorm(16), nn.ReLU()])
def test_layers_that_follow_the_mode_are_not(layer):
    assert said_of(layer) == []


def test_nor_are_layers_before_or_beside_it():
    assert said_of(Dropped(), watched=["0"]) == []
    net, said = Pairs(), []
    find_layers(net, SAMPLE, ["layer"], say=said.append)
    assert said == []


def test_nor_is_a_network_whose_samples_are_random_themselves():
    sample = FixedSample.from_tensors(torch.rand(12, 16), torch.arange(12) % 2)
    sample.read = lambda positions: torch.rand(len(positions), 16)
    assert said_of(nn.ReLU(), sample=sample) == []
    (said,) = said_of(Dropped(), sample=sample)
    assert "random in evaluation mode" in said


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rounding_of_half_precision_is_no_difference(dtype):
    torch.manual_seed(0)
    net = nn.Sequential(*(nn.Sequential(nn.Linear(16, 16), nn.Tanh()) for _ in range(30))).to(dtype)
    inputs = torch.rand(12, 16, generator=torch.Generator().manual_seed(0)).to(dtype)
    said = []
    find_layers(net, FixedSample.from_tensors(inputs, torch.arange(12) % 2), say=said.append)
    assert said == []


class Tokens(nn.Module):
    """A sum over a sample's own tokens, and a dropout that may not follow the mode."""

    def __init__(self, random):
        super().__init__()
        self.layer, self.random = nn.Linear(3, 3), random

    def forward(self, batch):
        longest = int(batch["length"].max())
        own = torch.arange(longest) < batch["length"][:, None]
        found = (self.layer(batch["tokens"][:, :longest]) * own[..., None]).sum(1)
        return F.dropout(found, 0.5, self.random)


@pytest.mark.parametrize("random", [False, True])
def test_sequences_of_other_lengths_are_compared_with_themselves(random):
    lengths = 2 + torch.arange(20) % 5
    sample = FixedSample.from_tensors({"tokens": torch.rand(20, 6, 3), "length": lengths}, torch.arange(20) % 2)
    said = []
    find_layers(nn.Sequential(Tokens(random)), sample, ["0"], say=said.append)
    assert ["random in evaluation mode" in text for text in said] == [True] * random
