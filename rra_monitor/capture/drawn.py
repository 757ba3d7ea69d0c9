"""Drawing a sample from a data set: what is read, which entry is the label, and which items are taken."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rra_monitor.capture.drawing import Positions, checked_n, drawn_positions, uniform_draw
from rra_monitor.capture.items import Entry, Place, split_item
from rra_monitor.capture.kept import kept
from rra_monitor.capture.label_entry import Choice, chosen, entry_values, named_entry, stored_choice
from rra_monitor.capture.labels import Labels, Verdict, classes_of
from rra_monitor.capture.reading import Reader
from rra_monitor.capture.serving import Read
from rra_monitor.capture.stacked import Collate, RaggedError, collated, put, take, tensor_bytes
from rra_monitor.capture.stored_labels import stored_columns

INSPECTED = 32
"""Number of items that are read twice, before anything is read in bulk."""

BATCH = 64
"""Number of items that are put together at a time."""

Named = str | int | Callable[[Any], Any] | None
"""What the user says about the labels: a key, a position, or a function of an item."""


@dataclass
class Drawn:
    """The samples drawn.

    Attributes:
        batch: whole items as one batch, with their labels.
        place: where the label stands in it.
        labels: (n,) classes, or None.
        ids: (n,) positions in the data set.
        path: file that holds the batch, if it is in one that stays.
        said: what the user should know.
    """

    batch: Any
    place: Place
    labels: Labels | None
    ids: Positions
    path: Path | None = None
    said: list[str] = field(default_factory=list)


def drawn(
    dataset: Any, n: int, seed: int, shrink: bool, reader: Reader, limit: int, labels: Named, collate_fn: Collate | None
) -> Drawn:
    """Draw n samples of a data set: see `FixedSample.from_dataset`."""
    length = len(dataset)
    order = uniform_draw(length, checked_n(min(n, length) if shrink else n), seed)
    looked = order[:INSPECTED]
    reads = list(reader.read(looked, twice=True))
    items = [one.item for one in reads]
    source = _Source(reader, dict(zip(looked.tolist(), items, strict=True)), limit, collate_fn)
    refuse_random_transforms(reads, looked)
    columns = {} if callable(labels) else stored_columns(dataset)
    place = named_entry(items[0], labels) if isinstance(labels, (str, int)) else None
    found, ruled_out = stored_choice(items, looked, columns, place)
    if found is not None and found.verdict is not None and found.verdict.labels is not None:
        known = found.verdict.known
        if known.sum() >= min(n, length) / 2 or not shrink:
            positions, said = drawn_positions(found.verdict.labels, known, n, seed, shrink)
            return _by_stored(source, positions, found, said)
        ruled_out[found.place.entry] = Verdict(
            None, known, f"are labels in {known.sum():,} of {length:,} items alone", "numbers"
        )
    return _by_items(source, uniform_draw(length, length, seed), len(order), place, labels, ruled_out, shrink)


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
        what = (
            f"reading an item draws random numbers from {streams[0]} generator ({len(streams)} of {len(reads)} items)"
        )
    else:
        return
    raise ValueError(
        f"{what}: the data "
        "set applies a random transform, and the analysis needs the same inputs every time. Pass a copy with the "
        "transform used for evaluation: FixedSample.from_dataset(Data(…, transform=evaluation_transform))."
    )


def _by_stored(source: "_Source", positions: Positions, choice: Choice, said: str) -> Drawn:
    """The samples that the stored labels make a balanced draw of, with the labels that the items have."""
    assert choice.verdict is not None
    assert choice.verdict.labels is not None
    batch, path = source.gathered(positions)
    labels = choice.verdict.labels[positions]
    values = source.values.get(choice.place.entry) if choice.place.entry is not None else None
    if values is not None and not choice.agrees(values, positions):
        # The few items looked at before agreed with the stored labels, these do not.
        verdict = classes_of(values, complete=False, named=True)
        if verdict.labels is not None and verdict.known.all():
            labels = verdict.labels
    return Drawn(batch, choice.place, labels, positions, path, [said] if said else [])


def _by_items(
    source: "_Source",
    order: Positions,
    n: int,
    place: Place | None,
    labels: Named,
    ruled_out: dict[Any, Verdict],
    shrink: bool,
) -> Drawn:
    """The first n samples of a random order, with the labels that they have."""
    ids = order[:n].copy()
    function = labels if callable(labels) else None
    batch, path = source.gathered(ids, function)
    complete = n == len(order)
    choice = chosen(source.first, source.values, ids, complete, ruled_out)
    if function is not None:
        choice = Choice(choice.place, classes_of(source.named, named=True))
    elif place is not None:
        choice = Choice(place, classes_of(source.values.get(place.entry, []), named=True))  # type: ignore[arg-type]
    drawn = Drawn(batch, choice.place, None, ids, path)
    verdict = choice.verdict
    if verdict is None:
        return drawn
    if verdict.labels is None:
        what = "labels" if labels is not None else f"the values of entry {choice.place.entry!r} of the items"
        if labels is not None:
            raise ValueError(
                f"labels={labels!r:.60} gives values that {verdict.reason}; expected a class for each item, or None, "
                "as from labels=lambda item: …"
            )
        drawn.said.append(
            f"the sample is unlabelled, since {what} {verdict.reason}. If there are classes, name them: "
            "FixedSample.from_dataset(…, labels=…), a key, a position, or a function of an item"
        )
        return drawn
    drawn.labels = verdict.labels
    if choice.doubt:
        drawn.said.append(f"{choice.doubt}; another one by FixedSample.from_dataset(…, labels=…)")
    if not verdict.known.all():
        _fill_unlabelled(drawn, source, verdict.known.copy(), order, choice, function)
        if drawn.labels is None or (not shrink and len(drawn.ids) < n):
            return _too_few_labelled(drawn, n, shrink)
    if not complete and verdict.kind != "one":
        drawn.said.append(
            f"the labels of {n:,} items drawn at random are used as they are, since no attribute of the data set "
            "holds those of all items; for equally many of each class give it an attribute targets, one class per item"
        )
    return drawn


def _fill_unlabelled(
    drawn: Drawn,
    source: "_Source",
    known: npt.NDArray[np.bool_],
    order: Positions,
    choice: Choice,
    function: Callable[[Any], Any] | None,
) -> None:
    """Replace samples without a label by further ones with a label; those that are left over go."""
    assert drawn.labels is not None
    n = len(drawn.ids)
    for start in range(n, min(2 * n, len(order)), BATCH):
        holes = np.flatnonzero(~known)
        if not len(holes):
            return
        positions = order[start : min(start + BATCH, 2 * n)]
        items = list(source.items(positions))
        values = [function(item) if function else split_item(item, choice.place)[1] for item in items]
        seen = [*source.values_of(choice, function), *values]
        verdict = classes_of(seen, complete=False, named=True)
        if verdict.labels is None:
            return
        new = np.flatnonzero(verdict.known[-len(items) :])[: len(holes)]
        if len(new):
            put(drawn.batch, holes[: len(new)], collated([items[one] for one in new], source.collate_fn))
            drawn.labels[holes[: len(new)]] = verdict.labels[-len(items) :][new]
            drawn.ids[holes[: len(new)]] = positions[new]
            known[holes[: len(new)]] = True
    keep = np.flatnonzero(known)
    if len(keep) < n / 2:
        drawn.labels = None
    elif len(keep) < n:
        drawn.batch, drawn.ids, drawn.labels = take(drawn.batch, keep.tolist()), drawn.ids[keep], drawn.labels[keep]


def _too_few_labelled(drawn: Drawn, n: int, shrink: bool) -> Drawn:
    if not shrink:
        raise ValueError(
            f"of {2 * n:,} items read, fewer than n={n:,} have a label. Pass shrink=True for a smaller sample or one "
            "without labels"
        )
    drawn.said.append("the sample is unlabelled, since most items have no label")
    return drawn


def collated_anew(
    dataset: Any, ids: Positions, reader: Reader, limit: int, collate_fn: Collate | None
) -> tuple[Any, Path | None]:
    """The items of a sample, read again and put together in another way; and the file that holds them."""
    first = next(reader.read(ids[:1].tolist()))
    return _Source(reader, {int(ids[0]): first.item}, limit, collate_fn).gathered(ids)


class _Source:
    """Items by position, each read once, put together and looked at for labels.

    Args:
        reader: what reads them.
        cache: items that were read already.
        limit: most bytes to keep in memory.
        collate_fn: how they become batches.
    """

    def __init__(self, reader: Reader, cache: dict[int, Any], limit: int, collate_fn: Collate | None) -> None:
        self._reader, self._cache, self._limit = reader, cache, limit
        self.collate_fn = collate_fn
        self.first = next(iter(cache.values()))
        self.values: dict[Entry, list[Any]] = {}
        self.named: list[Any] = []
        self._whole: list[Any] = []

    def items(self, positions: Positions) -> Iterator[Any]:
        """The items at some positions; those read already come from memory."""
        new = self._reader.read([int(position) for position in positions if int(position) not in self._cache])
        for position in positions.tolist():
            if position in self._cache:
                yield self._cache[position]
                continue
            one = next(new)
            if one.stream is not None:
                refuse_random_transforms([one], np.array([position]))
            yield one.item

    def gathered(self, positions: Positions, function: Callable[[Any], Any] | None = None) -> tuple[Any, Path | None]:
        """The items as one batch, and the file that holds it."""
        self.values = {entry: [] for entry in entry_values([self.first])}
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

        try:
            return kept(batches(), len(positions), self._limit)
        except RaggedError:
            if len(self._whole) < len(positions):
                raise
            # Padded to the longest of each batch; now to the longest of all.
            return collated(self._whole, self.collate_fn), None
        finally:
            self._whole = []

    def values_of(self, choice: Choice, function: Callable[[Any], Any] | None) -> list[Any]:
        """The labels of the items gathered."""
        if function is not None:
            return self.named
        return self.values[choice.place.entry]  # type: ignore[index]

    def _batch(self, items: list[Any], function: Callable[[Any], Any] | None, n: int) -> tuple[int, Any]:
        for entry, values in entry_values(items, self.values).items():
            self.values[entry] += values
        if function is not None:
            self.named += [function(item) for item in items]
        batch = collated(items, self.collate_fn)
        if self.collate_fn is not None and tensor_bytes(batch) / len(items) * n <= self._limit:
            self._whole += items
        return len(items), batch
