import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional

import rra_monitor as rra
from rra_monitor.capture.channels import has_channels_last, with_views
from rra_monitor.capture.features import collect, find_layers
from rra_monitor.capture.layer import Layer, named_modules
from rra_monitor.capture.names import layer_view, split_view
from rra_monitor.capture.views import checked_views, pooled, pooled_dim, resolve

EVERY = ("full", "avg2", "avg4", "avg8", "avg-global", "max2", "max4", "max8", "max-global")


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


class TestValues:
    def test_windows_of_two_by_hand(self):
        plane = torch.tensor(
            [[[[1.0, 3.0, 0.0, 8.0], [5.0, 7.0, 4.0, 0.0], [2.0, 2.0, 1.0, 1.0], [2.0, 6.0, 1.0, 9.0]]]]
        )
        assert pooled(plane, "avg2").tolist() == [[[[4.0, 3.0], [3.0, 3.0]]]]
        assert pooled(plane, "max2").tolist() == [[[[7.0, 8.0], [6.0, 9.0]]]]
        assert pooled(plane, "avg-global").tolist() == [[3.25]]
        assert pooled(plane, "max-global").tolist() == [[9.0]]

    def test_a_border_that_does_not_fill_a_window_is_left_out(self):
        plane = torch.arange(15.0).reshape(1, 1, 3, 5)
        assert pooled(plane, "avg2").tolist() == [[[[3.0, 5.0]]]]
        assert pooled(plane, "max2").tolist() == [[[[6.0, 8.0]]]]

    def test_a_side_shorter_than_the_window_is_pooled_whole(self):
        plane = torch.arange(16.0).reshape(1, 1, 2, 8)
        assert pooled(plane, "max4").tolist() == [[[[11.0, 15.0]]]]

    @pytest.mark.parametrize("window", [1, 2, 3, 4, 5])
    @pytest.mark.parametrize("dims", [1, 2, 3])
    def test_windows_are_torchs(self, dims, window):
        maps = torch.randn(6, 3, *(5, 7, 6)[:dims], dtype=torch.float64)
        for kind in ("avg", "max"):
            torchs = getattr(functional, f"{kind}_pool{dims}d")(maps, window)
            torch.testing.assert_close(pooled(maps, f"{kind}{window}").reshape(torchs.shape), torchs)

    def test_global_views_keep_the_channels_apart(self):
        maps = torch.randn(4, 3, 8, 8)
        assert (pooled(maps, "avg-global") == functional.adaptive_avg_pool2d(maps, 1).flatten(1)).all()
        assert (pooled(maps, "max-global") == functional.adaptive_max_pool2d(maps, 1).flatten(1)).all()

    def test_tokens_are_pooled_over_tokens(self):
        tokens = torch.tensor([[[1.0, 10.0], [3.0, 30.0], [5.0, 0.0]]])
        assert pooled(tokens, "avg2", channels_last=True).tolist() == [[[2.0, 20.0]]]
        assert pooled(tokens, "max-global", channels_last=True).tolist() == [[5.0, 30.0]]
        assert pooled(tokens, "avg-global", channels_last=True).tolist() == pytest.approx(torch.tensor([[3.0, 40 / 3]]))
        assert pooled(tokens, "class-token", channels_last=True).tolist() == [[1.0, 10.0]]

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.uint8])
    def test_averages_are_not_rounded_to_the_captures_precision(self, dtype):
        maps = torch.randint(0, 255, (5, 2, 16, 16)).to(dtype)
        assert pooled(maps, "avg-global").dtype is torch.float32
        torch.testing.assert_close(pooled(maps, "avg-global"), maps.double().mean((2, 3)).float())
        assert pooled(maps, "full") is maps

    def test_the_full_view_is_the_features_themselves(self):
        vectors = torch.randn(4, 10)
        assert all(pooled(vectors, view) is vectors for view in EVERY)

    def test_a_class_token_is_of_tokens_alone(self):
        with pytest.raises(ValueError, match=r"shape \(4, 3, 8, 8\) have no 'class-token'"):
            pooled(torch.randn(4, 3, 8, 8), "class-token")

    @pytest.mark.parametrize("view", EVERY)
    def test_the_number_of_features_is_known_from_the_shape(self, view):
        for shape in [(10,), (3, 9), (3, 8, 8), (3, 1, 1), (2, 5, 6, 7)]:
            assert pooled_dim(shape, view) == pooled(torch.randn(2, *shape), view)[0].numel()


class TestNames:
    @pytest.mark.parametrize("view", ["avg", "avg0", "avg02", "mean2", "global", "avg-2", "Avg2", "max_global", "", 2])
    def test_unknown_views_are_refused_with_the_valid_forms(self, view):
        with pytest.raises(ValueError, match=r"unknown view .*'avg-global', 'max-global', 'class-token'"):
            checked_views(["full", view])

    def test_the_full_view_is_never_missing(self):
        with pytest.raises(ValueError, match=r"lacks 'full'.*pass \('full', 'avg2'\)"):
            checked_views(["avg2"])
        assert checked_views("full") == ("full",)
        assert checked_views(["full", "avg2", "avg2"]) == ("full", "avg2")

    def test_names_come_apart_as_they_were_put_together(self):
        for layer, view in itertools.product(["fc", "layer2.0", "a@b", "relu#1"], [*EVERY, "class-token"]):
            assert split_view(layer_view(layer, view)) == (layer, view)


