import pytest
import torch
from torch import nn

import rra_monitor as rra


@pytest.fixture
def passes():
    """The sizes of the batches that pass through a network, and the function that counts them."""
    sizes = []

    def forward(model, batch):
        sizes.append(len(batch))
        return model(batch)

    return sizes, forward


def test_layers_are_found_once_for_all_snapshots(sample, small_net, passes):
    sizes, forward = passes
    monitor = rra.Monitor({"p": sample}, forward=forward, batch_size=200)
    for epoch in range(3):
        monitor.measure(small_net, step=epoch, epoch=epoch)
    assert sizes == [5, 3, 200, 200, 200]


def test_another_module_is_noticed(sample, small_net, passes):
    sizes, forward = passes
    monitor = rra.Monitor({"p": sample}, forward=forward, batch_size=200)
    before = monitor.measure(small_net, step=0, epoch=0)["p"]
    small_net.append(nn.Tanh())
    small_net.append(nn.Linear(10, 7))
    after = monitor.measure(small_net, step=1, epoch=1)["p"]
    assert sizes == [5, 3, 200, 5, 3, 200]
    assert after.layers[: len(before.layers) - 1] == before.layers[:-1]
    assert after.layers[-1] == "8"


def test_another_way_through_the_same_modules_is_noticed(sample, passes):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.deep = nn.Linear(64, 8), nn.Linear(8, 8), True

        def forward(self, x):
            x = self.first(x.flatten(1))
            return self.second(x) if self.deep else x

    sizes, forward = passes
    net, monitor = Net(), rra.Monitor({"p": sample}, forward=forward, batch_size=200)
    assert monitor.measure(net, step=0, epoch=0)["p"].layers == ("input", "first", "second")
    net.deep = False
    assert monitor.measure(net, step=1, epoch=1)["p"].layers == ("input", "first")
    assert sizes == [5, 3, 200, 200, 5, 3, 200]


def test_an_error_that_is_not_of_the_layers_is_raised_as_it_is(sample, small_net, passes):
    _, forward = passes
    monitor = rra.Monitor({"p": sample}, forward=forward, batch_size=200)
    monitor.measure(small_net, step=0, epoch=0)
    with torch.no_grad():
        small_net[0].weight.fill_(torch.nan)
    with pytest.raises(ValueError, match="layer '2' of probe 'p': 200 of 200 samples have NaN"):
        monitor.measure(small_net, step=1, epoch=1)


def test_two_networks_and_two_probes_have_their_own(sample, small_net, passes):
    sizes, forward = passes
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    monitor = rra.Monitor({"p": sample, "q": sample.head(100)}, forward=forward, batch_size=200)
    for epoch in range(2):
        assert monitor.measure(small_net, step=epoch, epoch=epoch)["q"].layers == ("input", "2", "6")
        assert monitor.measure(other, step=epoch, epoch=epoch)["q"].layers == ("input", "1")
    assert sizes == [5, 3, 200, 5, 3, 100] * 2 + [200, 100] * 2
