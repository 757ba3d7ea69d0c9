"""The frames of a run that are shown: limited, so that memory stays a small multiple of the data read.

An array of the page has every layer of the run at every frame. If each frame has layers of its own, 300 frames of
10 layers would need 300 matrices of 3,000 by 3,000: tens of gigabytes for a megabyte of data.
"""

import math
from collections.abc import Iterable, Mapping

from rra_monitor.page.arrays import ProbeFrame

SPREAD = 2
"""Numbers that may be held for each number read."""

SPARE = 4_000_000
"""Numbers that may be held in addition."""

ARRAY = 16
"""Cost of an array itself, as a number of numbers: a thousand arrays of one number take more."""


def fits(numbers: int, read: int) -> bool:
    """Whether this many numbers may be held if `read` numbers were read."""
    return numbers <= SPREAD * read + SPARE


class Budget:
    """Takes frames, the newest first, as long as their arrays, of all layers at all frames, fit."""

    def __init__(self) -> None:
        self._frames = 0
        self._read = 0
        self._axes: dict[tuple[str, str], tuple[frozenset[str], ...]] = {}

    def take(self, parts: Mapping[str, ProbeFrame], read: int) -> bool:
        """Whether this frame fits in addition to those taken; if so, it is taken.

        Args:
            parts: probe to its part of this frame.
            read: number of numbers read for it.
        """
        axes = dict(self._axes)
        for key, names in _axes(parts):
            before = axes.get(key, (frozenset(),) * len(names))
            axes[key] = tuple(
                some if some.issuperset(more) else some.union(more) for some, more in zip(before, names, strict=True)
            )
        at_one = sum(len(arrays) * (math.prod(map(len, names)) + ARRAY) for arrays, *names in axes.values())
        if not fits((self._frames + 1) * at_one, self._read + read):
            return False
        self._frames, self._read, self._axes = self._frames + 1, self._read + read, axes
        return True


def too_large(shown: int, found: int) -> str:
    """The note on frames that did not fit."""
    return (
        f"the newest {shown} of {found} snapshots are shown; layers differ so much that all would take too much memory"
    )


def numbers(part: ProbeFrame) -> int:
    """Number of numbers held for a probe at one frame."""
    return sum(curve.size for curve in part.curves.values()) + sum(each.values.size for each in part.matrices.values())


def _axes(parts: Mapping[str, ProbeFrame]) -> Iterable[tuple[tuple[str, str], tuple[Iterable[str], ...]]]:
    """For each group of arrays of one shape: their names, and the names along each axis."""
    for probe, part in parts.items():
        yield (probe, "curves"), (part.curves, part.views, part.layers)
        for kind, matrix in part.matrices.items():
            yield (probe, f"matrix {kind}"), ((kind,), matrix.views, matrix.rows, matrix.columns)
