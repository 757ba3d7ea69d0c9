"""Arrays that the page shows, along the axes that a reader can select."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
"""Floats of 64 bits from a store, of 32 bits from TensorBoard."""

SELF, INTER = "self", "inter"
"""Kinds of matrices: layers with each other, both in one view; and the full view with a pooled one (Eq. 6.1)."""


@dataclass(frozen=True, eq=False)
class Matrix:
    """Values of one kind for pairs of layers, at one frame or, with a leading axis, at several.

    Attributes:
        rows: (R,) layers.
        columns: (C,) layers, possibly of another run.
        views: (V,) views of the columns; of the rows, too, except for `inter`.
        values: ([M,] V, R, C) values, NaN where undefined; similarities of 0 to 1 unless it is another quantity's.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    views: tuple[str, ...]
    values: Floats


@dataclass(frozen=True, eq=False)
class ProbeFrame:
    """One probe at one frame.

    Attributes:
        layers: (L,) without their views, in execution order.
        views: (V,) measured views.
        curves: name to (V, L) values, NaN where undefined: of each quantity of layers, and `nnls_<comparison>` of each
            layer with the layer of the same name.
        matrices: `self`, `inter`, each comparison's name, and the name of each other quantity of pairs to its matrix.
    """

    layers: tuple[str, ...]
    views: tuple[str, ...]
    curves: Mapping[str, Floats]
    matrices: Mapping[str, Matrix]
