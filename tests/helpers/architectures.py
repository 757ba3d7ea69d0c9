"""Networks that people use, and what "auto" watches of them: the table of docs/architectures.md.

`python -m tests.helpers.architectures` writes that page anew.
"""

import functools
import pathlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torchvision
from torch import nn

from rra_monitor.capture.calls import trace
from rra_monitor.capture.layers import choose_layers
from rra_monitor.capture.thinning import patterns
from rra_monitor.nn import resnet20, resnet34

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "architectures.md"

BEGIN, END = "<!-- table -->\n", "<!-- end of the table -->\n"

SAMPLES = 5


@dataclass(frozen=True)
class Architecture:
    """A network, and the classes of its blocks.

    Attributes:
        name: library and name.
        build: function that makes it.
        shape: shape of one input.
        blocks: names of the classes of its residual or transformer blocks, or what else its paper calls one.
        batch: inputs of another kind.
        forward: how it is called.
        real: whether its forward needs numbers, so that shapes alone do not do.
    """

    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...] = (3, 64, 64)
    blocks: tuple[str, ...] = ()
    batch: Any = None
    forward: Callable[[nn.Module, Any], Any] = field(default=lambda model, batch: model(batch))
    real: bool = False


def of_timm(name: str, side: int, *blocks: str) -> Architecture:
    def build() -> nn.Module:
        import timm

        return timm.create_model(name, num_classes=10)

    return Architecture(f"timm {name}", build, (3, side, side), blocks)


def of_torchvision(name: str, side: int, *blocks: str, **options: Any) -> Architecture:
    build = functools.partial(torchvision.models.get_model, name, weights=None, **options)
    # Its parameters are computed by torch where it is built.
    return Architecture(f"torchvision {name}", build, (3, side, side), blocks, real=name.startswith("regnet"))


def of_video(name: str, shape: tuple[int, ...], *blocks: str) -> Architecture:
    return Architecture(f"torchvision {name}", getattr(torchvision.models.video, name), shape, blocks)


def on_lists(name: str, *blocks: str) -> Architecture:
    build = functools.partial(
        torchvision.models.get_model, name, weights=None, weights_backbone=None, min_size=96, max_size=96
    )
    call = lambda model, batch: model(list(batch))  # noqa: E731
    return Architecture(f"torchvision {name}", build, (3, 96, 96), blocks, forward=call, real=True)


def of_transformers(
    kind: str, config: str, options: dict[str, Any], *blocks: str, batch: Any = None, side: int = 64
) -> Architecture:
    def build() -> nn.Module:
        import transformers

        return getattr(transformers, kind)(getattr(transformers, config)(**options))

    call = (lambda model, batch: model(batch)) if batch is None else (lambda model, batch: model(**batch))
    return Architecture(f"transformers {kind}", build, (3, side, side), blocks, batch, call, real=True)


def _tokens(**more: Any) -> dict[str, torch.Tensor]:
    ids = torch.arange(SAMPLES * 12).reshape(SAMPLES, 12) % 50 + 3
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), **more}


