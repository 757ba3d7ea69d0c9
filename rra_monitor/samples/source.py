"""The items of a data set by position: each read once, put together, and watched for random numbers."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rra_monitor.samples.drawing import Positions, fingerprint
from rra_monitor.samples.items import Entry
from rra_monitor.samples.kept import found, kept
from rra_monitor.samples.label_entry import Choice, entry_values
from rra_monitor.samples.labels import as_array
from rra_monitor.samples.reading import Reader
from rra_monitor.samples.repeated import prepared_twice
from rra_monitor.samples.serving import Read
from rra_monitor.samples.stacked import Collate, RaggedError, collated, tensor_bytes
from rra_monitor.samples.streams import Streams

BATCH = 64
"""Number of items that are put together at a time."""


class Source:
    """Items by position, each read once, put together and looked at for labels.

    Args:
        reader: what reads them.
        cache: items that were read already.
        limit: most bytes to keep in memory.
        collate_fn: how they become batches.

    Attributes:
        first: an item.
        entry: entry that the user names as the label, or None.
        values: values of the entries that may be labels, of the items gathered.
        named: what the user's function says about them.
        file: file of the batch that was gathered, if it is in one that stays.
    """

    def __init__(self, reader: Reader, cache: dict[int, Any], limit: int, collate_fn: Collate | None) -> None:
        self._reader, self._cache, self._limit = reader, cache, limit
        self.collate_fn = collate_fn
        self.first = next(iter(cache.values()))
        self.entry: Entry | None = None
        self.values: dict[Entry, list[Any]] = {}
        self.named: list[Any] = []
        self.file: Path | None = None
        self._whole: list[Any] = []
        self._streams: Streams | None = None

    def items(self, positions: Positions) -> Iterator[Any]:
        """The items at some positions; those read already come from memory."""
        new = self._reader.read(positions[[position not in self._cache for position in positions.tolist()]])
        for position in positions.tolist():
            if position in self._cache:
                yield self._cache[position]
                continue
            one = next(new)
            if one.stream is not None:
                refuse_random_transforms([one], np.array([position]))
            yield one.item

    def gathered(
        self, positions: Positions, function: Callable[[Any], Any] | None = None, folder: Path | None = None
    ) -> Any:
        """The items as one batch.

        Args:
            positions: positions of the items.
            function: function of an item, whose results are kept as `named`.
            folder: directory of the file of a batch that is too large for memory; one that an earlier call left there
                for the same items is used, without `values`.
        """
        named = [] if self.entry is None else [self.entry]
        self.values = {entry: [] for entry in (*entry_values([self.first]), *named)}
        self.named, self._whole = [], []

        def batches() -> Iterator[tuple[int, Any]]:
            chunk: list[Any] = []
            for item in self.items(positions):
                chunk.append(item)
                if len(chunk) == BATCH:
                    yield self._batch(chunk, function, len(positions))
                    chunk = []
            if chunk:
                yield self._batch(chunk, function, len(positions))

        restorers = [] if self.collate_fn is None else Streams(self.collate_fn).saved()
        try:
            origin = "" if folder is None else self._origin(positions)
            there = found(folder, origin, len(positions)) if folder is not None and origin else None
            if there is not None:
                self.values = {}
                batch, self.file = there
            else:
                batch, self.file = kept(batches(), len(positions), self._limit, folder if origin else None, origin)
            return batch
        except RaggedError:
            if len(self._whole) < len(positions):
                raise
            # Padded to the longest of each batch; now to the longest of all.
            return collated(self._whole, self.collate_fn)
        finally:
            self._whole = []
            for restore in restorers:
                restore()

    def forget(self) -> None:
        """Leave no file of the batch for later calls; what is mapped of it stays."""
        if self.file is not None:
            self.file.unlink(missing_ok=True)
            self.file = None

    def _origin(self, positions: Positions) -> str:
        """A name of the batch: of its positions, and of the items that were looked at; empty if it needs no file."""
        looked = collated(list(self._cache.values()), self.collate_fn)
        if tensor_bytes(looked) / len(self._cache) * len(positions) <= self._limit:
            return ""
        return hashlib.sha256(f"{fingerprint([looked])}{positions.tolist()}".encode()).hexdigest()[:16]

    def values_of(self, choice: Choice, function: Callable[[Any], Any] | None) -> list[Any]:
        """The labels of the items gathered."""
        if function is not None:
            return self.named
        return self.values[choice.place.entry]  # type: ignore[index]

    def _batch(self, items: list[Any], function: Callable[[Any], Any] | None, n: int) -> tuple[int, Any]:
        of_items = entry_values(items, self.values)
        for entry, values in of_items.items():
            self.values[entry] += values
        if function is not None:
            self.named += [function(item) for item in items]
        if self.collate_fn is None:
            return len(items), collated(items)
        if self._streams is None:
            self._streams = Streams(self.collate_fn)
            batch = prepared_twice(partial(collated, items, self.collate_fn), self._streams)
        else:
            batch = collated(items, self.collate_fn)
        _refuse_other_order(of_items, batch)
        if tensor_bytes(batch) / len(items) * n <= self._limit:
            self._whole += items
        return len(items), batch


def refuse_random_transforms(reads: Sequence[Read], positions: Positions) -> None:
    """Refuse items whose inputs differ when they are read twice, or draw random numbers.

    Raises:
        ValueError: there are such items.
    """
    small = set(entry_values([one.item for one in reads]))
    twice = [(one.digests, position) for one, position in zip(reads, positions, strict=True) if one.digests is not None]
    differing = [
        position
        for digests, position in twice
        if any(first != again for entry, (first, again) in digests.items() if entry not in small)
    ]
    streams = [one.stream for one in reads if one.stream is not None]
    if differing:
        what = f"{len(differing)} of {len(twice)} items differ when read twice (item {differing[0]}, for one)"
    elif streams:
        what = f"reading an item draws random numbers from {streams[0]} ({len(streams)} of {len(reads)} items)"
    else:
        return
    raise ValueError(
        f"{what}: the data "
        "set applies a random transform, and the analysis needs the same inputs every time. Pass a copy with the "
        "transform used for evaluation: FixedSample.from_dataset(Data(…, transform=evaluation_transform))."
    )


def _refuse_other_order(of_items: Mapping[Entry, list[Any]], batch: Any) -> None:
    """Refuse a collate_fn that puts the items into another order, by the labels that both have.

    Raises:
        ValueError: labels in another order.
    """
    for entry, values in of_items.items():
        there = isinstance(entry, int) and isinstance(batch, (list, tuple)) and entry < len(batch)
        there = there or (isinstance(batch, Mapping) and entry in batch)
        ours, theirs = as_array(values), as_array(batch[entry]) if there else None
        if ours is None or theirs is None or ours.shape != theirs.shape or ours.dtype.kind not in "biu":
            continue
        if not np.array_equal(ours, theirs) and np.array_equal(np.sort(ours), np.sort(theirs)):
            raise ValueError(
                f"the collate_fn puts the items into another order (entry {entry!r} of a batch), so that inputs and "
                "labels do not belong together. Pass a sample in the order of its batch: FixedSample.from_tensors(…)"
            )
