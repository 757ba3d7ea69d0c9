"""Batches as trees in which every leaf has one entry per sample: taken apart, put together and overwritten."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import default_collate

from rra_monitor.utils.trees import iter_tensors

Collate = Callable[[list[Any]], Any]
"""How a loader puts items together to a batch."""

CONSTANTS = (str, bytes, int, float, bool, type(None))


class Column(list[Any]):
    """One value per sample that is no tensor, such as a file name."""


class RaggedError(TypeError):
    """Batches whose samples differ in shape."""


def collated(items: list[Any], collate_fn: Collate | None = None) -> Any:
    """The items as one batch, with one entry per item in every leaf.

    Args:
        items: items of a data set.
        collate_fn: what puts them together; torch's `default_collate` if None.

    Raises:
        TypeError: items that do not collate, or a batch that has not one entry per item.
    """
    if collate_fn is not None:
        return rows(collate_fn(items), len(items))
    try:
        return rows(default_collate(items), len(items))
    except (TypeError, RuntimeError) as error:
        return _entry_by_entry(items, error)


def check_inputs(inputs: Any) -> None:
    """Refuse inputs that were not put together: lists of anything but texts and numbers.

    Raises:
        TypeError: there are such.
    """
    for leaf in leaves(inputs):
        if isinstance(leaf, Column) and leaf and not isinstance(leaf[0], CONSTANTS):
            raise TypeError(_uncollated(leaf[0], "they are kept as a list"))


def _entry_by_entry(items: list[Any], error: Exception) -> Any:
    """The items with those entries as lists that do not collate: a label may be anything, the first entry not."""
    first = items[0]
    if isinstance(first, Mapping):
        return {key: _entry([item[key] for item in items]) for key in first}
    if isinstance(first, (tuple, list)) and len(first) > 1 and all(len(item) == len(first) for item in items):
        try:
            inputs = rows(default_collate([item[0] for item in items]), len(items))
        except (TypeError, RuntimeError) as of_inputs:
            raise TypeError(_uncollated(first[0], of_inputs)) from of_inputs
        return (inputs, *(_entry([item[at] for item in items]) for at in range(1, len(first))))
    raise TypeError(_uncollated(first, error)) from error


def _entry(values: list[Any]) -> Any:
    try:
        return rows(default_collate(values), len(values))
    except (TypeError, RuntimeError):
        return Column(values)


def _uncollated(value: Any, reason: object) -> str:
    return (
        f"inputs of type {type(value).__name__} do not collate into a batch ({reason}). Give the data set a transform "
        "that returns tensors of one shape, pass the collate_fn of your loader, or build the sample with "
        "FixedSample.from_tensors."
    )


def rows(batch: Any, size: int) -> Any:
    """A batch with its arrays as tensors, detached, and its lists of values as columns.

    Raises:
        TypeError: a part that has not one entry for each of `size` samples.
    """
    if isinstance(batch, np.ndarray) and batch.dtype.kind in "biuf":
        # ascontiguousarray would give a single number an axis.
        batch = torch.from_numpy(np.ascontiguousarray(batch).reshape(batch.shape))
    if isinstance(batch, CONSTANTS) or (isinstance(batch, torch.Tensor) and not batch.ndim):
        return batch
    if _has_rows(batch, size):
        if isinstance(batch, torch.Tensor):
            return batch.detach()
        if isinstance(batch, Mapping):
            return {key: rows(value, size) for key, value in batch.items()}
        return _like(batch, [rows(value, size) for value in batch])
    if isinstance(batch, (list, tuple)) and len(batch) == size:
        return Column(batch)
    shape = tuple(batch.shape) if isinstance(batch, torch.Tensor) else type(batch).__name__
    raise TypeError(
        f"a batch of {size} samples holds {shape}, expected tensors whose first axis is that of the samples, in "
        "tuples or dictionaries. Pass a collate_fn that returns such batches, or build the sample with "
        "FixedSample.from_tensors."
    )


def take(batch: Any, positions: Sequence[int]) -> Any:
    """The samples at some positions; a range is a slice, which copies nothing."""
    if isinstance(batch, torch.Tensor):
        if not batch.ndim:
            return batch
        return batch[positions.start : positions.stop] if isinstance(positions, range) else batch[list(positions)]
    if isinstance(batch, Column):
        return Column(batch[position] for position in positions)
    return _mapped(lambda value: take(value, positions), batch)


def put(batch: Any, positions: Sequence[int], samples: Any) -> None:
    """Overwrite the samples at some positions with others.

    Raises:
        RaggedError: samples of another shape.
    """
    if isinstance(batch, torch.Tensor):
        if batch.ndim:
            if batch.shape[1:] != samples.shape[1:]:
                raise RaggedError(_ragged(batch, samples))
            batch[list(positions)] = samples.to(batch)
    elif isinstance(batch, Column):
        for position, value in zip(positions, samples, strict=True):
            batch[position] = value
    elif isinstance(batch, Mapping):
        for key, value in batch.items():
            put(value, positions, samples[key])
    elif isinstance(batch, (list, tuple)):
        for value, sample in zip(batch, samples, strict=True):
            put(value, positions, sample)


def joined(batches: Sequence[Any]) -> Any:
    """Several batches of one structure as one, in memory of its own.

    Raises:
        RaggedError: their samples differ in shape, type or structure.
    """
    first = batches[0]
    if len({type(batch) for batch in batches}) > 1:
        raise RaggedError(f"batches hold {', '.join(sorted({type(batch).__name__ for batch in batches}))}")
    if isinstance(first, torch.Tensor):
        if not first.ndim:
            return first
        for batch in batches:
            if batch.shape[1:] != first.shape[1:] or batch.dtype != first.dtype:
                raise RaggedError(_ragged(first, batch))
        return torch.cat(list(batches))
    if isinstance(first, Column):
        return Column(value for batch in batches for value in batch)
    if isinstance(first, Mapping):
        if any(batch.keys() != first.keys() for batch in batches):
            raise RaggedError(f"batches have the keys {sorted(map(str, {key for each in batches for key in each}))}")
        return {key: joined([batch[key] for batch in batches]) for key in first}
    if isinstance(first, (list, tuple)):
        if len({len(batch) for batch in batches}) > 1:
            raise RaggedError(f"batches have {sorted({len(batch) for batch in batches})} parts")
        return _like(first, [joined(parts) for parts in zip(*batches, strict=True)])
    return first


def as_inputs(batch: Any) -> Any:
    """A batch as a network gets it: its sequences as tuples, but for columns."""
    if isinstance(batch, Column):
        return batch
    if isinstance(batch, Mapping):
        return {key: as_inputs(value) for key, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return tuple(as_inputs(value) for value in batch)
    return batch


def as_loaded(batch: Any) -> Any:
    """A batch as a loader hands it on: its lists and tuples as they were."""
    return list(batch) if isinstance(batch, Column) else _mapped(as_loaded, batch)


def cuts(n: int, size: int) -> list[int]:
    """The ends of even batches of up to `size` samples.

    >>> cuts(5, 3)
    [0, 2, 5]
    """
    return [int(end) for end in np.linspace(0, n, -(-n // size) + 1).astype(int)]


def tensor_bytes(batch: Any) -> int:
    """The bytes of the tensors of a batch."""
    return sum(tensor.nbytes for tensor in iter_tensors(batch))


def map_leaves(function: Callable[[Any], Any], batch: Any) -> Any:
    """The same structure with `function` applied to every tensor, column and constant, in order."""
    return _mapped(lambda value: map_leaves(function, value), batch, function)


def leaves(batch: Any) -> Iterator[Any]:
    """Tensors, columns and constants of a batch, in order."""
    if isinstance(batch, Mapping):
        for value in batch.values():
            yield from leaves(value)
    elif isinstance(batch, (list, tuple)) and not isinstance(batch, Column):
        for value in batch:
            yield from leaves(value)
    else:
        yield batch


def _mapped(function: Callable[[Any], Any], batch: Any, at_leaf: Callable[[Any], Any] = lambda leaf: leaf) -> Any:
    if isinstance(batch, Mapping):
        return {key: function(value) for key, value in batch.items()}
    if isinstance(batch, (list, tuple)) and not isinstance(batch, Column):
        return _like(batch, [function(value) for value in batch])
    return at_leaf(batch)


def _like(sequence: Any, values: list[Any]) -> Any:
    """The values in a list, tuple or named tuple, as the given one is."""
    if isinstance(sequence, tuple) and hasattr(sequence, "_fields"):
        return type(sequence)(*values)
    return tuple(values) if isinstance(sequence, tuple) else values


def _has_rows(batch: Any, size: int) -> bool:
    if isinstance(batch, torch.Tensor):
        plain = not (batch.is_meta or batch.is_nested) and batch.layout == torch.strided
        return plain and batch.ndim > 0 and len(batch) == size
    if isinstance(batch, np.ndarray):
        return batch.dtype.kind in "biuf" and batch.ndim > 0 and len(batch) == size
    if isinstance(batch, Mapping):
        return bool(batch)
    if isinstance(batch, (list, tuple)):
        parts = [value for value in batch if not isinstance(value, CONSTANTS)]
        # A list of mappings or of lists may be one of samples, as for detection.
        return bool(parts) and all(
            _has_rows(value, size) or (isinstance(value, (list, tuple)) and len(value) == size) for value in parts
        )
    return False


def _ragged(first: torch.Tensor, other: torch.Tensor) -> str:
    shapes = sorted({(str(each.dtype), tuple(each.shape[1:])) for each in (first, other)})
    found = " and ".join(f"{dtype.removeprefix('torch.')} {shape}" for dtype, shape in shapes)
    return f"samples differ in shape or type: {found}"
