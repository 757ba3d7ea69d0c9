import pytest
import torch
from torch import nn

import rra_monitor as rra
from rra_monitor.capture.features import Capture, collect, find_layers, grouped
from rra_monitor.capture.layer import Layer
from rra_monitor.nn import resnet20


def hook_count(model):
    return sum(len(module._forward_hooks) for module in model.modules())


def test_features_are_those_of_the_layer_for_every_sample_in_order(digits):
    sample = rra.FixedSample.from_tensors(digits[0][:50])
    model = resnet20(10, 1).eval()
    features = dict(rra.iter_features(model, sample, ["input", "stem", "layer1.0", "fc"], batch_size=16))
    with torch.no_grad():
        torch.testing.assert_close(features["input"], digits[0][:50])
        torch.testing.assert_close(features["layer1.0"], model.layer1[0](model.stem(digits[0][:50])))
        torch.testing.assert_close(features["fc"], model(digits[0][:50]))


def test_a_later_change_in_place_does_not_reach_the_features():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(inplace=True))
    sample = rra.FixedSample.from_tensors(torch.randn(20, 3))
    features = dict(rra.iter_features(model, sample, ["0", "1"]))
    assert (features["0"] < 0).any()
    assert (features["1"] >= 0).all()


def test_each_call_of_a_shared_module_is_kept_apart():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(3, 3)

        def forward(self, x):
            return self.inner(self.inner(x))

    model, inputs = Twice(), torch.randn(10, 3)
    features = dict(rra.iter_features(model, rra.FixedSample.from_tensors(inputs), ["inner"], batch_size=4))
    with torch.no_grad():
        torch.testing.assert_close(features["inner#1"], model.inner(inputs))
        torch.testing.assert_close(features["inner#2"], model(inputs))


def test_the_memory_budget_splits_the_layers_and_changes_nothing(digits):
    sample = rra.FixedSample.from_tensors(digits[0][:40])
    model = resnet20(10, 1)
    at_once = dict(rra.iter_features(model, sample))
    one_by_one = dict(rra.iter_features(model, sample, memory_budget=1))
    assert list(at_once) == list(one_by_one)
    assert all((at_once[name] == one_by_one[name]).all() for name in at_once)


def test_groups_hold_what_fits_and_at_least_one_layer():
    layers = [Layer(str(i), str(i), 0, (size,)) for i, size in enumerate([10, 10, 30, 5, 5])]
    assert [[layer.name for layer in group] for group in grouped(layers, 1, 80)] == [["0", "1"], ["2"], ["3", "4"]]


def test_a_compiled_network_is_captured_after_its_first_call(digits):
    model = resnet20(10, 1)
    compiled = torch.compile(model, backend="eager")
    compiled(digits[0][:4])
    sample = rra.FixedSample.from_tensors(digits[0][:20])
    captured, plain = dict(rra.iter_features(compiled, sample)), dict(rra.iter_features(model, sample))
    assert list(captured) == list(plain)
    assert (captured["fc"] == plain["fc"]).all()


def test_dictionaries_reach_a_network_through_forward():
    sample = rra.FixedSample.from_tensors({"a": torch.randn(10, 3), "b": torch.randn(10, 3)})
    model = nn.Sequential(nn.Linear(3, 4))
    features = dict(rra.iter_features(model, sample, ["0"], forward=lambda net, batch: net(batch["a"] + batch["b"])))
    assert features["0"].shape == (10, 4)


@pytest.mark.parametrize("when", ["finding", "collecting"])
def test_hooks_are_gone_after_an_error(small_net, digits, when):
    sample = rra.FixedSample.from_tensors(digits[0][:10])
    layers = find_layers(small_net, sample)

    def broken(model, batch):
        model(batch)
        raise RuntimeError("lost power")

    with pytest.raises((RuntimeError, ValueError), match="lost power"):
        find_layers(small_net, sample, forward=broken) if when == "finding" else collect(
            small_net, sample, layers, broken
        )
    assert hook_count(small_net) == 0


def test_hooks_are_there_within_the_block_alone(small_net, digits):
    layers = find_layers(small_net, rra.FixedSample.from_tensors(digits[0][:10]), ["0", "2"])
    seen = []
    with Capture(small_net, layers, lambda name, tensor: seen.append(name)):
        assert hook_count(small_net) == 2
        small_net(digits[0][:2])
    assert seen == ["0", "2"]
    assert hook_count(small_net) == 0


def test_a_layer_that_runs_for_some_batches_only_is_named():
    class Sometimes(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x):
            return self.b(self.a(x)) if x[0, 0] > 0 else self.a(x)

    inputs = torch.ones(8, 3)
    inputs[4:] = -1
    with pytest.raises(RuntimeError, match="'b' ran for 4 of 8 samples"):
        list(rra.iter_features(Sometimes(), rra.FixedSample.from_tensors(inputs), ["b"], batch_size=4))
