"""The fixed set of inputs that is measured: a probe."""

import hashlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, default_collate

from rra_monitor.samples.changed import changed_inputs
from rra_monitor.samples.differences import input_differences, inputs_within, same_structure
from rra_monitor.samples.drawing import Positions, checked_n, fingerprint
from rra_monitor.samples.drawn import Named, collated_anew, drawn, kept_in_a_file
from rra_monitor.samples.given import checked_tensors
from rra_monitor.samples.items import ALL_INPUTS, Place, split_item
from rra_monitor.samples.labels import Labels
from rra_monitor.samples.reading import Reader
from rra_monitor.samples.sample_file import Facts, mapped
from rra_monitor.samples.sample_writer import write_sample
from rra_monitor.samples.stacked import (
    Collate,
    as_inputs,
    as_loaded,
    check_inputs,
    cuts,
    map_leaves,
    take,
    tensor_bytes,
)
from rra_monitor.utils.attributes import preserved_attributes
from rra_monitor.utils.checks import whole_number
from rra_monitor.utils.rng import preserved_rng
from rra_monitor.utils.trees import iter_tensors

MATERIALISE_BYTES = 1 << 30
"""A sample whose batches take up to this many bytes (1 GiB) is kept in memory; a larger one in a mapped file."""

INSPECTED_ITEMS = 256
"""The fingerprint covers this many items, spread evenly over the sample."""

PASSED_AT_ONCE = 128
"""Samples in a batch that is passed through a change."""


