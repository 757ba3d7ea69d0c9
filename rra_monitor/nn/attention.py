"""The attention that networks know by name, and where in a residual block it may stand."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

from torch import nn

from rra_monitor.nn.bam import BAM
from rra_monitor.nn.sizes import Window
from rra_monitor.nn.squeeze_excitation import SqueezeExcitation
from rra_monitor.nn.stac import STAC

Attention: TypeAlias = Literal["stac", "se", "bam"] | Callable[[int], nn.Module] | None
"""A name; what makes a layer of a channel count, such as `functools.partial(STAC, kernels=(1, 3))`; or none."""
Placement: TypeAlias = Literal["standard", "post"]
"""On the residual branch before the addition, or after the addition and its ReLU (the terms of Hu et al. 2018)."""

NAMED: dict[str, Callable[[int, Window], nn.Module]] = {
    "stac": STAC,
    "se": lambda channels, _window: SqueezeExcitation(channels),
    "bam": lambda channels, _window: BAM(channels),
}
PLACEMENTS = ("standard", "post")


def checked_placement(placement: str) -> str:
    """`placement`, if it is one.

    Raises:
        ValueError: another one.
    """
    if placement not in PLACEMENTS:
        raise ValueError(f"unknown placement {placement!r}; valid: {', '.join(map(repr, PLACEMENTS))}")
    return placement


def per_stage(name: str, value: Any, stages: int) -> list[Any]:
    """One value for each stage, of one for all or a sequence of as many.

    Raises:
        ValueError: a sequence of another length.
    """
    if isinstance(value, str) or not isinstance(value, Sequence):
        return [value] * stages
    if len(value) != stages:
        raise ValueError(
            f"{len(value)} values of {name} for {stages} stages: {value!r}. Pass one for all, or one for each stage"
        )
    return list(value)


def attention_layer(attention: Attention, channels: int, window: Window, place: str) -> nn.Module:
    """The layer for a map of so many channels.

    Args:
        attention: name, or function from a channel count to a layer.
        channels: channels of the map.
        window: window of "stac"; the others have none.
        place: position in the network, for the error messages of a STAC.

    Raises:
        ValueError: an unknown name.
        TypeError: neither a name nor a callable that makes a module.
    """
    valid = f"valid: {', '.join(map(repr, NAMED))}, None, or a callable that makes a layer of a channel count"
    if isinstance(attention, str):
        if attention not in NAMED:
            raise ValueError(f"unknown attention {attention!r}; {valid}")
        layer = NAMED[attention](channels, window)
    elif callable(attention) and not isinstance(attention, nn.Module):
        layer = attention(channels)
        if not isinstance(layer, nn.Module):
            raise TypeError(f"attention({channels}) is a {type(layer).__name__}, expected a torch.nn.Module")
    else:
        raise TypeError(f"no attention: {type(attention).__name__}; {valid}")
    if isinstance(layer, STAC):
        layer.place = place
    return layer
