"""The sizes that attention layers and networks accept."""

import operator
from typing import Literal, TypeAlias

Window: TypeAlias = int | tuple[int, int] | Literal["global"]
"""Side of the pooling window, (height, width), or the whole map."""


def positive(name: str, value: object) -> int:
    """`value` as an integer of at least 1.

    Raises:
        TypeError: not an integer.
        ValueError: zero or negative.
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} must be an integer of at least 1, not {value!r}") from None
    if number < 1:
        raise ValueError(f"{name} must be at least 1, not {number}")
    return number


def hidden_channels(channels: int, reduction: int) -> int:
    """Channels between the two convolutions of an attention layer, `channels // reduction`.

    Raises:
        ValueError: a reduction that leaves no channel; zero or negative numbers.
    """
    hidden = positive("channels", channels) // positive("reduction", reduction)
    if not hidden:
        raise ValueError(
            f"reduction {reduction} leaves none of {channels} channels; use a reduction from 1 to {channels}"
        )
    return hidden


def window_sides(window: Window) -> tuple[int, int] | None:
    """(height, width) of a window, None for the global one.

    Raises:
        TypeError: neither a number, a pair nor "global".
        ValueError: zero, negative, or a pair of another length.
    """
    if window == "global":
        return None
    if isinstance(window, (tuple, list)):
        if len(window) != 2:
            raise ValueError(
                f"a window is an integer, (height, width) or 'global', not {len(window)} numbers: {window}"
            )
        return positive("the window's height", window[0]), positive("the window's width", window[1])
    if isinstance(window, str):
        raise ValueError(f"a window is an integer, (height, width) or 'global', not {window!r}")
    side = positive("window", window)
    return side, side