class FixedSample:
    """The same inputs in the same order at every measurement, so that graphs of epochs, runs and seeds are comparable.

    Build one with `from_dataset`, `from_tensors` or `load`.

    Attributes:
        n: number of samples.
        labels: (n,) int64 classes, or None for unlabelled data.
        ids: (n,) int64 identities; two samples with equal ids hold the same items in the same order.
        fingerprint: hash of the inputs, which differs for another normalisation under equal ids.
        prepare: whether `RRACallback` passes the samples on as its trainer does batches.
        path: file that holds the inputs, or None if they are in memory or in a temporary file.
    """

    def __init__(
        self,
        batch: Any,
        place: Place,
        labels: Labels | None,
        ids: Positions,
        *,
        prepare: bool = True,
        path: Path | None = None,
        reread: Callable[[Collate | None], Any] | None = None,
        collate_fn: Collate | None = None,
        known_fingerprint: str | None = None,
    ) -> None:
        """Take the parts that the constructors prepare.

        Args:
            batch: samples as one batch; as a loader hands it on, or inputs alone.
            place: where the label stands in it.
            labels: (n,) classes, or None.
            ids: (n,) identities.
            prepare: see the class.
            path: see the class.
            reread: function of a collate_fn that reads the items again.
            collate_fn: what put the batch together.
            known_fingerprint: fingerprint, computed here if None.
        """
        self._batch, self._place = batch, place
        self._inputs = as_inputs(split_item(batch, place)[0])
        self._reread, self._collate = reread, _custom(collate_fn)
        self.labels = labels
        self.ids = ids
        self.prepare = prepare
        self.path = path
        self.fingerprint = known_fingerprint or fingerprint(
            [take(self._inputs, [int(position)]) for position in spread(len(ids))]
        )

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.ids)

    @property
    def classes(self) -> int | None:
        """Number of different labels, or None for unlabelled data."""
        return None if self.labels is None else len(np.unique(self.labels))

    @property
    def inputs(self) -> Any:
        """All inputs as one batch, not a copy: to look at, and not to pass through a network, see `read`."""
        return self._inputs

    @property
    def nbytes(self) -> int:
        """Bytes of the inputs."""
        return tensor_bytes(self._inputs) * self.n // max(1, len(next(iter_tensors(self._inputs), self.ids)))

    def __len__(self) -> int:
        return self.n

    def __repr__(self) -> str:
        kind = "unlabelled" if self.classes is None else f"{self.classes} classes"
        return f"FixedSample(n={self.n}, {kind}, fingerprint={self.fingerprint})"

    def __getstate__(self) -> dict[str, Any]:
        # The data set stays where it is.
        return self.__dict__ | {"_reread": None}

    def batches(self, batch_size: int = 128) -> Iterator[Any]:
        """The inputs in order, collated, in even batches of up to `batch_size`. Consumes no global random numbers."""
        batch_size = whole_number("batch_size", batch_size, 1)
        for start, stop in pairwise(cuts(self.n, batch_size)):
            yield self.read(range(start, stop))

    def head(self, n: int) -> "FixedSample":
        """The first n samples, without labels: for timings and trials."""
        return self.rows(range(min(n, self.n)))

    def rows(self, positions: range) -> "FixedSample":
        """Consecutive samples, without labels and not copied: for trials, and for one of several ranks."""
        return FixedSample(
            take(self._inputs, positions),
            ALL_INPUTS,
            None,
            self.ids[positions.start : positions.stop],
            prepare=self.prepare,
            known_fingerprint=self.fingerprint,
        )

    def read(self, positions: Sequence[int]) -> Any:
        """The inputs at the given positions, collated into one batch, a copy. Consumes no global random numbers."""
        # A network may work in place.
        return map_leaves(_copy, take(self._inputs, positions))

    @classmethod
    def from_dataset(
        cls,
        dataset: Any,
        n: int = 2000,
        seed: int = 0,
        shrink: bool = False,
        *,
        labels: Named = None,
        prepare: bool = True,
        collate_fn: Collate | None = None,
        multiprocessing_context: Any = None,
        worker_init_fn: Callable[[int], None] | None = None,
        folder: str | os.PathLike[str] | None = None,
    ) -> "FixedSample":
        """A class-balanced random draw without replacement, shuffled; the same for the same data, n and seed.

        Labels come from what the data set stores for all items (`targets`, `labels`, a column of another name) if the
        items agree; otherwise n items are drawn uniformly, and the labels are those that they have. If these are not
        classes, the sample is unlabelled (there is no NNCS), with a warning that says why.

        Items are read in a worker process, so that nothing changes in the data set: open files, generators, caches.
        Each is read once, and kept: up to 1 GiB in memory, more in a temporary file. The analysis uses no
        augmentation: items are watched for random numbers, and the first are read twice.

        Args:
            dataset: anything with `len()` and integer indexing.
            n: number of samples to draw; n / classes of each class, the remainder one each from the first classes.
            seed: seed of the draw. No global random stream is used.
            shrink: whether to take fewer, unevenly many of each class, or some classes, instead of an error.
            labels: the label of an item, where it is not found rightly: its key, its position in a tuple, or a function
                of an item that returns a class, or None for an item without one.
            prepare: whether `RRACallback` passes the samples through the loader's `collate_fn` and the module's
                batch-transfer hooks.
            collate_fn: what puts items together to a batch; torch's `default_collate` if None.
            multiprocessing_context: how the worker process is started, as for a `DataLoader`.
            worker_init_fn: function that is called in it first, as for a `DataLoader`.
            folder: directory of the file of inputs above 1 GiB, which later draws of the same items use; a temporary
                one if None.

        Raises:
            TypeError: the data set has no length or no indexing, or its inputs do not collate.
            ValueError: n < 3, fewer than two samples of a class wanted, too few there, inputs that differ between
                two reads, or labels that are no classes where `labels` names them.
        """
        if isinstance(dataset, IterableDataset) or not (
            hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")
        ):
            raise TypeError(
                f"{type(dataset).__name__} has no items that can be read again by index, so no fixed sample can be "
                "drawn from it. Collect some inputs and labels and use FixedSample.from_tensors(inputs, labels)."
            )
        n, seed = checked_n(n), whole_number("seed", seed, 0)
        own = _custom(collate_fn)
        readers = partial(Reader, dataset, multiprocessing_context, worker_init_fn)
        with preserved_rng(), preserved_attributes(own), readers() as reader:
            kept_in = None if folder is None else Path(folder)
            found = drawn(dataset, n, seed, shrink, reader, MATERIALISE_BYTES, labels, own, kept_in)
        check_inputs(split_item(found.batch, found.place)[0])
        if said := [*found.said, *kept_in_a_file(found.batch, MATERIALISE_BYTES, found.file)]:
            warnings.warn("; ".join(said), stacklevel=2)

        def reread(collate_fn: Collate | None) -> Any:
            with preserved_rng(), preserved_attributes(collate_fn), readers() as reader:
                return collated_anew(dataset, found.ids, reader, MATERIALISE_BYTES, collate_fn)

        return cls(
            found.batch,
            found.place,
            found.labels,
            found.ids,
            prepare=prepare,
            reread=reread,
            collate_fn=own,
        )

    @classmethod
    def from_tensors(cls, inputs: Any, labels: Any = None, ids: Any = None, *, prepare: bool = True) -> "FixedSample":
        """The given inputs in this order. Shuffle them yourself if they are sorted by class.

        Args:
            inputs: tensor or array (n, …), or a dictionary or tuple of them with equal first axes.
            labels: (n,) integers, or None.
            ids: (n,) integers that name the items, 0 … n-1 if None. Give the same ids to the same items.
            prepare: whether `RRACallback` passes the samples through the module's batch-transfer hooks.

        Raises:
            ValueError: n < 3, lengths that differ, labels or ids that are not integers, ids that occur twice.
        """
        inputs, checked, names = checked_tensors(inputs, labels, ids)
        return cls(inputs, ALL_INPUTS, checked, names, prepare=prepare)

    def through(
        self,
        change: Callable[[Any], Any],
        *,
        collate_fn: Collate | None = None,
        folder: str | os.PathLike[str] | None = None,
    ) -> "FixedSample":
        """The same samples after a change of each batch, such as the hooks of a module; made once and kept.

        Args:
            change: function of a batch as a loader hands it on, items collated with their labels; of a sample from
                tensors, the inputs, or (inputs, labels). What it returns is split from its label in the same way.
            collate_fn: what puts the items together; as the sample was drawn if None.
            folder: directory of the file, if the result is larger than 1 GiB; a temporary one if None. A file that an
                earlier call left there for the same inputs is used.

        Raises:
            TypeError: a change whose result has not one entry per sample.
            ValueError: a change or a collate_fn that is random.
        """
        batch = self._batch
        if collate_fn is not None and _custom(collate_fn) is not self._collate and self._reread is not None:
            batch = self._reread(_custom(collate_fn))
        of_loader = self._place != ALL_INPUTS

        def handed(positions: range) -> Any:
            part = as_loaded(map_leaves(_copy, take(batch, positions)))
            if of_loader or self.labels is None:
                return part
            return part, torch.from_numpy(self.labels[positions.start : positions.stop].copy())

        place = self._place if of_loader else ALL_INPUTS if self.labels is None else Place(1, 2)
        identity = hashlib.sha256(f"{self.fingerprint}{self.ids.tolist()}".encode()).hexdigest()
        inputs, path = changed_inputs(
            handed,
            change,
            place,
            self._inputs,
            cuts(self.n, PASSED_AT_ONCE),
            MATERIALISE_BYTES,
            None if folder is None else Path(folder),
            identity,
        )
        if inputs is None:
            return self
        return FixedSample(inputs, ALL_INPUTS, self.labels, self.ids, prepare=self.prepare, path=path)

    def differences(self, batch: Any, *, ordered: bool = False) -> list[str]:
        """What tells a batch of a training from the sample, beyond chance and beyond ordinary augmentation.

        Structure, types and shapes, and each channel's mean, standard deviation and range.

        Args:
            batch: inputs of a training, with or without their labels.
            ordered: whether they are the first items of data in an order that may be sorted, so that they need not be
                like the rest: then larger differences are needed.

        Returns:
            One sentence for each difference, with both values.
        """
        own = take(self._inputs, spread(self.n).tolist())
        candidates = [batch, split_item(batch, self._place)[0], *inputs_within(batch)]
        inputs = next((each for each in candidates if same_structure(each, own)), candidates[1])
        return input_differences(inputs, own, ordered)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the sample to a file, from which `load` reads it without the data set.

        Raises:
            TypeError: batches that hold anything but tensors, texts and numbers.
        """
        facts = Facts(
            n=self.n,
            fingerprint=self.fingerprint,
            entry=self._place.entry,
            length=self._place.length,
            labelled=self.labels is not None,
            prepare=self.prepare,
        )
        write_sample(Path(path), self._batch, facts, self.ids, self.labels)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "FixedSample":
        """The sample in a file that `save` wrote. The file is mapped: inputs are read when they are used.

        Raises:
            OSError: no such file.
            ValueError: a file that is truncated, foreign, of a later version, or changed.
        """
        there = mapped(path)
        facts = there.facts
        if not any(tensor.ndim for tensor in iter_tensors(there.batch)):
            raise ValueError(f"{os.fspath(path)} holds no inputs. Save it again with FixedSample.save(path).")
        sample = cls(
            there.batch,
            Place(facts.entry, facts.length),
            there.labels,
            there.ids,
            prepare=facts.prepare,
            path=Path(path),
        )
        if sample.fingerprint != facts.fingerprint:
            raise ValueError(
                f"{os.fspath(path)} was changed after it was written: its inputs have the fingerprint "
                f"{sample.fingerprint}, expected {facts.fingerprint!r:.40}. Save it again with FixedSample.save(path)."
            )
        return sample


def spread(n: int) -> Positions:
    """Some positions, evenly spread."""
    return np.unique(np.linspace(0, n - 1, min(n, INSPECTED_ITEMS)).astype(np.int64))


def _custom(collate_fn: Collate | None) -> Collate | None:
    return None if collate_fn is default_collate else collate_fn


def _copy(leaf: Any) -> Any:
    return leaf.clone() if isinstance(leaf, torch.Tensor) else leaf
