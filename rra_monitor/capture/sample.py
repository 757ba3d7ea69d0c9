"""The fixed set of inputs that is measured: a probe."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, default_collate

from rra_monitor.capture.drawing import Positions, checked_n, drawn_positions, fingerprint
from rra_monitor.capture.labels import (
    Labels,
    as_labels,
    item_of,
    label_position,
    read_labels,
    split_item,
    stored_labels,
)
from rra_monitor.utils.checks import whole_number
from rra_monitor.utils.rng import preserved_rng
from rra_monitor.utils.trees import iter_tensors

MATERIALISE_BYTES = 1 << 30
"""A sample whose inputs take up to this many bytes (1 GiB) is kept in memory; a larger one is read again each time."""

INSPECTED_ITEMS = 256
"""The fingerprint covers this many items, spread evenly over the sample; the first eighth of them is read twice."""


class FixedSample:
    """The same inputs in the same order at every measurement, so that graphs of epochs, runs and seeds are comparable.

    Build one with `from_dataset` or `from_tensors`.

    Attributes:
        n: number of samples.
        labels: (n,) int64 classes, or None for unlabelled data.
        ids: (n,) int64 identities; two samples with equal ids hold the same items in the same order.
        fingerprint: hash of the inputs, which differs for another normalisation under equal ids.
    """

    def __init__(
        self, read: Callable[[Sequence[int]], Any], labels: Labels | None, ids: Positions, fingerprint: str
    ) -> None:
        """Take the parts that the two constructors prepare; `read` collates the samples at given positions."""
        self._read = read
        self.labels = labels
        self.ids = ids
        self.fingerprint = fingerprint

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.ids)

    @property
    def classes(self) -> int | None:
        """Number of different labels, or None for unlabelled data."""
        return None if self.labels is None else len(np.unique(self.labels))

    def __len__(self) -> int:
        return self.n

    def __repr__(self) -> str:
        kind = "unlabelled" if self.classes is None else f"{self.classes} classes"
        return f"FixedSample(n={self.n}, {kind}, fingerprint={self.fingerprint})"

    def batches(self, batch_size: int = 128) -> Iterator[Any]:
        """The inputs in order, collated, in even batches of up to `batch_size`. Consumes no global random numbers."""
        batch_size = whole_number("batch_size", batch_size, 1)
        cuts = np.linspace(0, self.n, -(-self.n // batch_size) + 1).astype(int).tolist()
        for start, stop in pairwise(cuts):
            yield self.read(range(start, stop))

    def head(self, n: int) -> "FixedSample":
        """The first n samples, without labels: for timings and trials."""
        return FixedSample(self._read, None, self.ids[:n], self.fingerprint)

    def read(self, positions: Sequence[int]) -> Any:
        """The inputs at the given positions, collated into one batch. Consumes no global random numbers."""
        with preserved_rng():
            return self._read(positions)

    @classmethod
    def from_dataset(cls, dataset: Any, n: int = 2000, seed: int = 0, shrink: bool = False) -> "FixedSample":
        """A class-balanced random draw without replacement, shuffled; the same for the same data, n and seed.

        Labels come from the data set's `targets` or `labels` if it has them and the items agree, otherwise from the
        items: the last entry of a tuple, or the key `label`, `labels`, `target`, `targets` or `y` of a dictionary.
        If these are not classes, the draw is uniform and the sample unlabelled (there is no NNCS).

        Inputs of up to 1 GiB are read once and kept; larger ones are read again at each measurement. The analysis uses
        no augmentation: some items are read twice, and a difference is an error. Global random streams are restored;
        a generator that the data set owns is not.

        Args:
            dataset: anything with `len()` and integer indexing.
            n: number of samples to draw; n / classes of each class, the remainder one each from the first classes.
            seed: seed of the draw. No global random stream is used.
            shrink: whether to take fewer, instead of an error, if there are not enough (of a class).

        Raises:
            TypeError: the data set has no length or no indexing, or its inputs do not collate.
            ValueError: n < 3, fewer than two samples of a class wanted, too few there, or inputs that differ between
                two reads.
        """
        if isinstance(dataset, IterableDataset) or not (
            hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")
        ):
            raise TypeError(
                f"{type(dataset).__name__} has no items that can be read again by index, so no fixed sample can be "
                "drawn from it. Collect some inputs and labels and use FixedSample.from_tensors(inputs, labels)."
            )
        n, seed = checked_n(n), whole_number("seed", seed, 0)
        with preserved_rng():
            labels, at = _labels_of(dataset)
            settled = labels is None
            while True:
                draw = drawn_positions(len(dataset), labels, n, seed, shrink)

                def read(positions: Sequence[int], draw: Positions = draw, at: int = at) -> Any:
                    return _collated(
                        [split_item(item_of(dataset, int(draw[position])), at)[0] for position in positions]
                    )

                inspected = _spread(len(draw))
                once = _one_by_one(read, inspected)
                _refuse_random_transforms(once, _one_by_one(read, inspected[::8]), draw[inspected])
                size = sum(tensor.nbytes for item in once for tensor in iter_tensors(item)) / len(once) * len(draw)
                looked_at = draw if size <= MATERIALISE_BYTES else draw[inspected]
                items = [item_of(dataset, int(position)) for position in looked_at]
                if settled or labels is None or label_position(items, labels[looked_at]) is not None:
                    break
                # The few items looked at before agreed with the stored labels, these do not.
                labels, at, settled = read_labels(dataset), -1, True
            sample = cls(read, None if labels is None else labels[draw], draw, fingerprint(once))
            if size > MATERIALISE_BYTES:
                return sample
            kept = _collated([split_item(item, at)[0] for item in items])
            return cls(partial(_take, kept), sample.labels, draw, sample.fingerprint)

    @classmethod
    def from_tensors(cls, inputs: Any, labels: Any = None, ids: Any = None) -> "FixedSample":
        """The given inputs in this order. Shuffle them yourself if they are sorted by class.

        Args:
            inputs: tensor or array (n, …), or a dictionary or tuple of them with equal first axes.
            labels: (n,) integers, or None.
            ids: (n,) integers that name the items, 0 … n-1 if None. Give the same ids to the same items.

        Raises:
            ValueError: n < 3, lengths that differ, labels or ids that are not integers, ids that occur twice.
        """
        inputs = _as_tensors(inputs)
        lengths = {len(tensor) for tensor in iter_tensors(inputs)}
        if len(lengths) != 1:
            raise ValueError(f"inputs need equal first axes, found lengths {sorted(lengths)}")
        n = checked_n(lengths.pop())
        checked = None if labels is None else as_labels(labels, length=n)
        if labels is not None and checked is None:
            raise ValueError(
                f"labels are {_outline(labels)}, expected integers of shape ({n},), of at most 64 bits: one class "
                "per input. Pass labels=None for data without classes."
            )
        names = np.arange(n) if ids is None else as_labels(ids, length=n)
        if names is None or len(np.unique(names)) != n:
            raise ValueError(f"ids must be {n} different integers, one per input; got {ids!r:.80}")

        read = partial(_take, inputs)
        return cls(read, checked, names.astype(np.int64), fingerprint(_one_by_one(read, _spread(n))))


def _outline(labels: Any) -> str:
    """Type and shape of values that are not labels."""
    if not isinstance(labels, torch.Tensor):
        try:
            labels = np.asarray(labels)
        except (ValueError, TypeError, RuntimeError):
            return f"a {type(labels).__name__}"
    return f"{labels.dtype} of shape {tuple(labels.shape)}"


def _take(inputs: Any, positions: Sequence[int]) -> Any:
    """The samples at some positions of collated inputs; a range is a slice, which copies nothing."""
    if isinstance(inputs, torch.Tensor):
        return inputs[positions.start : positions.stop] if isinstance(positions, range) else inputs[list(positions)]
    if isinstance(inputs, dict):
        return {key: _take(value, positions) for key, value in inputs.items()}
    if isinstance(inputs, list):
        return [inputs[position] for position in positions]
    return tuple(_take(value, positions) for value in inputs)


def _collated(items: list[Any]) -> Any:
    """One batch: tensors, dictionaries and tuples of them, lists of strings."""
    try:
        return _as_tuples(default_collate(items))
    except (TypeError, RuntimeError) as error:
        raise TypeError(
            f"inputs of type {type(items[0]).__name__} do not collate into a batch ({error}). Give the data set a "
            "transform that returns tensors of one shape, or build the sample with FixedSample.from_tensors."
        ) from error


def _as_tuples(batch: Any) -> Any:
    if isinstance(batch, dict):
        return {key: _as_tuples(value) for key, value in batch.items()}
    if isinstance(batch, (list, tuple)) and not all(isinstance(value, str) for value in batch):
        return tuple(_as_tuples(value) for value in batch)
    return list(batch) if isinstance(batch, tuple) else batch


def _spread(n: int) -> Positions:
    return np.unique(np.linspace(0, n - 1, min(n, INSPECTED_ITEMS)).astype(np.int64))


def _one_by_one(read: Callable[[Sequence[int]], Any], positions: Positions) -> list[Any]:
    return [read([int(position)]) for position in positions]


def _labels_of(dataset: Any) -> tuple[Labels | None, int]:
    """The labels, and their position in an item."""
    if not len(dataset):
        return None, -1
    stored = stored_labels(dataset)
    if stored is not None:
        positions = _spread(len(stored))[::8]
        at = label_position([item_of(dataset, int(position)) for position in positions], stored[positions])
        if at is not None:
            return stored, at
    return read_labels(dataset), -1


def _refuse_random_transforms(once: list[Any], again: list[Any], ids: Positions) -> None:
    differing = [
        int(item_id)
        for first, second, item_id in zip(once[::8], again, ids[::8], strict=True)
        if fingerprint([first]) != fingerprint([second])
    ]
    if differing:
        raise ValueError(
            f"{len(differing)} of {len(again)} items differ when read twice (item {differing[0]}, for one): the data "
            "set applies a random transform, and the analysis needs the same inputs every time. Pass a copy with the "
            "transform used for evaluation: FixedSample.from_dataset(Data(…, transform=evaluation_transform))."
        )


def _as_tensors(inputs: Any) -> Any:
    if isinstance(inputs, np.ndarray):
        # ascontiguousarray would give a single number an axis.
        inputs = torch.from_numpy(np.ascontiguousarray(inputs).reshape(inputs.shape))
    if isinstance(inputs, dict):
        return {key: _as_tensors(value) for key, value in inputs.items()}
    if isinstance(inputs, (tuple, list)):
        return tuple(_as_tensors(value) for value in inputs)
    if not isinstance(inputs, torch.Tensor):
        raise TypeError(f"inputs must be tensors, arrays or a dictionary or tuple of them, got {type(inputs).__name__}")
    if inputs.is_meta or inputs.is_nested or inputs.layout != torch.strided:
        kind, remedy = str(inputs.layout), "call to_dense() on it first"
        if inputs.is_meta:
            kind, remedy = "without values", "load them onto a device"
        elif inputs.is_nested:
            kind, remedy = "nested", "call to_padded_tensor(0.0) on it first"
        raise ValueError(f"inputs must be dense tensors, got one that is {kind}; {remedy}")
    if not inputs.ndim:
        raise ValueError("inputs need a first axis, of samples; got a single number")
    return inputs
