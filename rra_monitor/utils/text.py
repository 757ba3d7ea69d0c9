"""Texts from files, made safe for a terminal and a picture."""

import math
import reprlib
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import numpy as np

Row = dict[str, Any]

LETTERS = 100
"""Longest name in an error, in characters."""

PICTURED_LETTERS = 60
"""Longest name in a picture, in characters, so that the cost of a picture is bounded."""


class _Brief(reprlib.Repr):
    def repr_instance(self, x: Any, level: int) -> str:
        """A number or a path as it is; of anything else, which may be a whole data set, the class."""
        short = isinstance(x, (bool, float, complex, np.generic, PurePath, type(None)))
        return repr(x) if short else f"<{type(x).__name__}>"


_BRIEF = _Brief()


def visible(text: str) -> str:
    r"""A text on one line, without control sequences for the terminal that shows it.

    Control characters, line ends, marks that reverse the writing direction and halves of surrogate pairs become
    their escapes, as in `repr`. Names, paths and messages in a file that somebody else wrote may contain any of them.

    >>> visible("layer1\x1b[2J\nfc")
    'layer1\\x1b[2J\\nfc'
    """
    return (
        text
        if text.isprintable()
        else "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    )


def reason_of(error: Exception) -> str:
    """What an error says; with its kind, if it is none of those whose text is made to be read alone.

    >>> reason_of(ValueError("n=2")), reason_of(OSError("gone"))
    ('n=2', "OSError('gone')")
    """
    return str(error) if isinstance(error, (TypeError, ValueError)) else repr(error)


def sentence(error: object) -> str:
    r"""What an error or a warning says, visible and on one line.

    >>> sentence(ValueError("no weights:\n  layer1\x07"))
    'no weights: layer1\\x07'
    """
    return visible(" ".join(line.strip() for line in str(error).split("\n")).strip())


def brief(value: object) -> str:
    """A value for an error: on one line, of at most 80 characters; of what may be large the class alone.

    >>> brief("4GB"), brief([1, object()]), brief(np.zeros(9))
    ("'4GB'", '[1, <object>]', '<ndarray>')
    """
    return shortened(visible(_BRIEF.repr(value)), 80)


def shortened(text: str, most: int) -> str:
    """A text of at most that many characters; a longer one loses its middle.

    >>> shortened("features.denseblock4.denselayer24.conv2", 20)
    'features.d…r24.conv2'
    """
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[: most - 1 - half]}…{text[len(text) - half :]}"


def in_picture(text: str) -> str:
    r"""A name for matplotlib to draw: short, and not a formula.

    >>> in_picture("a$b$c")
    'a\\$b\\$c'
    """
    return shortened(visible(text), PICTURED_LETTERS).replace("$", r"\$")


def plain(value: Any) -> Any:
    """An array as nested lists, a number as it is, with None for NaN."""
    if isinstance(value, np.ndarray):
        return [plain(item) for item in value.tolist()]
    if isinstance(value, list):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def some(names: Sequence[str], most: int = 5) -> str:
    """The first of several names, and the number of the others."""
    more = len(names) - most
    return ", ".join(shortened(name, LETTERS) for name in names[:most]) + (f" and {more} more" if more > 0 else "")
