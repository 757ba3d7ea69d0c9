"""Views of a feature map at several spatial scales (thesis, Algorithm 1 and 6.2).

| view | of a map (channels, positions…) | of tokens (tokens, channels) |
|---|---|---|
| `full` | the map | the tokens |
| `avg2`, `avg4`, … `max2`, … | mean or maximum in windows of that side | … of that many consecutive tokens |
| `avg-global`, `max-global` | one value per channel | mean or maximum over all tokens |
| `class-token` | none | the first token |

Windows do not overlap, and a border that does not fill a window is left out, as torch's pooling does. If a side of the
map is shorter than the window, the window is as long as that side. Only spatial axes are pooled, any number of them,
never channels. Windows over tokens take the tokens in their order, class token included.

Views that hold the same numbers have one name: windows as large as the map are the global view, and layers without
spatial extent (a vector, a map of one position) have the full view only.
"""

from collections.abc import Iterable
from functools import cache

import torch

from rra_monitor.capture.names import CLASS_TOKEN, FULL, VIEW_FORMS, is_view
from rra_monitor.utils.text import brief

Shape = tuple[int, ...]
"""Shape of one sample's features, without the axis of samples."""

PRECISE = (torch.float32, torch.float64)


def checked_views(views: str | Iterable[str]) -> tuple[str, ...]:
    """The given views, each once.

    Raises:
        ValueError: an unknown name, or views without "full", which summaries and inter matrices need.
    """
    if not isinstance(views, (str, Iterable)):
        raise TypeError(f"views={brief(views)}; expected names of views: {VIEW_FORMS}")
    asked = tuple(dict.fromkeys([views] if isinstance(views, str) else views))
    for view in asked:
        if not isinstance(view, str) or not is_view(view):
            raise ValueError(f"unknown view {brief(view)}; expected {VIEW_FORMS}")
    if FULL not in asked:
        raise ValueError(
            f"views={asked!r} lacks 'full', which summaries and the comparison of scales need; pass {(FULL, *asked)!r}"
        )
    return asked


def resolve(shape: Shape, views: Iterable[str], channels_last: bool = False) -> dict[str, str]:
    """Each given view to the one with the same numbers, in the given order, without those that the shape cannot have.

    >>> resolve((64, 8, 8), ["full", "avg2", "avg8", "avg-global", "max16"])
    {'full': 'full', 'avg2': 'avg2', 'avg8': 'avg-global', 'avg-global': 'avg-global', 'max16': 'max-global'}
    >>> resolve((10,), ["full", "avg2", "class-token"])
    {'full': 'full', 'avg2': 'full', 'class-token': 'full'}
    """
    sides = [shape[axis] for axis in spatial_axes(shape, channels_last)]
    found = {}
    for view in views:
        if all(side == 1 for side in sides):
            found[view] = FULL
        elif view == CLASS_TOKEN:
            if len(sides) == 1 and channels_last:
                found[view] = CLASS_TOKEN
        else:
            found[view] = _canonical(view, sides)
    return found


def pooled(features: torch.Tensor, view: str, channels_last: bool = False) -> torch.Tensor:
    """One view of features.

    Formula: the mean or maximum of each window; adjacent windows from the first position, a remainder left out.

    Args:
        features: (n, channels, positions…), or (n, positions…, channels).
        view: name of the view, see the table above.
        channels_last: whether features are (n, tokens, channels) rather than (n, channels, length).

    Returns:
        The features themselves for the full view; else (n, …) with shorter or no spatial axes, in float32 or float64:
        half precision would round averages to a few values, and equal averages are ties in a graph. Of complex
        features, the views of real and imaginary parts side by side, (n, …, 2).

    Raises:
        ValueError: an unknown view, or one that the features' shape cannot have.

    Source: thesis, 6.2.

    >>> pooled(torch.arange(5.0).reshape(1, 1, 5), "avg2")
    tensor([[[0.5000, 2.5000]]])
    """
    if not is_view(view):
        raise ValueError(f"unknown view {view!r}; expected {VIEW_FORMS}")
    if not isinstance(features, torch.Tensor):
        raise TypeError(f"features are a {type(features).__name__}, expected a tensor; see torch.as_tensor")
    shape = tuple(features.shape[1:])
    if 0 in shape:
        raise ValueError(f"features of shape {tuple(features.shape)} are empty; there is nothing to pool")
    if features.is_complex():
        # The distance of complex vectors is that of these parts.
        return torch.stack([pooled(part, view, channels_last) for part in (features.real, features.imag)], dim=-1)
    if view not in (found := resolve(shape, [view], channels_last)):
        raise ValueError(f"features of shape {tuple(features.shape)} have no {view!r}; it is of (n, tokens, channels)")
    view = found[view]
    if view == FULL:
        return features
    if view == CLASS_TOKEN:
        return features[:, 0]
    values = features if features.dtype in PRECISE else features.float()
    average = view.startswith("avg")
    axes = tuple(axis + 1 for axis in spatial_axes(shape, channels_last))
    windows = _windows(view, [values.shape[axis] for axis in axes])
    if windows is None:
        return values.mean(axes) if average else values.amax(axes)
    # One axis after the other from the last: several times faster than torch's reduction of all at once.
    for axis, window in zip(reversed(axes), reversed(windows), strict=True):
        count = values.shape[axis] // window
        values = torch.unflatten(values.narrow(axis, 0, count * window), axis, (count, window))
        values = values.mean(axis + 1) if average else values.amax(axis + 1)
    return values


@cache
def pooled_dim(shape: Shape, view: str, channels_last: bool = False) -> int:
    """Number of features of one sample in a view."""
    return int(pooled(torch.empty((1, *shape), device="meta"), view, channels_last).numel())


def spatial_axes(shape: Shape, channels_last: bool = False) -> tuple[int, ...]:
    """The axes of one sample's features that are not the channels; a vector has channels alone.

    >>> spatial_axes((64, 8, 8)), spatial_axes((197, 768), channels_last=True), spatial_axes((10,))
    ((1, 2), (0,), ())
    """
    if len(shape) < 2:
        return ()
    return tuple(range(len(shape) - 1)) if channels_last else tuple(range(1, len(shape)))


def _canonical(view: str, sides: list[int]) -> str:
    if view == FULL:
        return FULL
    windows = _windows(view, sides)
    if windows is None:
        return f"{view[:3]}-global"
    return FULL if all(window == 1 for window in windows) else view


def _windows(view: str, sides: list[int]) -> list[int] | None:
    """The window along each spatial axis; None where it is the whole map."""
    if view.endswith("-global"):
        return None
    windows = [min(int(view[3:]), side) for side in sides]
    return None if windows == sides else windows
