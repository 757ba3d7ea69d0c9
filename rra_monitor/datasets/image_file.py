"""One image file, decoded by PIL in a few safe formats."""

import os
from typing import Any

import numpy as np
import torch

FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF")
"""Formats that are decoded. PIL knows others, whatever a file is called, and starts a program for some (EPS)."""


def decoded(path: str, side: int | None = None, resize: bool = True) -> torch.Tensor:
    """The pixels of an image file, (3, h, w) uint8.

    Args:
        path: path of the file.
        side: height and width of the result in pixels; None for those of the image.
        resize: whether to scale an image of another size, its shorter side to `side`, and to cut out its centre;
            otherwise it is an error.

    Raises:
        ValueError: a file that is not an image in one of the `FORMATS`, is corrupt, or is of another size, named.
    """
    from PIL.Image import DecompressionBombError

    size = None if side is None else (side, side)
    try:
        with _opened(path) as opened:
            found = opened.size
            # Only now is anything decoded.
            image = opened.convert("RGB") if resize or found == size else None
    # What PIL raises for broken files; the last of them for very large ones.
    except (OSError, SyntaxError, ValueError, DecompressionBombError) as error:
        raise ValueError(f"{path} is corrupt ({str(error).removesuffix(repr(path)).strip()})") from error
    if image is None:
        raise ValueError(f"{path} has {found[0]} x {found[1]} pixels, expected {side} x {side}")
    if side is not None and found != size:
        image = _centre(image, side)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def _opened(path: str) -> Any:
    """An image file that is not decoded yet."""
    from PIL import Image

    # Opening a pipe would wait for ever.
    if not os.path.isfile(path):
        raise ValueError(f"{path} is no file")
    return Image.open(path, formats=FORMATS)


def _centre(image: Any, side: int) -> Any:
    """An image with its shorter side scaled and its centre cut out."""
    from torchvision.transforms.v2 import functional

    return functional.center_crop(functional.resize(image, [side]), [side, side])
