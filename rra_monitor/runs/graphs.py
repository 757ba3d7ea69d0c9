"""The graphs of a snapshot as arrays of one file, and back, checked."""

from typing import Any

import numpy as np

from rra_monitor.graph.knn import Audit, KnnGraph, index_type
from rra_monitor.graph.validity import check_distances
from rra_monitor.measure.settings import Curve
from rra_monitor.measure.snapshot import Snapshot
from rra_monitor.runs.checks import About, check_shape
from rra_monitor.runs.format import Arrays

AUDIT = ("rows", "indices", "distances")
"""Arrays of an audit, each stored as `<position of the layer>.audit.<name>`."""


def graph_arrays(snapshot: Snapshot) -> Arrays:
    """The arrays of all graphs, by the position of the layer.

    Raises:
        ValueError: a layer without a graph, or one of another n or k than the settings.
    """
    n, k = snapshot.settings.n, snapshot.settings.k
    arrays: Arrays = {}
    for position, layer in enumerate(snapshot.layers):
        graph = snapshot.graphs.get(layer)
        if not isinstance(graph, KnnGraph) or (graph.n, graph.k) != (n, k):
            raise ValueError(f"layer {layer!r} has the graph {graph!r}, expected a whole one of n={n}, k={k}")
        arrays[f"{position}.indices"] = graph.indices.astype(index_type(n))
        arrays[f"{position}.distances"] = graph.distances.astype(np.float32, copy=False)
        if audit := graph.audit:
            arrays |= {f"{position}.audit.{name}": getattr(audit, name) for name in AUDIT}
    return arrays


def checked_graphs(arrays: Arrays, about: About, snapshot: Snapshot) -> dict[str, KnnGraph]:
    """Layer to graph.

    Args:
        arrays: arrays of the file.
        about: metadata of the curves beside it.
        snapshot: same snapshot without graphs, which has their ties, zeros, recall and checks.

    Raises:
        ValueError: an array that is missing, of another type or shape than n and k need, or that no graph can have;
            the layer is named.
    """
    graphs = {}
    for position, layer in enumerate(about.layers):
        try:
            graphs[layer] = KnnGraph(
                indices=_whole(arrays, f"{position}.indices", (about.n, about.k), about.n, index_type(about.n)),
                distances=_distances(arrays, f"{position}.distances", (about.n, about.k)),
                ties=float(snapshot.ties[position]),
                zeros=float(snapshot.zeros[position]),
                recall=float(snapshot.recall[position]),
                metric=about.metric,
                backend=about.backends[position],
                checked=_count(snapshot.checked, position),
                failed=_count(snapshot.failed, position),
                audit=_audit(arrays, position, about),
            )
        except KeyError as error:
            raise ValueError(f"layer {layer!r}: its array {error} is missing") from None
        except ValueError as error:
            raise ValueError(f"layer {layer!r}: {error}") from None
    return graphs


def _count(curve: Curve | None, position: int) -> int:
    """A layer's count; 0.1.0 stored none."""
    return 0 if curve is None else int(min(curve[position], 2**31))


def _audit(arrays: Arrays, position: int, about: About) -> Audit | None:
    """The exact rows beside an approximate graph; None for an exact one."""
    at = f"{position}.audit."
    if f"{at}rows" not in arrays:
        return None
    rows = arrays[f"{at}rows"]
    if rows.ndim != 1 or not 1 <= len(rows) <= about.n:
        raise ValueError(f"its array '{at}rows' is of shape {rows.shape}, expected 1 to {about.n} samples")
    shape = (len(rows), about.k)
    rows = _whole(arrays, f"{at}rows", rows.shape, about.n, np.int64).astype(np.int64)
    if (np.diff(rows) <= 0).any():
        raise ValueError(f"its array '{at}rows' does not ascend")
    indices = _whole(arrays, f"{at}indices", shape, about.n, np.int32)
    return Audit(rows, indices, _distances(arrays, f"{at}distances", shape), about.n)


def _whole(arrays: Arrays, name: str, shape: tuple[int, ...], n: int, dtype: type[np.integer[Any]]) -> Any:
    """Positions of samples as int32, compared with n before they are converted."""
    positions = arrays[name]
    check_shape(positions, name, shape, (dtype,))
    if positions.size and (int(positions.min()) < 0 or int(positions.max()) >= n):
        raise ValueError(
            f"its array {name!r} has positions from {positions.min()} to {positions.max()}, expected 0 to {n - 1}"
        )
    return positions.astype(np.int32)


def _distances(arrays: Arrays, name: str, shape: tuple[int, ...]) -> Any:
    distances = arrays[name]
    check_shape(distances, name, shape, (np.float32,))
    check_distances(distances)
    return distances
