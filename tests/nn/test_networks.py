"""The thesis's networks: parameters to the last unit, FLOPs as printed, names, and what is refused."""

from functools import partial

import pytest
import torch
from torch import nn

import rra_monitor as rra
from rra_monitor.capture.features import find_layers
from rra_monitor.nn import BAM, STAC, Cost, ResNet, SqueezeExcitation, network_cost, resnet20, resnet34

DEEP20 = partial(ResNet, (6, 6, 6), (16, 32, 64))
WIDE20 = partial(ResNet, (3, 3, 3), (22, 44, 88))
DEEP34 = partial(ResNet, (6, 8, 12, 6), (64, 128, 256, 512))
WIDE34 = partial(ResNet, (3, 4, 6, 3), (90, 180, 360, 720))
STAC20 = partial(resnet20, attention="stac")


def kernels(first, second):
    return partial(resnet20, attention=partial(STAC, kernels=(first, second)))


PARAMETERS = [
    (resnet20, 10, 272_474),
    (resnet20, 50, 275_074),
    (partial(resnet20, attention="se"), 10, 305_402),
    (partial(resnet20, attention="se", placement="post"), 10, 305_402),
    (STAC20, 10, 563_450),
    (partial(STAC20, placement="post"), 10, 563_450),
    (kernels(1, 3), 10, 434_426),
    (kernels(3, 1), 10, 434_426),
    (kernels(1, 1), 10, 305_402),
    (partial(resnet20, attention=("stac", None, None)), 10, 286_394),
    (partial(resnet20, attention=(None, "stac", None)), 10, 327_962),
    (partial(resnet20, attention=(None, None, "stac")), 10, 494_042),
    (DEEP20, 10, 564_122),
    (resnet34, 50, 21_302_642),
    (resnet34, 1000, 21_789_992),
    (partial(resnet34, attention="se"), 50, 23_825_138),
    (partial(resnet34, attention="se"), 1000, 24_312_488),
    (partial(resnet34, attention="stac"), 50, 43_944_690),
    (partial(resnet34, attention="stac"), 1000, 44_432_040),
    (DEEP34, 50, 43_952_242),
    (DEEP34, 1000, 44_439_592),
]

# Millions, tables 7.1, 7.2, 7.3, 7.4 and 7.6.
CIFAR10_FLOPS = [
    (resnet20, 41.5),
    (WIDE20, 78.5),
    (partial(resnet20, attention="se"), 41.7),
    (partial(resnet20, attention="se", placement="post"), 41.7),
    (partial(resnet20, attention="bam"), 86.6),
    (partial(resnet20, attention="bam", placement="post"), 86.6),
    (STAC20, 42.3),
    (partial(STAC20, placement="post"), 42.3),
    (kernels(1, 1), 41.7),
    (kernels(1, 3), 42.0),
    (kernels(3, 1), 42.0),
    (partial(resnet20, attention=("stac", None, None)), 41.8),
    (partial(resnet20, attention=(None, "stac", None)), 41.8),
    (partial(resnet20, attention=(None, None, "stac")), 41.8),
    (partial(STAC20, window=1), 84.2),
    (partial(STAC20, window=2), 52.3),
    (partial(STAC20, window=4), 44.3),
    (partial(resnet20, attention=partial(STAC, window="global", kernels=(1, 1))), 41.7),
    (partial(STAC20, window=(16, 8, 1)), 56.0),
    (partial(STAC20, window=(8, 4, 8)), 43.0),
]


