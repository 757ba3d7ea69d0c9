"""The fixed set of inputs that a run is probed with."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import IterableDataset, default_collate

from rra_monitor.labels import Labels, as_labels, read_labels, split_item, stored_labels
from rra_monitor.rng import preserved_rng
from rra_monitor.trees import iter_tensors, map_tensors

MATERIALISE_BYTES = 1 << 30
"""A sample whose inputs take up to this many bytes (1 GiB) is kept in memory; a larger one is read anew each time."""

INSPECTED_ITEMS = 256
"""The fingerprint covers this many items, spread evenly over the sample; the first eighth of them is read twice."""


class FixedSample:
    """The same inputs, in the same order, at every probe: what makes graphs comparable over epochs, runs and seeds.

    Build one with `from_dataset` or `from_tensors`.

    Attributes:
        n: number of samples.
        labels: (n,) int64 classes, or None for unlabelled data.
        ids: (n,) int64 identities; two samples with equal ids hold the same items in the same order.
        fingerprint: a digest of the inputs' contents, to notice another normalisation under equal ids.
    """

    def __init__(
        self, read: Callable[[Sequence[int]], Any], labels: Labels | None, ids: npt.NDArray[np.int64], fingerprint: str
    ) -> None:
        """Take the parts as the two constructors prepare them; `read` collates the samples at given positions."""
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
        """The inputs in order, collated, `batch_size` at a time. Consumes no global random numbers."""
        for start in range(0, self.n, batch_size):
            yield self.read(range(start, min(start + batch_size, self.n)))

    def read(self, positions: Sequence[int]) -> Any:
        """The inputs at the given positions, collated into one batch. Consumes no global random numbers."""
        with preserved_rng():
            return self._read(positions)

    @classmethod
    def from_dataset(cls, dataset: Any, n: int = 2000, seed: int = 0) -> "FixedSample":
        """A class-balanced random draw without replacement, shuffled; the same for the same data, n and seed.

        Labels come from the data set's `targets` or `labels` where it has them, else from its items: the last entry of
        a tuple, or the key `label`, `labels`, `target`, `targets` or `y` of a dictionary. Where the items have no
        integer label the draw is uniform and the sample unlabelled (NNCS is then absent).

        Inputs of up to 1 GiB are read once and kept; larger ones are read anew at each probe. The analysis uses no
        augmentation: some items are read twice, and a difference is an error.

        Args:
            dataset: anything with `len()` and integer indexing.
            n: how many samples to draw; n / classes of each class, the remainder one each to the first classes.
            seed: of the draw. No global random stream is used.

        Raises:
            TypeError: the data set has no length or no indexing.
            ValueError: n < 3, too few samples (of a class), or inputs that differ between two reads.
        """
        if isinstance(dataset, IterableDataset) or not (
            hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")
        ):
            raise TypeError(
                f"{type(dataset).__name__} has no items that can be read again by index, so no fixed sample can be "
                "drawn from it. Collect some inputs and labels and use FixedSample.from_tensors(inputs, labels)."
            )
        with preserved_rng():
            labels = stored_labels(dataset) if len(dataset) else None
            if labels is None or not _agrees(dataset, labels):
                labels = read_labels(dataset) if len(dataset) else None
            draw = balanced_draw(labels, n, seed) if labels is not None else uniform_draw(len(dataset), n, seed)

            def read(positions: Sequence[int]) -> Any:
                return _collated([split_item(dataset[int(draw[position])])[0] for position in positions])

            inspected = _spread(n)
            once = _one_by_one(read, inspected)
            _refuse_random_transforms(once, _one_by_one(read, inspected[::8]), draw[inspected])
            size = sum(tensor.nbytes for item in once for tensor in iter_tensors(item)) / len(once) * n
            sample = cls(read, None if labels is None else labels[draw], draw, fingerprint(once))
            return sample._materialised() if size <= MATERIALISE_BYTES else sample

    @classmethod
    def from_tensors(cls, inputs: Any, labels: Any = None, ids: Any = None) -> "FixedSample":
        """The given inputs as they are, in this order. Shuffle them yourself if they are sorted by class.

        Args:
            inputs: a tensor or array (n, …), or a dictionary or tuple of them with equal first axes.
            labels: (n,) integers, or None.
            ids: (n,) integers that name the items, 0 … n-1 if None. Give the same ids to the same items.

        Raises:
            ValueError: n < 3, lengths that differ, labels or ids that are not integers, ids that occur twice.
        """
        inputs = _as_tensors(inputs)
        lengths = {len(tensor) for tensor in iter_tensors(inputs)}
        if len(lengths) != 1:
            raise ValueError(f"inputs need equal first axes, found lengths {sorted(lengths)}")
        n = lengths.pop()
        _check_n(n)
        checked = None if labels is None else as_labels(labels, length=n)
        if labels is not None and checked is None:
            found = np.asarray(labels)
            raise ValueError(
                f"labels are {found.dtype} of shape {found.shape}, expected integers of shape ({n},): "
                "one class per input. Pass labels=None for data without classes."
            )
        names = np.arange(n) if ids is None else as_labels(ids, length=n)
        if names is None or len(np.unique(names)) != n:
            raise ValueError(f"ids must be {n} different integers, one per input; got {ids!r:.80}")

        def read(positions: Sequence[int]) -> Any:
            # A range is a slice, so no copy; the hooks never write to inputs.
            where = slice(positions.start, positions.stop) if isinstance(positions, range) else list(positions)
            return map_tensors(lambda tensor: tensor[where], inputs)

        return cls(read, checked, names.astype(np.int64), fingerprint(_one_by_one(read, _spread(n))))

    def _materialised(self) -> "FixedSample":
        inputs = self._read(range(self.n))
        return FixedSample.from_tensors(inputs, self.labels, self.ids)


def balanced_draw(labels: Labels, n: int, seed: int) -> npt.NDArray[np.int64]:
    """Positions of n samples, equally many of each class, in random order."""
    _check_n(n)
    classes, counts = np.unique(labels, return_counts=True)
    wanted = np.full(len(classes), n // len(classes))
    wanted[: n % len(classes)] += 1
    if (short := np.flatnonzero(counts < wanted)).size:
        which = short[0]
        raise ValueError(
            f"class {classes[which]} has {counts[which]} samples, but a balanced sample of n={n} over {len(classes)} "
            f"classes needs {wanted[which]}. Pass n={largest_balanced(labels)} or less, or choose the samples yourself "
            "with FixedSample.from_tensors."
        )
    rng = np.random.default_rng(seed)
    picks = [
        rng.choice(np.flatnonzero(labels == label), size, replace=False)
        for label, size in zip(classes, wanted, strict=True)
    ]
    return rng.permutation(np.concatenate(picks)).astype(np.int64)


def uniform_draw(length: int, n: int, seed: int) -> npt.NDArray[np.int64]:
    """Positions of n of `length` samples in random order."""
    _check_n(n)
    if length < n:
        raise ValueError(f"the data set has {length} samples, fewer than the n={n} asked for. Pass n={length} or less.")
    return np.random.default_rng(seed).permutation(length)[:n].astype(np.int64)


def largest_balanced(labels: Labels) -> int:
    """The largest n for which every class has enough samples."""
    _, counts = np.unique(labels, return_counts=True)
    return int(counts.min()) * len(counts)


def drawable(dataset: Any, n: int) -> int:
    """The largest number of samples, up to n, that a balanced draw from the data set allows."""
    with preserved_rng():
        labels = stored_labels(dataset) if len(dataset) else None
        if labels is None and len(dataset):
            labels = read_labels(dataset)
    return min(n, len(dataset) if labels is None else largest_balanced(labels))


def fingerprint(items: list[Any]) -> str:
    """A digest of types, shapes and bytes of the given inputs, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for item in items:
        for tensor in iter_tensors(item):
            array = tensor.detach().cpu().contiguous()
            digest.update(f"{array.dtype}{tuple(array.shape)}".encode())
            digest.update(array.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _check_n(n: int) -> None:
    if n < 3:
        raise ValueError(
            f"a sample of n={n} has no two nearest neighbours; n must be at least 3, usefully 1000 or more"
        )


def _collated(items: list[Any]) -> Any:
    try:
        return default_collate(items)
    except (TypeError, RuntimeError) as error:
        raise TypeError(
            f"inputs of type {type(items[0]).__name__} do not collate into a batch ({error}). Give the data set a "
            "transform that returns tensors of one shape, or build the sample with FixedSample.from_tensors."
        ) from error


def _spread(n: int) -> npt.NDArray[np.int64]:
    return np.unique(np.linspace(0, n - 1, min(n, INSPECTED_ITEMS)).astype(np.int64))


def _one_by_one(read: Callable[[Sequence[int]], Any], positions: npt.NDArray[np.int64]) -> list[Any]:
    return [read([int(position)]) for position in positions]


def _agrees(dataset: Any, labels: Labels) -> bool:
    """Whether stored labels are those of the items (a target_transform may have renamed the classes)."""
    positions = _spread(len(labels))[::32]
    found = as_labels([split_item(dataset[int(position)])[1] for position in positions], length=len(positions))
    return found is not None and bool(np.array_equal(found, labels[positions]))


def _refuse_random_transforms(once: list[Any], again: list[Any], ids: npt.NDArray[np.int64]) -> None:
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
        return torch.from_numpy(np.ascontiguousarray(inputs))
    if isinstance(inputs, dict):
        return {key: _as_tensors(value) for key, value in inputs.items()}
    if isinstance(inputs, (tuple, list)):
        return tuple(_as_tensors(value) for value in inputs)
    if not isinstance(inputs, torch.Tensor):
        raise TypeError(f"inputs must be tensors, arrays or a dictionary or tuple of them, got {type(inputs).__name__}")
    return inputs
