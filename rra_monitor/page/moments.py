"""What the page shows of one probe at one moment: arrays with the axes that a reader chooses from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rra_monitor.names import FULL, layer_view, split_view
from rra_monitor.record import PREVIOUS, Match
from rra_monitor.snapshot import Snapshot

Floats = npt.NDArray[np.float64]

SELF, INTER = "self", "inter"
"""Kinds of matrices: layers with each other, both in one view; and layers as they are with a pooled view (Eq. 6.1)."""

CURVES = ("id", "id_error", "nncs", "ties", "zeros", "recall", "hubness")


@dataclass(frozen=True, eq=False)
class Matrix:
    """NNLS of one kind, at one moment or, with a leading axis, at several.

    Attributes:
        rows: (R,) layers.
        columns: (C,) layers, of another run perhaps.
        views: (V,) that the columns are in; of `self` the rows, too.
        values: ([M,] V, R, C) similarities, 0 to 1, NaN where undefined.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    views: tuple[str, ...]
    values: Floats


@dataclass(frozen=True, eq=False)
class ProbeMoment:
    """One probe at one moment.

    Attributes:
        layers: (L,) without their views, in execution order.
        views: (V,) that were measured.
        curves: name to (V, L) values, NaN where undefined: the `CURVES`, and `nnls_<comparison>` of each layer with the
            layer of its name.
        matrices: `self`, `inter` and each comparison's name to its matrix.
    """

    layers: tuple[str, ...]
    views: tuple[str, ...]
    curves: Mapping[str, Floats]
    matrices: Mapping[str, Matrix]


def probe_moment(snapshot: Snapshot, matches: Mapping[str, Match]) -> ProbeMoment:
    """A snapshot and its comparisons, unfolded from layers and views in one axis into two.

    Args:
        snapshot: with or without graphs.
        matches: comparison name to comparison; of them the full views are kept as matrices.
    """
    layers = tuple(layer for layer, view in map(split_view, snapshot.layers) if view == FULL)
    views = snapshot.settings.views
    at = _positions(snapshot, layers, views)
    curves = {name: curve for name in CURVES if (curve := getattr(snapshot, name)) is not None}
    curves |= {f"nnls_{name}": match.same_layer(snapshot.layers) for name, match in matches.items()}
    own = np.array([_cut(snapshot.nnls, rows, rows) for rows in at])
    matrices = {SELF: Matrix(layers, layers, views, own)}
    pooled = [(view, rows) for view, rows in zip(views, at, strict=True) if view != FULL]
    if pooled and FULL in views:
        base = at[views.index(FULL)]
        values = np.array([_cut(snapshot.nnls, base, rows) for _, rows in pooled])
        matrices[INTER] = Matrix(layers, layers, tuple(view for view, _ in pooled), values)
    for name, match in matches.items():
        columns = [place for place, layer in enumerate(match.layers) if split_view(layer)[1] == FULL]
        rows = [place for place, layer in enumerate(snapshot.layers) if split_view(layer)[1] == FULL]
        names = tuple(match.layers[place] for place in columns)
        matrices[name] = Matrix(layers, names, (FULL,), match.nnls[np.ix_(rows, columns)][None])
    return ProbeMoment(layers, views, {name: _pick(curve, at) for name, curve in curves.items()}, matrices)


def comparison_title(name: str) -> str:
    """What a kind of matrix is called in front of a reader.

    >>> comparison_title("prev"), comparison_title("ref-seed0")
    ('previous snapshot', 'reference seed0')
    """
    titles = {SELF: "itself", INTER: "its pooled view", PREVIOUS: "previous snapshot"}
    return titles.get(name, f"reference {name.removeprefix('ref-')}")


def _positions(snapshot: Snapshot, layers: Sequence[str], views: Sequence[str]) -> npt.NDArray[np.intp]:
    """(V, L) where each view of each layer, or the one that equals it, stands in the snapshot; -1 for none."""
    place = {name: position for position, name in enumerate(snapshot.layers)}
    names = [[layer_view(layer, view) for layer in layers] for view in views]
    found = [[place.get(snapshot.aliases.get(name, name), -1) for name in row] for row in names]
    return np.array(found, dtype=np.intp).reshape(len(views), len(layers))


def _pick(curve: Floats, at: npt.NDArray[np.intp]) -> Floats:
    return np.where(at >= 0, curve[at], np.nan)


def _cut(matrix: Floats, rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]) -> Floats:
    defined = (rows >= 0)[:, None] & (columns >= 0)[None, :]
    return np.where(defined, matrix[np.ix_(rows, columns)], np.nan)
