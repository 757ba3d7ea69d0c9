"""Attention in networks that exist already."""

import copy
import pickle
from functools import partial

import pytest
import timm
import torch
import torchvision
from torch import nn

import rra_monitor as rra
from rra_monitor.capture.features import find_layers
from rra_monitor.nn import BAM, STAC, SqueezeExcitation, insert_attention, resnet20
from rra_monitor.nn.insert import Attended, Gated

NETWORKS = {
    "torchvision resnet18": torchvision.models.resnet18,
    "torchvision resnet50": torchvision.models.resnet50,
    "timm resnet18": partial(timm.create_model, "resnet18"),
    "timm seresnet50": partial(timm.create_model, "seresnet50"),
    "the thesis's": partial(resnet20, 10),
}
IMAGES = (2, 3, 64, 64)


@pytest.fixture(params=NETWORKS)
def network(request):
    torch.manual_seed(0)
    return NETWORKS[request.param]().eval()


def count(network, kind):
    return sum(isinstance(module, kind) for module in network.modules())


def weights_by_value(network):
    return {id(weights): weights.detach().clone() for weights in network.parameters()}


class TestInsertAttention:
    @pytest.mark.parametrize("placement", ["standard", "post"])
    def test_a_gate_leaves_the_output_unchanged_and_every_weight_as_it_was(self, network, placement):
        images, before = torch.randn(IMAGES), weights_by_value(network)
        with torch.no_grad():
            expected = network(images)
            inserted = insert_attention(network, "stac", placement, window=2, gate=True)
            found = network(images)
        assert inserted is network
        assert torch.equal(found, expected)
        kept = {id(weights): weights for weights in network.parameters() if id(weights) in before}
        assert len(kept) == len(before)
        assert all(torch.equal(kept[key], values) for key, values in before.items())

    def test_without_a_gate_the_output_changes(self, network):
        images = torch.randn(IMAGES)
        with torch.no_grad():
            expected = network(images)
            found = insert_attention(network, "stac", "post", window=2)(images)
        assert not torch.allclose(found, expected)

    @pytest.mark.parametrize("kind", ["stac", "se", "bam"])
    def test_the_gate_opens_in_training_and_then_the_attention_learns(self, kind):
        torch.manual_seed(0)
        network = insert_attention(torchvision.models.resnet18(num_classes=3), kind, window="global", gate=True)
        gated = network.layer2[1].bn2.attention
        first = copy.deepcopy(gated.attention.state_dict())
        optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
        images, labels = torch.randn(6, 3, 32, 32), torch.tensor([0, 1, 2] * 2)
        for step in range(3):
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(images), labels).backward()
            optimiser.step()
            moved = any(not torch.equal(values, first[name]) for name, values in gated.attention.state_dict().items())
            assert gated.gate != 0
            assert moved == (step > 0)

    def test_standard_weighs_the_branch_and_post_the_blocks_output(self):
        images = torch.randn(2, 64, 8, 8)
        plain = torchvision.models.resnet18().eval().layer1[1]
        branch = plain.bn2(plain.conv2(plain.bn1(plain.conv1(images)).relu()))
        for placement, at in (("standard", "layer1.1.bn2"), ("post", "layer1.1")):
            network = torchvision.models.resnet18().eval()
            network.layer1[1].load_state_dict(plain.state_dict())
            insert_attention(network, "stac", placement, window=4)
            attention = network.get_submodule(at).attention
            expected = {
                "standard": lambda layer=attention: (layer(branch) + images).relu(),
                "post": lambda layer=attention: layer((branch + images).relu()),
            }
            torch.testing.assert_close(network.layer1[1](images), expected[placement]())

    def test_stages_have_their_own_attention_and_windows(self):
        network = insert_attention(
            timm.create_model("resnet26"),
            ("stac", None, "bam", partial(STAC, kernels=(1, 1))),
            window=((8, 4), 1, 1, 1),
        )
        assert [stage[1].bn3.attention.window for stage in (network.layer1, network.layer4)] == [(8, 4), (8, 8)]
        assert not any(isinstance(module, Attended) for module in network.layer2.modules())
        assert (count(network, STAC), count(network, BAM), count(network, SqueezeExcitation)) == (4, 2, 0)
        assert network.layer3[0].bn3.attention.channel[0].in_channels == 1024

    def test_squeeze_and_excitation_that_timm_put_there_stays(self):
        network = timm.create_model("seresnet18")
        parts = count(network, timm.layers.SEModule)
        insert_attention(network, "stac", window=2)
        assert (count(network, timm.layers.SEModule), count(network, STAC)) == (parts, 8)

    @pytest.mark.parametrize("kind", [STAC, partial(STAC, window=2), SqueezeExcitation, BAM])
    def test_the_layers_fit_timms_own_slot(self, kind):
        network = timm.create_model("resnet18", block_args={"attn_layer": kind}).eval()
        layer = getattr(kind, "func", kind)
        assert [type(network.layer4[0].se), count(network, layer)] == [layer, 8]
        assert network(torch.randn(1, 3, 256, 256)).shape == (1, 1000)

    def test_the_mode_device_and_precision_are_those_of_the_block(self):
        with torch.device("meta"):
            network = torchvision.models.resnet18().to(torch.bfloat16).eval()
        insert_attention(network, "se", gate=True)
        assert not any(module.training for module in network.modules())
        assert {(weights.device.type, weights.dtype) for weights in network.parameters()} == {("meta", torch.bfloat16)}

    @pytest.mark.parametrize("placement", ["standard", "post"])
    def test_networks_with_it_are_copied_pickled_and_given_synchronised_norms(self, placement):
        network = insert_attention(torchvision.models.resnet18().eval(), "stac", placement, window=1)
        images = torch.randn(1, 3, 32, 32)
        expected = network(images)
        again = insert_attention(torchvision.models.resnet18().eval(), "stac", placement, window=1)
        again.load_state_dict(network.state_dict())
        for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network)), again):
            torch.testing.assert_close(other(images), expected)
        assert count(nn.SyncBatchNorm.convert_sync_batchnorm(network), STAC) == 8

    @pytest.mark.parametrize("placement", ["standard", "post"])
    @pytest.mark.parametrize("attention", ["stac", (None, "stac", None, "se")])
    def test_the_monitor_finds_the_same_layers_as_before(self, placement, attention):
        sample = rra.FixedSample.from_tensors(torch.rand(4, 3, 64, 64))
        network = torchvision.models.resnet18()
        before = [layer.name for layer in find_layers(network, sample)]
        insert_attention(network, attention, placement, window=2)
        assert [layer.name for layer in find_layers(network, sample)] == before

    def test_in_the_thesiss_networks_it_is_the_constructors_attention(self):
        torch.manual_seed(0)
        built = resnet20(attention="stac", placement="post")
        torch.manual_seed(0)
        inserted = insert_attention(resnet20(), "stac", "post")
        assert list(inserted.state_dict()) == list(built.state_dict())
        images = torch.randn(2, 3, 32, 32)
        torch.testing.assert_close(inserted.eval()(images), built.eval()(images))

    def test_a_network_within_another_module_is_found(self):
        holder = nn.ModuleDict({"backbone": torchvision.models.resnet18(), "head": nn.Linear(3, 3)})
        insert_attention(holder, "se")
        assert type(holder["backbone"].layer3[0].bn2) is Attended


