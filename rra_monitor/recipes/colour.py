"""Changes of colour, batched: every image of a batch has its own parameters."""

import torch

LUMA = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601), as torchvision has them."""


def grey(images: torch.Tensor) -> torch.Tensor:
    """The brightness of each pixel, (n, 1, h, w) of (n, 3, h, w)."""
    red, green, blue = images.unbind(1)
    return (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue).unsqueeze(1)


def jittered(
    images: torch.Tensor, factors: torch.Tensor, shift: torch.Tensor, order: torch.Tensor, place: torch.Tensor
) -> torch.Tensor:
    """Brightness, contrast and saturation scaled and the hue shifted, in a different order for each image.

    The three scalings are blends f · x + (1 - f) · y, cut to 0…1, with y = 0 (brightness), the mean of the image's grey
    (contrast) or its grey (saturation). A uniform order of four steps is a uniform order of the three blends with
    the hue at a uniform place among them: so the hue, the costly one, is computed once.

    Args:
        images: (n, 3, h, w) images in 0 to 1.
        factors: (n, 3) factors of brightness, contrast and saturation; 1 changes nothing.
        shift: (n,) shifts of the hue, in turns of the colour circle, -0.5 to 0.5.
        order: (n, 3) permutations of 0, 1, 2: which blend comes first, second and third.
        place: (n,) number of blends before the hue, 0 to 3.

    Returns:
        (n, 3, h, w) in 0 to 1.
    """
    kinds = order.to(torch.int64)
    chosen = factors.gather(1, kinds)
    for turn in range(3):
        images = _blended(images, kinds[:, turn], torch.where(place > turn, chosen[:, turn], 1.0))
    images = hue_shifted(images, shift)
    for turn in range(3):
        images = _blended(images, kinds[:, turn], torch.where(place <= turn, chosen[:, turn], 1.0))
    return images


def _blended(images: torch.Tensor, kinds: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """One blend of each image: 0 brightness, 1 contrast, 2 saturation."""
    greys = grey(images)
    kinds, factors = kinds[:, None, None, None], factors[:, None, None, None]
    flat = torch.where(kinds == 1, greys.mean((1, 2, 3), keepdim=True), 0.0)
    other = torch.where(kinds == 2, greys, flat)
    return torch.lerp(other, images, factors).clamp_(0, 1)


def hue_shifted(images: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """The hue of each image shifted by its own part of the colour circle; value and saturation stay.

    Formula: of a colour with value v = max, chroma c = max - min and hue H in sixths, the channels of the shifted one
    are v - c · max(0, min(k, 4 - k, 1)), where k = (n + H + 6 · shift) mod 6 and n = 5, 3, 1 for red, green, blue.

    Args:
        images: (n, 3, h, w) images in 0 to 1.
        shift: (n,) shifts in turns, -0.5 to 0.5.

    Source: A. R. Smith, Color gamut transform pairs, SIGGRAPH 1978.
    """
    red, green, blue = images.unbind(1)
    value, least = images.amax(1), images.amin(1)
    chroma = value - least
    # Where all channels are equal there is no hue; the chroma of 0 makes any do.
    scale = torch.where(chroma == 0, 1.0, chroma)
    hue = torch.where(
        value == red,
        (green - blue) / scale,
        torch.where(value == green, 2 + (blue - red) / scale, 4 + (red - green) / scale),
    )
    hue = hue + 6 * shift[:, None, None]
    channels = []
    for offset in (5, 3, 1):
        k = (hue + offset) % 6
        channels.append(value - chroma * torch.minimum(k, 4 - k).clamp_(0, 1))
    return torch.stack(channels, 1)
