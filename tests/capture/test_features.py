import pytest
import torch
from torch import nn
from torch.nn import functional

import rra_monitor as rra
from rra_monitor.capture.channels import with_views
from rra_monitor.capture.features import Capture, collect, find_layers
from rra_monitor.capture.layer import Layer
from rra_monitor.capture.passes import grouped
from rra_monitor.nn import resnet20
from tests.helpers.views import EVERY


def hook_count(model):
    return sum(len(module._forward_hooks) for module in model.modules())


class TestIterFeatures:
    def test_features_are_those_of_the_layer_for_every_sample_in_order(self, digits):
        sample = rra.FixedSample.from_tensors(digits[0][:50])
        model = resnet20(10, 1).eval()
        features = dict(rra.iter_features(model, sample, ["input", "stem", "layer1.0", "fc"], batch_size=16))
        with torch.no_grad():
            torch.testing.assert_close(features["input"], digits[0][:50])
            torch.testing.assert_close(features["layer1.0"], model.layer1[0](model.stem(digits[0][:50])))
            torch.testing.assert_close(features["fc"], model(digits[0][:50]))

    def test_a_later_change_in_place_does_not_reach_the_features(self):
        model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(inplace=True))
        sample = rra.FixedSample.from_tensors(torch.randn(20, 3))
        features = dict(rra.iter_features(model, sample, ["0", "1"]))
        assert (features["0"] < 0).any()
        assert (features["1"] >= 0).all()

    def test_each_call_of_a_shared_module_is_kept_apart(self):
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

    def test_the_memory_budget_splits_the_layers_and_changes_nothing(self, digits):
        sample = rra.FixedSample.from_tensors(digits[0][:40])
        model = resnet20(10, 1)
        at_once = dict(rra.iter_features(model, sample))
        one_by_one = dict(rra.iter_features(model, sample, memory_budget=1))
        assert list(at_once) == list(one_by_one)
        assert all((at_once[name] == one_by_one[name]).all() for name in at_once)

    def test_a_compiled_network_is_captured_after_its_first_call(self, digits):
        model = resnet20(10, 1)
        compiled = torch.compile(model, backend="eager")
        compiled(digits[0][:4])
        sample = rra.FixedSample.from_tensors(digits[0][:20])
        captured, plain = dict(rra.iter_features(compiled, sample)), dict(rra.iter_features(model, sample))
        assert list(captured) == list(plain)
        assert (captured["fc"] == plain["fc"]).all()

    def test_dictionaries_reach_a_network_through_forward(self):
        sample = rra.FixedSample.from_tensors({"a": torch.randn(10, 3), "b": torch.randn(10, 3)})
        model = nn.Sequential(nn.Linear(3, 4))
        features = dict(
            rra.iter_features(model, sample, ["0"], forward=lambda net, batch: net(batch["a"] + batch["b"]))
        )
        assert features["0"].shape == (10, 4)

    def test_a_layer_that_runs_for_some_batches_only_is_named(self):
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


def test_groups_hold_what_fits_and_at_least_one_layer():
    layers = [Layer(str(i), str(i), 0, (size,)) for i, size in enumerate([10, 10, 30, 5, 5])]
    assert [[layer.name for layer in group] for group in grouped(layers, 1, 80)] == [["0", "1"], ["2"], ["3", "4"]]


@pytest.mark.parametrize("when", ["finding", "collecting"])
def test_hooks_are_gone_after_an_error(small_net, digits, when):
    sample = rra.FixedSample.from_tensors(digits[0][:10])
    layers = find_layers(small_net, sample)

    def broken(model, batch):
        model[:2](batch)
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


class Attention(nn.Module):
    """Tokens as a vision transformer has them: patches by a convolution, a class token, one block, a head."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(1, 12, 2, 2)
        self.token = nn.Parameter(torch.randn(1, 1, 12))
        self.block = nn.TransformerEncoderLayer(12, 2, 24, batch_first=True)
        self.head = nn.Linear(12, 10)

    def forward(self, x):
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = self.block(torch.cat([self.token.expand(len(x), -1, -1), tokens], dim=1))
        return self.head(tokens[:, 0])


class TestIterFeaturesViews:
    def test_all_views_of_all_layers_come_from_one_pass(self, small_net, digits):
        sample, passes = rra.FixedSample.from_tensors(digits[0][:50]), []

        def counted(model, batch):
            passes.append(len(batch))
            return model(batch)

        layers = with_views(small_net, find_layers(small_net, sample, ["input", "0", "6"]), EVERY)
        found = collect(small_net, sample, layers, counted, batch_size=20)
        assert len(passes) == 3
        assert sum(passes) == 50
        assert list(found) == [name for layer in layers for name in layer.view_names.values()]
        small_net.eval()
        with torch.no_grad():
            maps = small_net[0](digits[0][:50])
        torch.testing.assert_close(found["0@max4"], functional.max_pool2d(maps, 4))
        assert [name for name in found if name.startswith("6")] == ["6"]

    def test_the_memory_budget_counts_every_view_and_changes_nothing(self, small_net, digits):
        sample, passes = rra.FixedSample.from_tensors(digits[0][:40]), []

        def counted(model, batch):
            passes.append(len(batch))
            return model(batch)

        def measured(views, **options):
            passes.clear()
            layers = ["input", "0", "2"]
            return dict(rra.iter_features(small_net, sample, layers, views=views, forward=counted, **options))

        # Float32: 64 pixels and two maps of 4 x 6 x 6; pooled to 3 x 3, a quarter more each.
        enough = 4 * 40 * (64 + 2 * 144)
        measured(["full"], memory_budget=enough)
        assert len(passes) == 2 + 1
        split = measured(["full", "avg2"], memory_budget=enough)
        assert len(passes) == 2 + 2
        at_once = measured(["full", "avg2"])
        assert list(split) == list(at_once) == ["input", "input@avg2", "0", "0@avg2", "2", "2@avg2"]
        assert all((split[name] == at_once[name]).all() for name in split)

    def test_tokens_and_maps_of_one_network(self, digits):
        model, sample = Attention().eval(), rra.FixedSample.from_tensors(digits[0][:30])
        views = ["full", "avg2", "avg-global", "class-token"]
        found = dict(rra.iter_features(model, sample, ["patches", "block", "head"], views=views))
        assert {name: tuple(values.shape[1:]) for name, values in found.items()} == {
            "patches": (12, 4, 4),
            "patches@avg2": (12, 2, 2),
            "patches@avg-global": (12,),
            "block": (17, 12),
            "block@avg2": (8, 12),
            "block@avg-global": (12,),
            "block@class-token": (12,),
            "head": (10,),
        }
        with torch.no_grad():
            torch.testing.assert_close(model.head(found["block@class-token"]), found["head"])

    def test_a_view_that_no_layer_has_is_refused(self, small_net, sample):
        with pytest.raises(ValueError, match=r"no layer has a view 'class-token'.*\(4, 6, 6\).*drop the view"):
            list(rra.iter_features(small_net, sample, ["0"], views=["full", "class-token"]))
