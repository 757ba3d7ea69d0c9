"""Compiled and exported, every variant gives what it gives as it is, in one graph."""

from functools import partial

import pytest
import torch
import torchvision

from rra_monitor.nn import BAM, STAC, SqueezeExcitation, insert_attention, resnet20

SMALL = (2, 8, 12, 12)
IMAGES = (2, 3, 32, 32)


def gated():
    return insert_attention(torchvision.models.resnet18(), "stac", "post", window=1, gate=True)


LAYERS = {
    "stac": partial(STAC, 8, 4),
    "stac, windows that do not divide": partial(STAC, 8, (5, 3), (1, 3), 2),
    "stac, global": partial(STAC, 8, "global", (1, 1)),
    "se": partial(SqueezeExcitation, 8, 2),
    "bam": partial(BAM, 8, 2),
}
NETWORKS = {
    "base": resnet20,
    **{
        f"{kind}, {placement}": partial(resnet20, attention=kind, placement=placement)
        for kind in ("stac", "se", "bam")
        for placement in ("standard", "post")
    },
    "stac of kernels and windows": partial(
        resnet20, attention=(partial(STAC, kernels=(1, 3)), "stac", None), window=(8, "global", 1)
    ),
    "inserted": gated,
    "inserted, standard": lambda: insert_attention(torchvision.models.resnet18(), window=1),
}
VARIANTS = [
    *(pytest.param(build, SMALL, id=name) for name, build in LAYERS.items()),
    *(pytest.param(build, IMAGES, id=f"network {name}") for name, build in NETWORKS.items()),
]


def built(build):
    torch.manual_seed(0)
    torch.compiler.reset()
    return build()


def check_compiled(build, shape, backend):
    """Outputs in evaluation mode, and the weights' gradients."""
    model, images = built(build).eval(), torch.randn(shape)
    expected = model(images)
    expected.square().mean().backward()
    gradients = [weights.grad for weights in model.parameters()]
    model.zero_grad()
    found = torch.compile(model, fullgraph=True, backend=backend)(images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    found.square().mean().backward()
    for weights, gradient in zip(model.parameters(), gradients, strict=True):
        torch.testing.assert_close(weights.grad, gradient, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("build", "shape"), VARIANTS)
def test_compile_gives_the_same_in_one_graph(build, shape):
    check_compiled(build, shape, "eager")


@pytest.mark.parametrize(("build", "shape"), [pytest.param(LAYERS[name], SMALL, id=name) for name in LAYERS])
def test_compile_traces_backward_passes_too(build, shape):
    check_compiled(build, shape, "aot_eager")


@pytest.mark.slow
@pytest.mark.parametrize(("build", "shape"), VARIANTS)
def test_compile_to_machine_code_gives_the_same(build, shape):
    check_compiled(build, shape, "inductor")


@pytest.mark.parametrize(("build", "shape"), VARIANTS)
def test_export_takes_batches_of_any_size(build, shape):
    model, images = built(build).eval(), torch.randn(shape)
    program = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim("n", min=1, max=64)},))
    for n in (2, 5):
        images = torch.randn(n, *shape[1:])
        torch.testing.assert_close(program.module()(images), model(images))