class TestNetworkCost:
    @pytest.mark.parametrize(("build", "classes", "count"), PARAMETERS)
    def test_parameters_are_the_thesiss_to_the_last_unit(self, build, classes, count):
        with torch.device("meta"):
            network = build(num_classes=classes)
        assert sum(weights.numel() for weights in network.parameters()) == count

    def test_bam_meets_the_printed_millions(self):
        with torch.device("meta"):
            counts = [sum(p.numel() for p in resnet34(classes, attention="bam").parameters()) for classes in (50, 1000)]
        assert [round(count / 1e6, 1) for count in counts] == [47.7, 48.2]

    @pytest.mark.parametrize(("build", "millions"), CIFAR10_FLOPS)
    def test_flops_on_cifar10_are_within_a_hundredth_of_the_print(self, build, millions):
        assert network_cost(build(num_classes=10)).flops / 1e6 == pytest.approx(millions, rel=0.01)

    def test_flops_of_twice_the_depth_are_within_two_hundredths_of_the_print(self):
        assert network_cost(DEEP20(num_classes=10)).flops / 1e6 == pytest.approx(85.7, rel=0.02)

    @pytest.mark.parametrize(
        ("build", "billions"),
        [(resnet34, 4.65), (partial(resnet34, attention="stac"), 4.73), (WIDE34, 9.19), (DEEP34, 9.50)],
    )
    def test_flops_on_64_pixels_are_within_two_hundredths_of_the_print(self, build, billions):
        with torch.device("meta"):
            network = build(num_classes=1000)
        assert network_cost(network, (3, 64, 64)).flops / 1e9 == pytest.approx(billions, rel=0.02)

    def test_flops_by_hand(self):
        network = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            STAC(4, window=2, kernels=(1, 3)),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 5),
        )
        pixels, windows = 8 * 6, 4 * 3
        convolution, norm, relu, pool = 27 * 4 * pixels, 2 * 4 * pixels, 4 * pixels, 4 * pixels
        # Sums over rows and over columns, quotients, convolution, ReLU, convolution, sigmoid, product.
        pooling, product = (4 + 2) * pixels + 4 * windows, 4 * pixels
        stac = pooling + 16 * windows + 4 * windows + 9 * 16 * windows + 4 * windows + product
        found = network_cost(network, (3, 8, 6))
        assert found.flops == convolution + norm + relu + stac + pool + 4 * 5
        assert found.parameters == sum(weights.numel() for weights in network.parameters())

    def test_the_network_is_left_as_it_is(self):
        network = resnet20(attention="stac").train()
        before = {name: values.clone() for name, values in network.state_dict().items()}
        assert network_cost(network) == network_cost(network) != Cost(0, 0)
        assert all(module.training for module in network.modules())
        assert all(torch.equal(values, before[name]) for name, values in network.state_dict().items())


class TestResNetForward:
    def by_hand(self, block, x):
        branch = block.norm2(block.conv2(block.norm1(block.conv1(x)).relu()))
        return branch, block.shortcut(x)

    @pytest.mark.parametrize(("name", "kind"), [("stac", STAC), ("se", SqueezeExcitation), ("bam", BAM)])
    def test_attention_stands_where_its_placement_says(self, name, kind):
        torch.manual_seed(0)
        x = torch.randn(4, 16, 16, 16)
        standard, post = (resnet20(attention=name, placement=at).eval().layer2[0] for at in ("standard", "post"))
        assert type(standard.attention) is kind
        branch, shortcut = self.by_hand(standard, x)
        torch.testing.assert_close(standard(x), (standard.attention(branch) + shortcut).relu())
        branch, shortcut = self.by_hand(post, x)
        torch.testing.assert_close(post(x), post.attention((branch + shortcut).relu()))

    def test_windows_and_attention_go_to_their_stages(self):
        network = resnet20(attention=("stac", partial(STAC, kernels=(1, 3)), "se"), window=(16, 4, "global"))
        assert [block.attention.window for block in network.layer1] == [(16, 16)] * 3
        assert [block.attention.window for block in network.layer2] == [(8, 8)] * 3
        assert [type(block.attention) for block in network.layer3] == [SqueezeExcitation] * 3
        mixed = resnet20(attention="stac", window=[(8, 4), "global", 2])
        assert [stage[0].attention.window for stage in (mixed.layer1, mixed.layer2, mixed.layer3)] == [
            (8, 4),
            None,
            (2, 2),
        ]
        assert mixed(torch.randn(2, 3, 32, 32)).shape == (2, 10)

    @pytest.mark.parametrize("options", [{"attention": "stac"}, {"attention": "bam", "placement": "post"}])
    def test_one_seed_starts_all_variants_from_the_same_weights(self, options):
        torch.manual_seed(3)
        base = resnet20()
        torch.manual_seed(3)
        found = resnet20(**options).state_dict()
        assert all(torch.equal(values, found[name]) for name, values in base.state_dict().items())

    @pytest.mark.parametrize("attention", ["stac", "se", "bam"])
    def test_every_weight_gets_a_gradient(self, attention):
        network = resnet20(attention=attention)
        network(torch.randn(4, 3, 32, 32)).square().sum().backward()
        assert [name for name, weights in network.named_parameters() if not weights.grad.abs().sum() > 0] == []


