"""Attention in networks that exist already."""

import copy
import pickle
import re
from functools import partial

import pytest
import timm
import torch
import torchvision
import transformers
from torch import nn
from torchvision.models.resnet import Bottleneck

import rra_monitor as rra
from rra_monitor.capture.features import find_layers
from rra_monitor.nn import BAM, STAC, SqueezeExcitation, insert_attention, resnet20
from rra_monitor.nn.blocks import Attended, residual_stages
from rra_monitor.nn.insert import Gated
from tests.helpers.blocks import (
    MapWeights,
    NormsFirst,
    PreActivation,
    ResidualFunction,
    SEFunction,
    SqueezeExcitedBlock,
    WeighedBlock,
    cifar_network,
)


def transformers_resnet(layer_type):
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [2, 1]}
    return transformers.ResNetForImageClassification(transformers.ResNetConfig(layer_type=layer_type, **sizes))


def logits(network, images):
    found = network(images)
    return getattr(found, "logits", found)


NETWORKS = {
    "torchvision resnet18": torchvision.models.resnet18,
    "torchvision bottlenecks": partial(torchvision.models.ResNet, Bottleneck, [1, 1, 1, 1]),
    "torchvision regnet_x_400mf": torchvision.models.regnet_x_400mf,
    "timm resnet18": partial(timm.create_model, "resnet18"),
    "timm regnetx_002": partial(timm.create_model, "regnetx_002"),
    "transformers basic": partial(transformers_resnet, "basic"),
    "transformers bottleneck": partial(transformers_resnet, "bottleneck"),
    "kuangliu's": cifar_network,
    "weiaicunzai's": partial(cifar_network, ResidualFunction),
    "the thesis's": partial(resnet20, 10),
}
RESNETV2 = partial(timm.create_model, "resnetv2_18")
IMAGES = (2, 3, 64, 64)


def has_attention(name):
    try:
        return timm.layers.get_attn(name) is not None
    except AssertionError:  # older versions have fewer
        return False


TIMMS = list(
    filter(
        has_attention,
        ["se", "ese", "eca", "ecam", "ceca", "gc", "gca", "cbam", "lcbam", "coord", "scoord", "ela", "strip", "nl"],
    )
)
"""Names of timm's layers that keep the shape and stand after a convolution."""


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
            expected = logits(network, images)
            inserted = insert_attention(network, "se", placement, gate=True)
            found = logits(network, images)
        assert inserted is network
        assert torch.equal(found, expected)
        kept = {id(weights): weights for weights in network.parameters() if id(weights) in before}
        assert len(kept) == len(before)
        assert all(torch.equal(kept[key], values) for key, values in before.items())

    def test_without_a_gate_the_output_changes(self, network):
        images = torch.randn(IMAGES)
        with torch.no_grad():
            expected = logits(network, images)
            found = logits(insert_attention(network, "se", "post"), images)
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

    @pytest.mark.parametrize(
        "make", [*(partial(cifar_network, block) for block in (PreActivation, NormsFirst)), RESNETV2]
    )
    def test_a_branch_without_a_norm_at_its_end_takes_it_after_the_block_alone(self, make):
        network, images = make().eval(), torch.ones(IMAGES)
        expected = network(images)
        with pytest.raises(ValueError, match=r"ends with a convolution.* Pass placement='post'"):
            insert_attention(network, "se")
        assert count(network, Attended) == 0
        assert torch.equal(insert_attention(network, "se", "post", gate=True)(images), expected)
        assert count(network, Attended) == count(network, Gated) > 0

    @pytest.mark.parametrize("placement", ["standard", "post"])
    def test_a_block_that_is_there_twice_gets_one_layer(self, placement):
        network = cifar_network().eval()
        network.layer1[1] = network.layer1[0]
        expected = network(torch.ones(1, 3, 8, 8))
        insert_attention(network, "se", placement, gate=True)
        assert network.layer1[1] is network.layer1[0]
        assert count(network, Gated) == 3
        assert torch.equal(network(torch.ones(1, 3, 8, 8)), expected)

    def test_a_compiled_network_is_compiled_anew(self):
        network = cifar_network().eval()
        compiled, images = torch.compile(network, backend="eager"), torch.ones(1, 3, 8, 8)
        before = compiled(images)
        insert_attention(compiled, "se")
        assert not torch.allclose(compiled(images), before)
        torch.testing.assert_close(compiled(images), network(images))

    def test_hooks_of_the_users_meet_no_trial(self):
        network, met = cifar_network(), []
        network.layer1[0].conv2.register_forward_hook(lambda *_: met.append(1))
        insert_attention(network, "se")
        assert met == []

    def test_stages_may_get_theirs_one_after_the_other(self):
        network = torchvision.models.resnet18()
        insert_attention(network, (None, None, None, "se"))
        insert_attention(network, (None, None, "bam", None), replace=True)
        assert [count(getattr(network, f"layer{stage}"), Attended) for stage in (1, 2, 3, 4)] == [0, 0, 2, 2]
        assert count(network.layer4, SqueezeExcitation) == 2


