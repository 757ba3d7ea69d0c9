"""From squared distances to a graph: units, ties, duplicates."""

import numpy as np
import numpy.typing as npt
import torch

from rra_monitor.graph.dense import tied
from rra_monitor.graph.knn import TIE_TOLERANCE, KnnGraph
from rra_monitor.graph.points import BEYOND


def finished_graph(
    indices: npt.NDArray[np.int32], distances: npt.NDArray[np.float32], ties: float, checked: int, failed: int
) -> KnnGraph:
    """The exact graph of (n, k) distances, and of positions of the (n, k or more) nearest."""
    return KnnGraph(
        indices=np.ascontiguousarray(indices[:, : distances.shape[1]]),
        distances=distances,
        ties=ties,
        zeros=float((distances[:, 0] == 0).mean()),
        checked=checked,
        failed=failed,
    )


def in_units(squared: npt.NDArray[np.float32], scale: float) -> npt.NDArray[np.float32]:
    """Distances in the features' own units, from squared ones in units of a scale squared.

    Raises:
        ValueError: distances beyond float32.
    """
    distances = np.empty(squared.shape, np.float32)
    step = max(1, (1 << 19) // squared.shape[1])
    for start in range(0, len(squared), step):
        here = slice(start, start + step)
        with np.errstate(over="ignore"):
            distances[here] = np.sqrt(squared[here].astype(np.float64)) * scale
        if not np.isfinite(distances[here]).all():
            raise ValueError(BEYOND)
    return distances


def ties_of(squared: npt.NDArray[np.float32], k: int) -> float:
    """Fraction of samples whose k-th and next distances are tied; 0 where there is no next."""
    return float(tied(torch.from_numpy(squared), k, TIE_TOLERANCE).float().mean()) if squared.shape[1] > k else 0.0


def constant_rows(rows: npt.NDArray[np.int64], shown: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """Squared distances and ids (r, shown) of the nearest of some samples where all are equal: by index."""
    first = np.arange(shown, dtype=np.int32)
    return np.zeros((len(rows), shown), np.float32), first + (first >= rows[:, None]).astype(np.int32)