class TestEqualViews:
    def test_windows_as_large_as_the_map_are_the_global_view(self):
        found = resolve((64, 8, 8), EVERY)
        assert found["avg8"] == "avg-global"
        assert found["max8"] == "max-global"
        assert [view for view, same in found.items() if view == same] == [
            view for view in EVERY if not view.endswith("8")
        ]
        assert resolve((64, 4, 8), ["avg4", "avg8"]) == {"avg4": "avg4", "avg8": "avg-global"}

    @pytest.mark.parametrize("shape", [(), (10,), (64, 1, 1), (64, 1)])
    def test_layers_without_spatial_extent_have_the_full_view_only(self, shape):
        assert set(resolve(shape, EVERY).values()) == {"full"}

    def test_windows_of_one_are_the_full_view(self):
        assert resolve((3, 4, 4), ["avg1", "max1"]) == {"avg1": "full", "max1": "full"}

    @pytest.mark.parametrize("shape", [(3, 8, 8), (3, 5, 2), (4, 7), (2, 1, 6), (3, 1, 1), (9,)])
    def test_views_have_one_name_where_and_only_where_they_hold_the_same_numbers(self, shape):
        features = torch.randn(100, *shape)
        views = {view: pooled(features, view).flatten(1) for view in [*EVERY, "avg1", "avg16", "max3"]}
        found = resolve(shape, views)
        for a, b in itertools.combinations(views, 2):
            same = views[a].shape == views[b].shape and torch.allclose(views[a], views[b])
            assert (found[a] == found[b]) == same, (a, b)


class TestChannels:
    @pytest.mark.parametrize(
        ("model", "shape", "last"),
        [
            (nn.Conv1d(4, 6, 3, padding=1), (6, 20), False),
            (nn.Sequential(nn.Conv1d(4, 6, 3), nn.ReLU()), (6, 20), False),
            (nn.Linear(4, 6), (20, 6), True),
            (nn.LayerNorm(6), (20, 6), True),
            (nn.LSTM(4, 6, batch_first=True), (20, 6), True),
            (nn.TransformerEncoderLayer(6, 2, 12, batch_first=True), (20, 6), True),
            (nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6)), (7, 7, 6), True),
            (nn.Sequential(nn.Conv2d(6, 6, 7), nn.GroupNorm(2, 6), nn.Linear(6, 24)), (6, 7, 7), False),
            (nn.Identity(), (20, 6), False),
            (nn.Linear(4, 6), (6,), False),
        ],
    )
    def test_which_axis_holds_them_is_told_by_the_sizes_of_the_modules_within(self, model, shape, last):
        whole = nn.Sequential(model)
        assert has_channels_last(named_modules(whole), Layer("0", "0", 0, shape)) is last

    def test_a_module_that_tells_nothing_asks_the_one_around_it(self):
        model = nn.Sequential(
            nn.Sequential(nn.Conv1d(4, 6, 3), nn.ReLU()), nn.Sequential(nn.Linear(5, 8), nn.GELU(), nn.Dropout())
        )
        modules = named_modules(model)
        assert not has_channels_last(modules, Layer("0.1", "0.1", 0, (6, 20)))
        assert has_channels_last(modules, Layer("1.1", "1.1", 0, (20, 8)))

    @pytest.mark.parametrize(
        ("model", "shape", "last"),
        [
            (nn.Linear(28, 10), (1, 28, 28), False),
            (nn.Conv1d(2, 6, 3), (2, 28), False),
            (nn.Linear(6, 8), (28, 6), True),
        ],
    )
    def test_raw_images_have_them_first_and_sequences_as_the_network_takes_them(self, model, shape, last):
        assert has_channels_last(named_modules(model), Layer("input", "", 0, shape)) is last

    @pytest.mark.parametrize(
        ("name", "layer", "last"),
        [
            ("vit_b_32", "encoder.layers.encoder_layer_11", True),
            ("vit_b_32", "conv_proj", False),
            ("swin_t", "features.1.0", True),
            ("swin_t", "features.0", True),
            ("convnext_tiny", "features.1.0", False),
            ("convnext_tiny", "features.2.0", False),
            ("convnext_tiny", "classifier.0", False),
        ],
    )
    def test_networks_of_torchvision(self, name, layer, last):
        import torchvision

        model = getattr(torchvision.models, name)(weights=None)
        sample = rra.FixedSample.from_tensors(torch.rand(4, 3, 224, 224))
        (found,) = with_views(model, find_layers(model, sample, [layer]), ["full", "avg-global"])
        assert found.channels_last is last
        channels = found.shape[-1] if last else found.shape[0]
        assert pooled_dim(found.shape, "avg-global", last) == channels


class TestCapture:
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