def with_timms(kind):
    """A network of four blocks with timm's attention of a name."""
    torch.manual_seed(0)
    return timm.create_model("test_resnet", block_args={"attn_layer": kind}, zero_init_last=False).eval()


def on_cpu(build):
    with torch.device("cpu"):  # RegNets compute their widths with tensors
        return build()


class TestReplacing:
    @pytest.mark.parametrize("kind", TIMMS)
    def test_timms_attention_is_refused_by_name_and_replaced_on_request(self, kind):
        network = with_timms(kind)
        with pytest.raises(ValueError, match=r"layer1.0.se \(\w+\) is attention already. Pass replace=True"):
            insert_attention(network, "se")
        assert count(network, Attended) == 0
        plain = timm.create_model("test_resnet").eval()
        plain.load_state_dict(network.state_dict(), strict=False)
        images = torch.randn(IMAGES)
        insert_attention(network, "se", replace=True, gate=True)
        assert [type(network.layer2[0].se), count(network, SqueezeExcitation)] == [nn.Identity, 4]
        assert torch.equal(network(images), plain(images))

    @pytest.mark.parametrize(
        ("build", "place"),
        [
            (
                partial(on_cpu, torchvision.models.regnet_y_400mf),
                "trunk_output.block1.block1-0.f.se (SqueezeExcitation)",
            ),
            (partial(on_cpu, partial(timm.create_model, "regnety_002")), "s1.b1.se (SEModule)"),
            (partial(timm.create_model, "legacy_seresnet18"), "layer1.0.se_module (SEModule)"),
            (partial(timm.create_model, "resnetrs50"), "layer1.0.se (SEModule)"),
            (partial(timm.create_model, "test_byobnet"), "stages.0.0.attn (SEModule)"),
            (partial(cifar_network, SqueezeExcitedBlock), "layer1.0.se (SELayer)"),
            (partial(resnet20, attention="bam"), "layer1.0.attention (BAM)"),
            (lambda: insert_attention(cifar_network(), "stac", gate=True), "layer1.0.bn2 (STAC)"),
            (partial(with_timms, STAC), "layer1.0.se (STAC)"),
            (partial(with_timms, "bat"), "layer1.0.se (BatNonLocalAttn)"),
        ],
    )
    def test_it_is_seen_in_every_kind_of_block(self, build, place):
        with torch.device("meta"):
            network = build()
        with pytest.raises(ValueError, match=re.escape(f"{place} is attention already. Pass replace=True")):
            insert_attention(network, "se")
        insert_attention(network, "se", replace=True)
        blocks = [block for stage in residual_stages(network) for block in stage]
        assert count(network, SqueezeExcitation) == len(blocks)

    @pytest.mark.parametrize("first", ["standard", "post"])
    @pytest.mark.parametrize("placement", ["standard", "post"])
    def test_our_own_goes_without_a_trace(self, first, placement):
        network, again = cifar_network().eval(), cifar_network().eval()
        again.load_state_dict(network.state_dict())
        insert_attention(insert_attention(network, "stac", first, window=1), "se", placement, replace=True, gate=True)
        insert_attention(again, "se", placement, gate=True)
        assert list(network.state_dict()) == list(again.state_dict())
        assert torch.equal(network(torch.ones(1, 3, 8, 8)), again(torch.ones(1, 3, 8, 8)))

    def test_every_new_layer_learns(self):
        network = insert_attention(with_timms("cbam").train(), "se", replace=True)
        network(torch.randn(IMAGES)).square().sum().backward()
        assert all(weights.grad.abs().sum() > 0 for weights in network.layer3[0].bn3.attention.parameters())

    def test_stages_without_new_attention_keep_what_they_have(self):
        network = insert_attention(with_timms("eca"), (None, None, None, "se"), replace=True)
        assert count(network, timm.layers.EcaModule) == 3

    @pytest.mark.parametrize(
        ("build", "place"),
        [
            (partial(timm.create_model, "skresnet18"), "layer1.0.conv1 (SelectiveKernel)"),
            (partial(timm.create_model, "resnest14d"), "layer1.0.conv2 (SplitAttn)"),
            (partial(timm.create_model, "botnet26t_256"), "stages.2.1.self_attn (BottleneckAttn)"),
            (partial(timm.create_model, "halonet26t"), "stages.2.1.self_attn (HaloAttn)"),
            (partial(timm.create_model, "lambda_resnet26t"), "stages.2.1.self_attn (LambdaLayer)"),
        ],
    )
    @pytest.mark.parametrize("replace", [False, True])
    def test_what_is_a_convolution_as_well_stays(self, build, place, replace):
        with torch.device("meta"):
            network = build()
        with pytest.raises(ValueError, match=f"{re.escape(place)} is attention already, and cannot be replaced: it is"):
            insert_attention(network, "se", replace=replace)
        assert count(network, Attended) == 0

    @pytest.mark.parametrize("weights", [MapWeights, SEFunction])
    def test_what_a_block_multiplies_itself_stays(self, weights):
        network = cifar_network(partial(WeighedBlock, weights=weights))
        reason = "its block uses it as weights of a map, not as a map"
        with pytest.raises(ValueError, match=rf"layer1.0.ca \(\w+\) is attention already, and cannot be .*: {reason}"):
            insert_attention(network, "se", replace=True)


