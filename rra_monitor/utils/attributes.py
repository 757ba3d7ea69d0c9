"""The attributes of somebody's objects, restored after use."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_MISSING = object()


@contextmanager
def preserved_attributes(*things: Any) -> Iterator[None]:
    """Restore on leaving which value each attribute had: counters, flags, references; not what a container holds.

    Of a function these are the variables around it, of a bound method those of its object.

    Args:
        things: objects, functions or None.
    """
    owners = [owner for thing in things for owner in (thing, getattr(thing, "__self__", None))]
    attributes = [
        (vars(owner), dict(vars(owner))) for owner in owners if isinstance(getattr(owner, "__dict__", 0), dict)
    ]
    cells = [cell for thing in things for cell in getattr(thing, "__closure__", None) or ()]
    contents = [_content(cell) for cell in cells]
    try:
        yield
    finally:
        for now, before in attributes:
            for name in [name for name in now if name not in before]:
                del now[name]
            now.update(before)
        for cell, content in zip(cells, contents, strict=True):
            if content is not _MISSING and _content(cell) is not content:
                cell.cell_contents = content


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # empty
        return _MISSING