class TestInsertAttentionRefuses:
    @pytest.mark.parametrize("build", [torchvision.models.vgg11, partial(timm.create_model, "convnext_atto")])
    def test_networks_without_residual_blocks_are_refused(self, build):
        with torch.device("meta"):
            network = build()
        with pytest.raises(ValueError, match=f"{type(network).__name__} has no residual blocks: no module with conv1"):
            insert_attention(network)

    @pytest.mark.parametrize("build", [torchvision.models.resnet18, resnet20])
    @pytest.mark.parametrize("placement", ["standard", "post"])
    def test_attention_where_there_is_some_already_is_refused(self, build, placement):
        network = insert_attention(build(), "se", placement)
        with pytest.raises(ValueError, match=r"'layer1.0.*' has attention already. Insert into a fresh network"):
            insert_attention(network)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"attention": "eca"}, "unknown attention 'eca'; valid: 'stac', 'se', 'bam', None"),
            ({"placement": "before"}, "unknown placement 'before'; valid: 'standard', 'post'"),
            ({"attention": ("stac", None, None)}, "3 values of attention for 4 stages"),
            ({"window": (8, 8)}, "2 values of window for 4 stages"),
            ({"window": (8, 8, 8, -1)}, "window must be at least 1, not -1"),
        ],
    )
    def test_bad_arguments_leave_the_network_as_it_was(self, options, message):
        network = torchvision.models.resnet18()
        with pytest.raises(ValueError, match=message):
            insert_attention(network, **options)
        assert count(network, (Attended, Gated, STAC)) == 0

    def test_a_window_larger_than_the_map_names_the_stage_when_it_runs(self):
        network = insert_attention(torchvision.models.resnet18(), "stac", window=4).eval()
        message = r"stage 3 \(layer3.0\): a window of 4 x 4 pixels is larger than the map of 3 x 3; possible is up to 3"
        with pytest.raises(ValueError, match=message):
            network(torch.randn(1, 3, 48, 48))
