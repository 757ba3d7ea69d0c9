from contextlib import suppress

import torch
from torch import nn

from rra_monitor.capture.calls import trace


def calls(model, *shape, forward=lambda model, batch: model(batch)):
    """The calls of one pass by name and number."""
    traced = trace(model, torch.rand(*shape), forward)
    return {(call.module, call.index): call for call in traced.whole}


class Adds(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        y = self.a(x)
        y += x
        return self.b(y)


def test_the_tree_follows_the_calls_and_not_the_names():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = nn.ModuleList([nn.Sequential(nn.Linear(3, 3)), nn.Linear(3, 2)])

        def forward(self, x):
            return self.parts[1](self.parts[0](self.parts[0](x)))

    whole = calls(Net(), 4, 3)["", 0]
    assert [(call.module, call.index) for call in whole.inner] == [("parts.0", 0), ("parts.0", 1), ("parts.1", 0)]
    assert [call.module for call in whole.inner[0].inner] == ["parts.0.0"]


def test_a_call_feeds_another_with_its_unchanged_output_alone():
    found = calls(nn.Sequential(nn.Linear(3, 3), nn.ReLU()), 4, 3)
    assert found["0", 0].feeds(found["1", 0])
    changed = calls(Adds(), 4, 3)
    assert not changed["a", 0].feeds(changed["b", 0])


def test_a_change_in_place_makes_another_tensor():
    found = calls(nn.Sequential(nn.Linear(3, 3), nn.ReLU(inplace=True), nn.Linear(3, 2)), 4, 3)
    assert not found["0", 0].outputs & found["1", 0].outputs
    assert found["1", 0].feeds(found["2", 0])


def test_views_and_passed_on_tensors_have_the_same_numbers():
    model = nn.Sequential(nn.Identity(), nn.Flatten(), nn.ReLU(), nn.ReLU(inplace=True))
    found = calls(model, 4, 3, 2)
    assert [found[str(place), 0].same for place in range(4)] == [True, True, False, False]


def test_an_error_that_the_network_catches_leaves_the_tree_whole():
    class Fails(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(3, 3)

        def forward(self, x):
            self.inner(x)
            raise RuntimeError("no")

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fails, self.last = Fails(), nn.Linear(3, 2)

        def forward(self, x):
            with suppress(RuntimeError):
                x = self.fails(x)
            return self.last(x)

    whole = calls(Net(), 4, 3)["", 0]
    assert [call.module for call in whole.inner] == ["fails", "last"]
    assert [call.module for call in whole.inner[0].inner] == ["fails.inner"]
