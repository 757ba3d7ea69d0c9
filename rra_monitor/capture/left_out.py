"""The layers that cannot be measured: which they are, and how it is said."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain

from torch import nn

from rra_monitor.capture.calls import Trace
from rra_monitor.capture.layer import Layer, named_modules
from rra_monitor.capture.outputs import MATERIALISE, LeftOut
from rra_monitor.capture.thinning import matches

NAMED = 3
"""Most layers that one sentence names."""


def varying(*shapes: tuple[int, ...]) -> LeftOut:
    """Of a layer whose outputs have these shapes in different batches, without the axis of samples."""
    return LeftOut(
        "another shape in other batches",
        f"for a sample {' and '.join(map(str, dict.fromkeys(shapes)))}",
        "pad all samples to one length, or put a mask of their tokens into the batch, for the mean over those",
    )


def agreed(larger: Trace, smaller: Trace) -> Trace:
    """The larger of two traces with those of its layers that can be measured in both, and the others with the reason.

    A layer whose shapes differ along one axis becomes one with a `token_axis`.
    """
    others = {(layer.module, layer.call): layer for layer in smaller.layers}  # a module may be called as the raw data
    found, left_out = [], {**smaller.left_out, **larger.left_out}
    for layer in larger.layers:
        other = others.get((layer.module, layer.call))
        if other is None:
            continue
        # One of the batches may have as many samples as there are tokens.
        layer = replace(layer, sample_axis=max(layer.sample_axis, other.sample_axis))
        if other.shape == layer.shape and other.is_complex == layer.is_complex:
            found.append(layer)
            continue
        pairs = list(zip(layer.shape, other.shape, strict=False))
        axes = [axis for axis, (one, two) in enumerate(pairs) if one != two]
        if len(layer.shape) == len(other.shape) and len(axes) == 1:
            shape = layer.shape[: axes[0]] + layer.shape[axes[0] + 1 :]
            found.append(replace(layer, shape=shape, token_axis=axes[0] + 1))
        else:
            left_out[layer.name] = varying(layer.shape, other.shape)
    return replace(larger, layers=tuple(found), left_out=left_out)


def without(traced: Trace, left_out: Mapping[str, LeftOut]) -> Trace:
    """The trace with some layers left out."""
    layers = tuple(layer for layer in traced.layers if layer.name not in left_out)
    return replace(traced, layers=layers, left_out={**traced.left_out, **left_out})


def nothing_left(traced: Trace) -> str:
    """The text of the error where no module can be measured; empty where one can, or where it is no wonder."""
    if any(layer.module for layer in traced.layers):
        return ""
    text = _sentences(_outermost(traced.left_out))
    return f"no layer of this network can be measured: {text}" if text else ""


def refusal(asked: Sequence[str], traced: Trace) -> str:
    """The text of the error where the first of the asked layers that is not there was left out; empty otherwise."""
    for pattern in asked:
        if not any(_is_asked(layer.name, pattern) for layer in traced.layers):
            for name, reason in traced.left_out.items():
                if _is_asked(name, pattern):
                    return f"layer {name!r} cannot be watched: it returns {reason}"
    return ""


def remark(model: nn.Module, traced: Trace, chosen: Sequence[Layer], asked: Sequence[str] | None) -> str:
    """What to say of layers that were left out and that somebody may look for; empty if there are none.

    Args:
        model: the network.
        traced: its trace.
        chosen: layers that are watched.
        asked: names and patterns of the user's, of which a pattern may match some that cannot be measured; None where
            the layers were found. Then those within a layer that is not looked into, around a watched one, within
            another that was left out, or without parameters are not missed.
    """
    modules = named_modules(model)
    measured = {layer.module for layer in traced.layers}
    watched = {layer.module for layer in chosen if layer.module}
    # A layer that is not looked into stands for what is within it, watched or not.
    whole = {one for one in measured if one in watched or not any(_holds(one, other) for other in watched)}

    def is_missed(name: str) -> bool:
        if asked is not None:
            return any("*" in pattern and _is_asked(name, pattern) for pattern in asked)
        module = name.partition("#")[0]
        if module in measured or not any(True for _ in modules[module].parameters()):
            return False
        return not any(_holds(one, module) for one in whole) and not any(_holds(module, one) for one in watched)

    text = _sentences(_outermost({name: reason for name, reason in traced.left_out.items() if is_missed(name)}))
    return f"not measured: {text}" if text else ""


def without_values(model: nn.Module) -> str:
    """A sentence on the parameters and buffers without values; empty if there are none."""
    tensors = chain(model.named_parameters(), model.named_buffers())
    names = [name for name, tensor in tensors if tensor.is_meta]
    if not names:
        return ""
    return f"{_listed(names)} {'hold' if len(names) > 1 else 'holds'} no values (meta device): {MATERIALISE}. "


def _sentences(left_out: Mapping[str, LeftOut]) -> str:
    """One sentence for each reason, with the first names."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, reason in left_out.items():
        if not reason.expected:
            groups.setdefault((reason.reason, reason.remedy), []).append(name)
    return ". ".join(
        f"{_listed(names)} {'return' if len(names) > 1 else 'returns'} {left_out[names[0]]}"
        for names in groups.values()
    )


def _listed(names: Sequence[str]) -> str:
    shown, more = ", ".join(map(repr, names[:NAMED])), len(names) - NAMED
    return f"{shown} and {more} more" if more > 0 else shown


def _outermost(left_out: Mapping[str, LeftOut]) -> dict[str, LeftOut]:
    """Without those within others of the same reason."""

    def is_within(name: str) -> bool:
        return any(_holds(other, name) and left_out[other].reason == left_out[name].reason for other in left_out)

    return {name: reason for name, reason in left_out.items() if not is_within(name)}


def _holds(outer: str, inner: str) -> bool:
    return inner.startswith(f"{outer}.")


def _is_asked(name: str, pattern: str) -> bool:
    """Whether a pattern means a layer, also one that leaves out the path to the network."""
    names = {name, name.partition("#")[0]}
    return any(matches(each, pattern) or matches(each, f"**.{pattern}") for each in names)
