"""One probe at one frame, as the page shows it: arrays along the axes that a reader can select."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from rra_monitor.capture.names import FULL, layer_view, split_view
from rra_monitor.measure.match import Match, same_layer_curves
from rra_monitor.measure.quantities.layer_similarity import NNLS
from rra_monitor.measure.snapshot import Snapshot
from rra_monitor.page.arrays import INTER, SELF, Floats, Matrix, ProbeFrame
from rra_monitor.page.budget import fits


def probe_frame(snapshot: Snapshot, matches: Mapping[str, Match]) -> ProbeFrame:
    """A snapshot and its comparisons, with layers and views on two axes instead of one.

    Args:
        snapshot: snapshot, with or without graphs.
        matches: name to comparison; a matrix has the views that both sides were measured in.

    Raises:
        ValueError: so many views that most of them equal others.
    """
    layers = tuple(layer for layer, view in map(split_view, snapshot.layers) if view == FULL)
    views = snapshot.settings.views
    columns = [len(layers), *(len(match.layers) for match in matches.values())]
    measured = snapshot.nnls.size + sum(match.nnls.size for match in matches.values())
    if not fits(len(views) * len(layers) * sum(columns), measured):
        raise ValueError(
            f"{len(views)} views of {len(layers)} layers, though {len(snapshot.layers)} views were measured of all; "
            "expected about one for each view and layer. Another program wrote this, or it was changed"
        )
    at = _positions(snapshot.layers, layers, views, snapshot.aliases)
    curves = {quantity.name: curve for quantity, curve in snapshot.measured()}
    curves |= same_layer_curves(snapshot, matches)
    own = np.array([_cut(snapshot.nnls, rows, rows) for rows in at])
    matrices = {SELF: Matrix(layers, layers, views, own)}
    pooled = [(view, rows) for view, rows in zip(views, at, strict=True) if view != FULL]
    if pooled and FULL in views:
        base = at[views.index(FULL)]
        values = np.array([_cut(snapshot.nnls, base, rows) for _, rows in pooled])
        matrices[INTER] = Matrix(layers, layers, tuple(view for view, _ in pooled), values)
    matrices |= {name: _compared(match, snapshot, layers, at) for name, match in matches.items()}
    matrices |= _others(snapshot, layers, at)
    return ProbeFrame(layers, views, {name: _pick(curve, at) for name, curve in curves.items()}, matrices)


def _others(snapshot: Snapshot, layers: tuple[str, ...], at: npt.NDArray[np.intp]) -> dict[str, Matrix]:
    """The quantities of pairs beside the NNLS: in every view, or of the layers without their pooled views."""
    found = {}
    for quantity in snapshot.quantities:
        if quantity.of_pairs and quantity is not NNLS and quantity.name in snapshot.matrices:
            values = snapshot.matrices[quantity.name]
            if len(values) == len(snapshot.layers):
                views, cut = snapshot.settings.views, np.array([_cut(values, rows, rows) for rows in at])
            else:
                views, cut = (FULL,), values[None]
            found[quantity.name] = Matrix(layers, layers, views, cut)
    return found


def _compared(match: Match, snapshot: Snapshot, layers: tuple[str, ...], at: npt.NDArray[np.intp]) -> Matrix:
    """Each view of the snapshot's layers with the same view of the other's, for the views that both have."""
    theirs = [split_view(layer) for layer in match.layers]
    names = tuple(layer for layer, view in theirs if view == FULL)
    measured = {view for _, view in theirs}
    shared = [(view, rows) for view, rows in zip(snapshot.settings.views, at, strict=True) if view in measured]
    views = tuple(view for view, _ in shared)
    columns = _positions(match.layers, names, views, snapshot.aliases)
    values = np.array([_cut(match.nnls, rows, place) for (_, rows), place in zip(shared, columns, strict=True)])
    return Matrix(layers, names, views, values.reshape(len(views), len(layers), len(names)))


def _positions(
    measured: Sequence[str], layers: Sequence[str], views: Sequence[str], aliases: Mapping[str, str]
) -> npt.NDArray[np.intp]:
    """(V, L) positions of each view of each layer, or of the equal one, among the measured; -1 for none."""
    place = {name: position for position, name in enumerate(measured)}
    names = [[layer_view(layer, view) for layer in layers] for view in views]
    found = [[place.get(name, place.get(aliases.get(name, name), -1)) for name in row] for row in names]
    return np.array(found, dtype=np.intp).reshape(len(views), len(layers))


def _pick(curve: Floats, at: npt.NDArray[np.intp]) -> Floats:
    return np.where(at >= 0, curve[at], np.nan)


def _cut(matrix: Floats, rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]) -> Floats:
    defined = (rows >= 0)[:, None] & (columns >= 0)[None, :]
    return np.where(defined, matrix[np.ix_(rows, columns)], np.nan)