class TestInsertAttentionRefuses:
    def test_attention_that_forward_computes(self):
        class Functional(type(cifar_network().layer1[0])):
            def __init__(self, *arguments):
                super().__init__(*arguments)
                self.fc1 = nn.Conv2d(self.conv2.out_channels, 2, 1)

        with pytest.raises(
            ValueError, match=r"'layer1\.0' has attention already, which its forward computes from 'fc1'"
        ):
            insert_attention(cifar_network(Functional), "se", replace=True)

    def test_attention_between_stages_and_between_blocks(self):
        network = cifar_network()
        network.bam1 = BAM(8)
        with pytest.raises(ValueError, match=r"bam1 \(BAM\) is attention beside the residual blocks"):
            insert_attention(network, "se")
        network = cifar_network()
        network.layer1.append(SqueezeExcitation(8))
        with pytest.raises(ValueError, match=r"layer1.2 \(SqueezeExcitation\) is attention beside the residual blocks"):
            insert_attention(network, "se", replace=True)

    @pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                torch.jit.script,
                "network is a RecursiveScriptModule, whose code is fixed. Insert attention before it is",
            ),
            (torch.fx.symbolic_trace, "network is a ResNet, whose code is fixed. Insert attention before it is"),
        ],
    )
    def test_networks_whose_code_is_fixed(self, change, message):
        with pytest.raises(ValueError, match=message):
            insert_attention(change(torchvision.models.resnet18()), "se")

    def test_a_network_that_is_distributed_already(self, tmp_path):
        torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/join", rank=0, world_size=1)
        try:
            network = nn.parallel.DistributedDataParallel(cifar_network())
            with pytest.raises(ValueError, match=r"would not train the new layers\. Insert attention before"):
                insert_attention(network, "se")
        finally:
            torch.distributed.destroy_process_group()

    def test_maps_of_three_axes(self):
        with torch.device("meta"):
            network = torchvision.models.video.r3d_18()
        with pytest.raises(ValueError, match=r"'layer1\.0' has a Conv3DSimple; attention is for maps of"):
            insert_attention(network, "se")

    @pytest.mark.parametrize("build", [torchvision.models.vgg11, partial(timm.create_model, "convnext_atto")])
    def test_networks_without_residual_blocks_are_refused(self, build):
        with torch.device("meta"):
            network = build()
        with pytest.raises(ValueError, match=f"{type(network).__name__} has no residual blocks: no module with conv1"):
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
