"""Checks that an array of neighbours is a nearest-neighbour graph, before anything is computed with it."""

from typing import Any

import numpy as np
import numpy.typing as npt

BLOCK = 1 << 20
"""Neighbours checked at once, so that checking needs no copy of a graph."""


def check_rows(indices: npt.NDArray[Any], distances: npt.NDArray[Any], samples: int, offset: int = 0) -> None:
    """Refuse rows that no graph can have.

    Args:
        indices: (n, k) positions of the neighbours of n samples.
        distances: (n, k) distances to them.
        samples: number of samples that can be neighbours.
        offset: position of the first row among them.

    Raises:
        ValueError: arrays of different shapes, rows that do not lie within the samples; see `check_neighbours` and
            `check_distances`.
    """
    if indices.ndim != 2 or indices.shape != distances.shape:
        raise ValueError(f"indices {indices.shape} and distances {distances.shape} must have one shape (n, k)")
    if offset < 0 or offset + len(indices) > samples:
        raise ValueError(
            f"rows {offset} to {offset + len(indices) - 1} do not lie within {samples} samples; "
            "give the total of all ranks"
        )
    check_neighbours(indices, samples, offset)
    check_distances(distances, offset)


def check_neighbours(indices: npt.NDArray[Any], samples: int, offset: int = 0) -> None:
    """Refuse neighbours that no graph can have.

    Sorting the rows is what takes time: 2 to 10 ms for 10,000 samples with 100 neighbours.

    Args:
        indices: (n, k) positions of the neighbours of n samples.
        samples: number of samples that can be neighbours.
        offset: position of the first row among them.

    Raises:
        ValueError: values that are not integers; k outside 1 to samples - 1; positions outside 0 to samples - 1, a
            sample that is its own neighbour, or a neighbour twice in one row. Each names the row.
    """
    if indices.dtype.kind not in "iu":
        raise ValueError(f"indices are {indices.dtype}, expected integers: positions of neighbours")
    k = indices.shape[1]
    if not 1 <= k < samples:
        raise ValueError(
            f"each sample has {k} neighbours, expected 1 to {samples - 1}: the others of {samples} samples"
        )
    if not indices.size:
        return
    if int(indices.min()) < 0 or int(indices.max()) >= samples:
        row, place = np.argwhere((indices < 0) | (indices >= samples))[0]
        raise ValueError(
            f"neighbour {place} of sample {offset + row} is {indices[row, place]}, expected positions among the "
            f"{samples} samples, 0 to {samples - 1}; give positions in the graph, not ids in the data set"
        )
    height = max(1, BLOCK // k)
    for top in range(0, len(indices), height):
        _check_names(indices[top : top + height], offset + top)


def _check_names(indices: npt.NDArray[Any], first: int) -> None:
    own = indices == np.arange(first, first + len(indices))[:, None]
    if own.any():
        row = int(np.argmax(own.any(axis=1)))
        raise ValueError(
            f"sample {first + row} is its own neighbour; leave it out by its index, and give the offset of the first "
            "row where these are some of the samples"
        )
    ordered = np.sort(indices, axis=1)
    twice = ordered[:, 1:] == ordered[:, :-1]
    if twice.any():
        row = int(np.argmax(twice.any(axis=1)))
        name = ordered[row, int(np.argmax(twice[row]))]
        different = indices.shape[1]
        raise ValueError(f"sample {first + row} has neighbour {name} twice, expected {different} different ones")


def check_distances(distances: npt.NDArray[Any], offset: int = 0) -> None:
    """Refuse distances that no row of nearest neighbours can have.

    Args:
        distances: (n, k) distances, k >= 1.
        offset: position of the first row among all samples.

    Raises:
        ValueError: values that are not floating-point; NaN, infinite or negative ones, or a row that does not ascend.
    """
    if distances.dtype.kind != "f":
        raise ValueError(f"distances are {distances.dtype}, expected floating-point numbers")
    # A comparison with NaN is false, so ascending rows that begin at 0 or above and end below infinity have none.
    fine = (distances[:, 0] >= 0) & (distances[:, -1] < np.inf)
    ascending = distances[:, 1:] >= distances[:, :-1]
    if not (fine.all() and ascending.all()):
        row = int(np.argmin(fine & ascending.all(axis=1)))
        raise ValueError(
            f"the distances of sample {offset + row} are {_shown(distances[row])}, expected finite numbers from 0 on, "
            "the nearest first"
        )


def _shown(values: npt.NDArray[Any]) -> str:
    return ", ".join(f"{value:.6g}" for value in values[:6]) + (", …" if len(values) > 6 else "")
