"""The remedies that texts about attention and networks name, each of them followed."""

from functools import partial

import pytest
import timm
import torch
from torch import nn

from rra_monitor.nn import BAM, STAC, ResNet, SqueezeExcitation, insert_attention, resnet20
from tests.helpers.blocks import Block, WeighedBlock, cifar_network
from tests.helpers.remedies import Remedy

MAPS = torch.rand(2, 4, 8, 8)


def applied(layer, maps=MAPS):
    return layer(maps)


def with_bam():
    """A network with attention between its stages."""
    network = cifar_network()
    network.bam1 = BAM(8)
    return network


def weighed_in_stage_1(channels_in, channels, stride=1):
    """Blocks of which those with 8 channels multiply their map with weights."""
    return (WeighedBlock if channels == 8 else Block)(channels_in, channels, stride)


def changed(network, name):
    network.set_submodule(name, nn.Identity())
    return network


REMEDIES = [
    Remedy(
        "attention({}) is a {}, expected a torch.nn.Module",
        lambda: resnet20(attention=lambda channels: channels),
        lambda: resnet20(attention=SqueezeExcitation),
    ),
    Remedy(
        "None, or a callable that makes a layer of a channel count",
        lambda: resnet20(attention=STAC(16)),
        lambda: resnet20(attention=None),
        lambda: resnet20(attention=partial(STAC, window=4)),
        *(partial(resnet20, attention=name) for name in ("stac", "se", "bam")),
    ),
    Remedy(
        "Pass one for all, or one for each stage",
        lambda: resnet20(attention="stac", window=(8, 4)),
        lambda: resnet20(attention="stac", window=8),
        lambda: resnet20(attention="stac", window=(8, 4, 8)),
    ),
    Remedy(
        "network is a {}, expected a torch.nn.Module",
        lambda: insert_attention("resnet20"),
        lambda: insert_attention(resnet20()),
    ),
    Remedy(
        "Pass replace=True to put the new attention in its place, where its {} weights are lost, or None as the "
        "attention of stage {}",
        lambda: insert_attention(resnet20(attention=("stac", None, None)), "se"),
        lambda: insert_attention(resnet20(attention=("stac", None, None)), "se", replace=True),
        lambda: insert_attention(resnet20(attention=("stac", None, None)), (None, "se", "se")),
    ),
    Remedy(
        "Pass None as the attention of stage {}, or begin with a network without it",
        lambda: insert_attention(timm.create_model("resnet10t", block_args={"attn_layer": "sk"}), "se", replace=True),
        lambda: insert_attention(cifar_network(weighed_in_stage_1), (None, "se"), replace=True),
        lambda: insert_attention(timm.create_model("resnet10t"), "se"),
    ),
    Remedy(
        "Put torch.nn.Identity() in its place first, or begin with a network without it",
        lambda: insert_attention(with_bam(), "se"),
        lambda: insert_attention(changed(with_bam(), "bam1"), "se"),
        lambda: insert_attention(cifar_network(), "se"),
    ),
    Remedy(
        "as in the ResNets of torchvision and timm, and none of rra_monitor.nn.ResNet. In another network build the "
        "layers yourself, as in STAC(channels, window=8)",
        lambda: insert_attention(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1))),
        lambda: insert_attention(ResNet((1,), (4,))),
        lambda: applied(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), STAC(4, window=8))),
    ),
    Remedy(
        "a window is an integer, (height, width) or 'global', not {} numbers: {}",
        lambda: STAC(4, window=(8, 8, 8)),
        lambda: applied(STAC(4, window=8)),
        lambda: applied(STAC(4, window=(8, 4))),
        lambda: applied(STAC(4, window="global")),
    ),
    Remedy(
        "a window is an integer, (height, width) or 'global', not {}",
        lambda: STAC(4, window="whole"),
        lambda: applied(STAC(4, window=8)),
        lambda: applied(STAC(4, window=(8, 4))),
        lambda: applied(STAC(4, window="global")),
    ),
    Remedy(
        "possible is up to {} x {}, or 'global'",
        lambda: applied(STAC(4, window=16)),
        lambda: applied(STAC(4, window=8)),
        lambda: applied(STAC(4, window="global")),
    ),
    Remedy(
        "use a reduction from 1 to {}",
        lambda: STAC(4, reduction=8),
        lambda: STAC(4, reduction=1),
        lambda: STAC(4, reduction=4),
    ),
    Remedy(
        "each 1 or 3, as in (3, 3)",
        lambda: STAC(4, kernels=(5, 5)),
        lambda: STAC(4, kernels=(3, 3)),
        lambda: STAC(4, kernels=(1, 3)),
    ),
]


@pytest.mark.parametrize("remedy", REMEDIES, ids=str)
def test_nn_remedy_is_followed(remedy):
    remedy.check()