class TestResNetLayers:
    @pytest.mark.parametrize("attention", [None, "stac", "se", "bam", ("stac", None, "se")])
    @pytest.mark.parametrize("placement", ["standard", "post"])
    def test_layers_keep_the_thesiss_numbering_with_any_attention(self, attention, placement):
        network = resnet20(attention=attention, placement=placement, window=4)
        layers = find_layers(network, rra.FixedSample.from_tensors(torch.rand(4, 3, 16, 16)))
        blocks = [f"layer{stage}.{block}" for stage in (1, 2, 3) for block in (0, 1, 2)]
        assert [layer.name for layer in layers] == ["input", "stem", *blocks, "pool", "fc"]
        assert layers[12].shape == (10,)

    @pytest.mark.parametrize("attention", [None, "stac"])
    def test_resnet34_is_stem_sixteen_blocks_pool_and_classifier(self, attention):
        network = resnet34(50, attention=attention, window="global")
        layers = find_layers(network, rra.FixedSample.from_tensors(torch.rand(4, 3, 16, 16)))
        blocks = [f"layer{stage}.{block}" for stage, count in enumerate((3, 4, 6, 3), 1) for block in range(count)]
        assert [layer.name for layer in layers] == ["input", "stem", *blocks, "pool", "fc"]
        assert [layer.shape for layer in layers][:2] == [(3, 16, 16), (64, 16, 16)]

    def test_a_layers_features_are_what_leaves_its_attention(self):
        network = resnet20(attention="stac", placement="post").eval()
        images = torch.rand(4, 3, 32, 32)
        found = dict(rra.iter_features(network, rra.FixedSample.from_tensors(images), ["layer1.0"]))["layer1.0"]
        with torch.no_grad():
            torch.testing.assert_close(torch.as_tensor(found), network.layer1[0](network.stem(images)))


class TestResNetRefuses:
    def test_a_window_larger_than_a_stages_map_names_the_stage_the_map_and_what_is_possible(self):
        network = resnet20(attention="stac", window=8)
        message = r"stage 3 \(layer3.0\): a window of 8 x 8 .* the map of 4 x 4; possible is up to 4 x 4, or 'global'"
        with pytest.raises(ValueError, match=message):
            network(torch.randn(2, 3, 16, 16))

    def test_unknown_attention_and_placement_are_refused_with_the_valid_ones(self):
        with pytest.raises(
            ValueError, match="unknown attention 'cbam'; valid: 'stac', 'se', 'bam', None, or a callable"
        ):
            resnet20(attention="cbam")
        with pytest.raises(ValueError, match="unknown placement 'pre'; valid: 'standard', 'post'"):
            resnet20(attention="stac", placement="pre")
        with pytest.raises(TypeError, match=r"no attention: STAC; valid: 'stac'.*makes a layer of a channel count"):
            resnet20(attention=STAC(16))

    def test_sequences_of_another_length_than_the_stages_are_refused(self):
        with pytest.raises(ValueError, match=r"2 values of window for 3 stages: \(8, 4\).*one for each stage"):
            resnet20(attention="stac", window=(8, 4))
        with pytest.raises(ValueError, match="1 values of attention for 3 stages"):
            resnet20(attention=["stac"])
        with pytest.raises(ValueError, match=r"one number per stage, not \[3, 3\] and \[16, 32, 64\]"):
            ResNet((3, 3), (16, 32, 64))
        with pytest.raises(ValueError, match=r"one number per stage, not \[\] and \[\]"):
            ResNet((), ())

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"widths": (16, 0)}, "widths must be at least 1, not 0"),
            ({"blocks": (2, -1)}, "blocks must be at least 1, not -1"),
            ({"num_classes": 0}, "num_classes must be at least 1, not 0"),
            ({"in_channels": -3}, "in_channels must be at least 1, not -3"),
            ({"attention": "stac", "window": 0}, "window must be at least 1, not 0"),
        ],
    )
    def test_sizes_below_one_are_refused(self, options, message):
        with pytest.raises(ValueError, match=message):
            ResNet(**({"blocks": (2, 2), "widths": (8, 16)} | options))
