"""Errors that name the layer in which they occurred."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def named(layer: str, probe: str = "") -> Iterator[None]:
    """Put the name of the layer or view, and that of the probe if there is one, before the text of errors of values."""
    try:
        yield
    except (ValueError, TypeError) as error:
        of = f" of probe {probe!r}" if probe else ""
        raise type(error)(f"layer {layer!r}{of}: {error}") from error
