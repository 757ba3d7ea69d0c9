"""One image file, decoded by PIL in a few safe formats."""

import os
from typing import Any

FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF")
"""Formats that are decoded. PIL knows others, whatever a file is called, and starts a program for some (EPS)."""


def open_image(path: str) -> Any:
    """An image file that is not decoded yet.

    Raises:
        ValueError: not a regular file, for example a pipe, whose opening would wait for ever.
        OSError: not an image in one of the `FORMATS`.
    """
    from PIL import Image

    if not os.path.isfile(path):
        raise ValueError(f"{path} is no file")
    return Image.open(path, formats=FORMATS)


def rgb(path: str) -> Any:
    """An image file, decoded to three channels."""
    with open_image(path) as image:
        return image.convert("RGB")