TEXT = {"vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
VISION = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
SIZES = {"hidden_sizes": [8, 16, 24, 32]}
NO_WEIGHTS = {"weights_backbone": None}

ARCHITECTURES = [
    Architecture("rra_monitor resnet20", resnet20, (3, 32, 32), ("ResidualBlock",)),
    Architecture("rra_monitor resnet34", resnet34, (3, 64, 64), ("ResidualBlock",)),
    of_torchvision("resnet18", 64, "BasicBlock"),
    of_torchvision("resnext50_32x4d", 64, "Bottleneck"),
    of_torchvision("densenet121", 64, "_DenseLayer"),
    of_torchvision("googlenet", 96, "Inception", init_weights=False),
    of_torchvision("inception_v3", 299, *(f"Inception{letter}" for letter in "ABCDE"), init_weights=False),
    of_torchvision("alexnet", 96),
    of_torchvision("vgg11", 64),
    of_torchvision("vgg16_bn", 64),
    of_torchvision("squeezenet1_1", 64, "Fire"),
    of_torchvision("shufflenet_v2_x0_5", 64, "InvertedResidual"),
    of_torchvision("mobilenet_v2", 64, "InvertedResidual"),
    of_torchvision("mobilenet_v3_small", 64, "InvertedResidual"),
    of_torchvision("mnasnet0_5", 64, "_InvertedResidual"),
    of_torchvision("efficientnet_b0", 64, "MBConv"),
    of_torchvision("efficientnet_v2_s", 64, "MBConv", "FusedMBConv"),
    of_torchvision("regnet_y_400mf", 64, "ResBottleneckBlock"),
    of_torchvision("convnext_tiny", 64, "CNBlock"),
    of_torchvision("vit_b_32", 224, "EncoderBlock"),
    of_torchvision("swin_t", 64, "SwinTransformerBlock"),
    of_torchvision("swin_v2_t", 64, "SwinTransformerBlockV2"),
    of_torchvision("maxvit_t", 224, "MaxVitLayer"),
    of_torchvision("fcn_resnet50", 64, "Bottleneck", aux_loss=True, **NO_WEIGHTS),
    of_torchvision("deeplabv3_mobilenet_v3_large", 64, "InvertedResidual", **NO_WEIGHTS),
    on_lists("fasterrcnn_mobilenet_v3_large_320_fpn", "InvertedResidual"),
    on_lists("retinanet_resnet50_fpn", "Bottleneck"),
    of_video("r3d_18", (3, 8, 32, 32), "BasicBlock"),
    of_video("r2plus1d_18", (3, 8, 32, 32), "BasicBlock"),
    of_video("mvit_v2_s", (3, 16, 224, 224), "MultiscaleBlock"),
    of_video("swin3d_t", (3, 8, 64, 64), "SwinTransformerBlock"),
    of_timm("resnet50", 64, "Bottleneck"),
    of_timm("resnetv2_50", 64, "PreActBottleneck"),
    of_timm("seresnet50", 64, "Bottleneck"),
    of_timm("res2net50_26w_4s", 64, "Bottle2neck"),
    of_timm("regnetx_002", 64, "Bottleneck"),
    of_timm("densenet121", 64, "DenseLayer"),
    of_timm("dla34", 64, "DlaBasic"),
    of_timm("hrnet_w18_small", 64, "Bottleneck", "BasicBlock"),
    of_timm("xception41", 64, "XceptionModule"),
    of_timm("inception_resnet_v2", 128, "Block35", "Block17", "Block8"),
    of_timm("nfnet_f0", 64, "NormFreeBlock"),
    of_timm("darknet53", 64, "DarkBlock"),
    of_timm("ghostnet_100", 64, "GhostBottleneck"),
    of_timm("efficientnet_b0", 64, "DepthwiseSeparableConv", "InvertedResidual"),
    of_timm("mixnet_s", 64, "DepthwiseSeparableConv", "InvertedResidual"),
    of_timm("mobilenetv3_small_100", 64, "DepthwiseSeparableConv", "InvertedResidual"),
    of_timm("convnext_atto", 64, "ConvNeXtBlock"),
    of_timm("convmixer_768_32", 64, "Residual"),
    of_timm("vit_tiny_patch16_224", 224, "Block"),
    of_timm("cait_xxs24_224", 224, "LayerScaleBlock", "LayerScaleBlockClassAttn"),
    of_timm("swin_tiny_patch4_window7_224", 224, "SwinTransformerBlock"),
    of_timm("mixer_s32_224", 224, "MixerBlock"),
    of_timm("poolformer_s12", 64, "MetaFormerBlock"),
    of_timm("pvt_v2_b0", 64, "Block"),
    of_timm("efficientformer_l1", 224, "MetaBlock2d", "MetaBlock1d"),
    of_timm("davit_tiny", 64, "SpatialBlock", "ChannelBlock"),
    of_timm("maxvit_nano_rw_256", 256, "MaxxVitBlock"),
    of_timm("coatnet_nano_rw_224", 224, "MbConvBlock", "TransformerBlock2d"),
    of_timm("mobilevitv2_050", 64, "BottleneckBlock", "LinearTransformerBlock"),
    of_timm("edgenext_xx_small", 64, "ConvBlock", "SplitTransposeBlock"),
    of_timm("crossvit_tiny_240", 240, "Block"),
    of_transformers("BertModel", "BertConfig", TEXT, "BertLayer", batch=_tokens()),
    of_transformers(
        "GPT2Model",
        "GPT2Config",
        {"vocab_size": 100, "n_embd": 32, "n_layer": 3, "n_head": 2, "bos_token_id": 1, "eos_token_id": 2},
        "GPT2Block",
        batch=_tokens(),
    ),
    of_transformers(
        "T5ForConditionalGeneration",
        "T5Config",
        {
            "vocab_size": 100,
            "d_model": 32,
            "num_layers": 2,
            "num_heads": 2,
            "d_ff": 64,
            "d_kv": 16,
            "decoder_start_token_id": 0,
        },
        "T5Block",
        batch=_tokens(decoder_input_ids=torch.ones(SAMPLES, 5, dtype=torch.long)),
    ),
    of_transformers(
        "CLIPModel",
        "CLIPConfig",
        {
            "text_config": {**TEXT, "max_position_embeddings": 16, "bos_token_id": 1, "eos_token_id": 2},
            "vision_config": {**VISION, "image_size": 32, "patch_size": 8},
            "projection_dim": 16,
        },
        "CLIPEncoderLayer",
        batch=_tokens(pixel_values=torch.zeros(SAMPLES, 3, 32, 32)),
    ),
    of_transformers("ViTForImageClassification", "ViTConfig", {**VISION, "image_size": 64}, "ViTLayer"),
    of_transformers(
        "ResNetForImageClassification",
        "ResNetConfig",
        {"embedding_size": 8, **SIZES, "depths": [2, 2, 2, 2], "layer_type": "basic"},
        "ResNetBasicLayer",
    ),
    of_transformers(
        "ConvNextForImageClassification", "ConvNextConfig", {**SIZES, "depths": [1, 1, 3, 1]}, "ConvNextLayer"
    ),
    of_transformers(
        "SwinForImageClassification",
        "SwinConfig",
        {"image_size": 64, "embed_dim": 16, "depths": [2, 2, 2], "num_heads": [2, 2, 2], "window_size": 4},
        "SwinLayer",
    ),
    of_transformers(
        "SegformerForImageClassification",
        "SegformerConfig",
        {**SIZES, "num_attention_heads": [1, 2, 4, 8]},
        "SegformerLayer",
    ),
]


@dataclass(frozen=True)
class Watched:
    """What "auto" watches of a network.

    Attributes:
        layers: number of layers.
        found: class of blocks to the number that it has, and that are watched.
        texts: patterns of the layers.
        remarks: what is said.
    """

    layers: int
    found: dict[str, tuple[int, int]]
    texts: tuple[str, ...]
    remarks: tuple[str, ...]


def watched(architecture: Architecture) -> Watched:
    """What "auto" watches of a network, told by shapes alone where that does."""
    device, remarks = "cpu" if architecture.real else "meta", list[str]()
    with torch.device(device), torch.no_grad():
        model = architecture.build().eval()
        batch = architecture.batch
        traced = trace(
            model, torch.zeros(SAMPLES, *architecture.shape) if batch is None else batch, architecture.forward
        )
    layers = choose_layers(model, traced, "auto", remarks.append)
    kinds = {name: type(module).__name__ for name, module in model.named_modules()}
    ran = {call.module for call in traced.whole}
    here = {layer.module for layer in layers}
    has, seen = (Counter(kinds[name] for name in names if name) for names in (ran, here))
    found = {kind: (has[kind], seen[kind]) for kind in architecture.blocks}
    return Watched(len(layers), found, tuple(patterns(layers, traced.layers)), tuple(remarks))


def row(architecture: Architecture, result: Watched) -> str:
    """The network's row in the table."""
    blocks = ", ".join(
        f"{kind}: {has}" if has == seen else f"{kind}: {has} ({seen} watched)"
        for kind, (has, seen) in result.found.items()
    )
    layers = "thinned" if result.remarks else ", ".join(f"`{text}`" for text in result.texts)
    return f"| {architecture.name} | {blocks or 'none'} | {result.layers} | {layers} |"


def main() -> None:
    """Write the table into the page."""
    page = PAGE.read_text(encoding="utf-8")
    before, after = page.partition(BEGIN)[0], page.partition(END)[2]
    rows = "\n".join(row(each, watched(each)) for each in ARCHITECTURES)
    head = "| network | blocks, by its own class names | layers | which |\n|---|---|---|---|\n"
    PAGE.write_text(f"{before}{BEGIN}{head}{rows}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
