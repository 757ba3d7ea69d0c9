"""Attention that is in a residual block already, under the names of timm, torchvision and others."""

import re
from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode

from rra_monitor.nn.blocks import BESIDE, Attended, ResidualBlock, residual_stages

WORDS = {
    *("attention", "attn", "att", "se", "ese", "scse", "cse", "sse", "squeeze", "excite", "excitation"),
    *("eca", "ecam", "ceca", "cbam", "lcbam", "bam", "stac", "simam", "ge", "gc", "gca", "gct", "srm", "nl", "bat"),
    *("sk", "splat", "ca", "sa"),
}
"""Words of which one makes the name of an attribute or of a class that of attention; timm's names are among them."""
CLASSES = ("globalcontext", "contextblock", "nonlocal", "selectivekernel", "lambdalayer", "mhsa")
"""Parts of names of classes of attention that have none of the words."""
CONVOLVING = ("selectivekernel", "skconv", "splitattn", "splat", "haloattn", "bottleneckattn", "lambdalayer", "mhsa")
"""Parts of names of classes that are convolution and attention in one, or stand for a convolution."""


def attention_in(block: nn.Module, within: str = "") -> Iterator[str]:
    """The names, in a residual block, of the attention in it; of attention within attention the outer one."""
    for name, child in block.named_children():
        path = f"{within}{name}"
        if isinstance(child, Attended) or (name not in BESIDE and _is_attention(name, child)):
            yield path
        elif name not in BESIDE:
            yield from attention_in(child, f"{path}.")


def attention_beside(network: nn.Module, stage: str) -> Iterator[tuple[str, nn.Module]]:
    """Name and layer of attention between the blocks of a stage, or between stages, as in BAM's own networks.

    Args:
        network: network.
        stage: name of the container of a stage's blocks.
    """
    above = stage.rpartition(".")[0]
    for holder in dict.fromkeys([stage, above]):
        for name, child in network.get_submodule(holder).named_children():
            between = "bam" in _words(type(child).__name__) if holder != stage else _is_attention(name, child)
            if between and not isinstance(child, Attended) and not residual_stages(child):
                yield f"{holder}.{name}".removeprefix("."), child


def reason_to_stay(block: ResidualBlock, name: str) -> str | None:
    """Why attention cannot be taken out of a block, with another put in at the end of its branch.

    Args:
        block: residual block.
        name: name of the attention in it.

    Returns:
        The reason; None where the block works without.
    """
    layer = block.module.get_submodule(name)
    if isinstance(layer, Attended) or block.has_slot:
        return None
    if re.match(r"conv|self_attn", name.rpartition(".")[2]) or _is_called(layer, CONVOLVING):
        return "it is the convolution as well"
    use = _Use()

    def watch(trial: nn.Module) -> None:
        trial.get_submodule(name).register_forward_pre_hook(use.begin)
        trial.get_submodule(name).register_forward_hook(use.end)

    with use:
        tried = block.tried(watch)
    if not tried or not use.calls:
        return "its block does not run on its own, to see how it is used"
    return "its block uses it as weights of a map, not as a map" if use.otherwise else None


def functional_attention(block: nn.Module) -> str | None:
    """The name of a layer from which `forward` computes attention, as the SENet of kuangliu/pytorch-cifar does."""
    return next((name for name, _ in block.named_children() if re.fullmatch(r"fc_?\d*", name)), None)


class _Use(TorchFunctionMode):
    """Notes whether a layer's input is used beside the layer, or its output has another shape.

    Attributes:
        calls: calls of the layer.
        otherwise: whether it is used otherwise than as one step on the way of a map.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.otherwise = False
        self._inputs: list[Any] = []
        self._within = False

    def begin(self, _layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._within = True

    def end(self, _layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self.otherwise |= len(inputs) != 1 or getattr(output, "shape", None) != inputs[0].shape
        self._inputs = [each for each in inputs if each is not output]
        self.calls += 1
        self._within = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self._within:
            given = [*args, *(kwargs or {}).values()]
            self.otherwise |= any(each is one for each in given for one in self._inputs)
        return func(*args, **(kwargs or {}))


def _is_attention(name: str, layer: nn.Module) -> bool:
    if isinstance(layer, nn.Identity) or (isinstance(layer, nn.Sequential) and len(layer) == 0):
        return False
    words = {*re.split(r"[_\d]+", name.lower()), *_words(type(layer).__name__)}
    return bool(words & WORDS) or _is_called(layer, CLASSES)


def _is_called(layer: nn.Module, parts: tuple[str, ...]) -> bool:
    name = type(layer).__name__.lower().replace("_", "")
    return any(part in name for part in parts)


def _words(name: str) -> list[str]:
    """The words in the name of a class.

    >>> _words("RegNetSELayer"), _words("EcaModule"), _words("eca_layer")
    (['reg', 'net', 'se', 'layer'], ['eca', 'module'], ['eca', 'layer'])
    """
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]
