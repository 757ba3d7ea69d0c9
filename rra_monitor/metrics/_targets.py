"""Whether a sample and its neighbour agree: by class, or by a function for targets that are not classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from rra_monitor.metrics._checks import checked_neighbours
from rra_monitor.metrics._reduction import Graph, by_rank, first_row, samples_of

Agreement = Callable[[npt.NDArray[Any], npt.NDArray[Any]], Any]
"""A function of two arrays (m, k, …) of targets, of the samples and of their neighbours, that returns an (m, k) array:
True or False, or degrees of agreement in 0 to 1. `lambda a, b: abs(a - b) < 0.5` for a regression,
`lambda a, b: (a & b).any(-1)` for sets of labels."""

BLOCK = 1 << 20
"""Number of values held at once."""


def _array(values: Any) -> npt.NDArray[Any]:
    """An array from an array, a sequence, or a tensor that may require a gradient."""
    return np.asarray(values.detach() if hasattr(values, "detach") else values)


def checked_labels(labels: Any, n: int) -> npt.NDArray[np.int64]:
    """The labels as (n,) int64.

    Raises:
        ValueError: labels that are not n integers.
    """
    array = _array(labels)
    if array.shape != (n,) or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"labels are {array.dtype} of shape {array.shape}, expected integers of shape ({n},): one class per "
            "sample; for targets that are no classes give an agreement function"
        )
    return array.astype(np.int64)


def checked_targets(targets: Any, n: int, agreement: Agreement | None) -> npt.NDArray[Any]:
    """The targets as an (n, …) array, with no agreement function as integer classes (n,).

    Raises:
        ValueError: another number of targets than n, or targets that are not classes without an agreement function.
    """
    if agreement is None:
        return checked_labels(targets, n)
    array = _array(targets)
    if array.ndim == 0 or len(array) != n or array.dtype == object:
        raise ValueError(
            f"targets are {array.dtype} of shape {array.shape}, expected an array ({n}, …): one target per sample"
        )
    return array


def all_targets(graph: Graph, targets: Any, agreement: Agreement | None) -> npt.NDArray[Any]:
    """The (samples, …) targets of all samples, on every rank; a collective call for shards.

    Raises:
        ValueError: targets that do not fit the given rows; shards that are not those of one graph.
    """
    found = np.concatenate(by_rank(lambda: checked_targets(targets, graph.n, agreement), graph))
    if len(found) != samples_of(graph):
        raise ValueError(f"the ranks hold {len(found)} of {samples_of(graph)} samples; call with shards of one graph")
    return found


def neighbour_agreements(
    graph: Graph, targets: npt.NDArray[Any], agreement: Agreement | None
) -> Iterator[npt.NDArray[Any]]:
    """For one block of rows after another, (m, k) agreements of the samples with their neighbours.

    Args:
        graph: graph of n rows.
        targets: (samples, …) targets of all samples.
        agreement: agreement function, None for the same class.
    """
    indices, first = checked_neighbours(graph), first_row(graph)
    for rows in row_blocks(graph.n, graph.k * max(1, targets[0].size)):
        here = targets[first + rows.start : first + rows.stop]
        yield _agreements(here, targets[indices[rows]], agreement)


def pair_agreements(
    targets: npt.NDArray[Any], agreement: Agreement
) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[Any]]]:
    """For one block of samples after another: positions (m,), and agreements (m, n) with all, themselves included."""
    n = len(targets)
    for rows in row_blocks(n, targets.size):
        here = targets[rows]
        yield (
            np.arange(rows.start, rows.stop),
            _agreements(here, np.broadcast_to(targets, (len(here), *targets.shape)), agreement),
        )


def row_blocks(n: int, width: int) -> Iterator[slice]:
    """Slices of 0 to n, of as many rows of the given width as BLOCK holds."""
    step = max(1, BLOCK // max(1, width))
    return (slice(start, min(n, start + step)) for start in range(0, n, step))


def _agreements(here: npt.NDArray[Any], others: npt.NDArray[Any], agreement: Agreement | None) -> npt.NDArray[Any]:
    if agreement is None:
        return np.asarray(others == here[:, None])
    remedy = "it gets two arrays (m, k, …) and must return (m, k): True or False, or degrees of agreement in 0 to 1"
    try:
        values = np.asarray(agreement(np.broadcast_to(here[:, None], others.shape), others))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the agreement function failed on arrays of shape {others.shape} ({error}); {remedy}"
        ) from error
    if values.shape != others.shape[:2] or values.dtype.kind not in "biuf":
        raise ValueError(
            f"the agreement function returned {values.dtype} of shape {values.shape} for targets of shape "
            f"{others.shape}, expected shape {others.shape[:2]}; {remedy}"
        )
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        raise ValueError(f"the agreement function returned values from {values.min()} to {values.max()}; {remedy}")
    return values
