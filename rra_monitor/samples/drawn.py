"""Drawing a sample from a data set: what is read, which entry is the label, and which items are taken."""

import contextlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rra_monitor.samples.drawing import Positions, checked_n, drawn_positions, uniform_draw
from rra_monitor.samples.items import Place, split_item
from rra_monitor.samples.label_entry import Choice, chosen, named_entry, stored_choice
from rra_monitor.samples.labels import Labels, Verdict, classes_of
from rra_monitor.samples.reading import Reader
from rra_monitor.samples.source import BATCH, Source, refuse_random_transforms
from rra_monitor.samples.stacked import Collate, collated, put, take, tensor_bytes
from rra_monitor.samples.stored_labels import Columns, is_named

INSPECTED = 32
"""Number of items that are read twice, before anything is read in bulk."""

FEWEST = 3
"""Smallest sample, see `checked_n`."""

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
        said: what the user should know.
        file: file that holds the batch, if it is in one that stays.
    """

    batch: Any
    place: Place
    labels: Labels | None
    ids: Positions
    said: list[str] = field(default_factory=list)
    file: Path | None = None


def drawn(
    dataset: Any,
    n: int,
    seed: int,
    shrink: bool,
    reader: Reader,
    limit: int,
    labels: Named,
    collate_fn: Collate | None,
    folder: Path | None,
) -> Drawn:
    """Draw n samples of a data set: see `FixedSample.from_dataset`."""
    length = len(dataset)
    order = uniform_draw(length, checked_n(min(n, length) if shrink else n), seed)
    columns = {} if callable(labels) else reader.columns()
    looked = _likely(columns, n, seed, shrink, order)[:INSPECTED]
    reads = list(reader.read(looked, twice=True))
    items = [one.item for one in reads]
    split_item(items[0])  # refuses what has no entries
    source = Source(reader, dict(zip(looked.tolist(), items, strict=True)), limit, collate_fn)
    refuse_random_transforms(reads, looked)
    place = named_entry(items[0], labels) if isinstance(labels, (str, int)) else None
    source.entry = None if place is None else place.entry
    found, ruled_out = stored_choice(items, looked, columns, place)
    if found is not None and found.verdict is not None and found.verdict.labels is not None:
        known = found.verdict.known
        if known.sum() >= max(FEWEST, min(n, length) / 2) or not shrink:
            positions, said = drawn_positions(found.verdict.labels, known, n, seed, shrink)
            return _by_stored(source, positions, found, said, folder)
        assert found.place.entry is not None
        ruled_out[found.place.entry] = Verdict(
            None, known, f"are labels in {known.sum():,} of {length:,} items alone", "numbers"
        )
    return _by_items(source, uniform_draw(length, length, seed), len(order), place, labels, ruled_out, shrink)


def kept_in_a_file(batch: Any, limit: int, file: Path | None) -> list[str]:
    """What to say about a sample that is too large for memory."""
    size = tensor_bytes(batch)
    if size <= limit:
        return []
    if file is not None:
        return [f"{size / 1e6:,.1f} MB of inputs are kept in {file}"]
    return [
        f"{size / 1e6:,.1f} MB of inputs are kept in a temporary file in {tempfile.gettempdir()}, which is gone with "
        "this process; FixedSample.save(path) keeps them for FixedSample.load(path)"
    ]


def _likely(columns: Columns, n: int, seed: int, shrink: bool, otherwise: Positions) -> Positions:
    """The positions that will be drawn if the items agree with the first column: those to look at before."""
    name = next(iter(columns), "")
    if name and (is_named(name) or len(columns) == 1):
        verdict = classes_of(columns[name])
        if verdict.labels is not None:
            with contextlib.suppress(ValueError):  # which is raised if the items do agree
                return drawn_positions(verdict.labels, verdict.known, n, seed, shrink)[0]
    return otherwise


def _by_stored(source: Source, positions: Positions, choice: Choice, said: str, folder: Path | None) -> Drawn:
    """The samples that the stored labels make a balanced draw of, with the labels that the items have."""
    assert choice.verdict is not None
    assert choice.verdict.labels is not None
    batch = source.gathered(positions, folder=folder)
    labels = choice.verdict.labels[positions]
    values = source.values.get(choice.place.entry) if choice.place.entry is not None else None
    if values is not None and not choice.agrees(values, positions):
        # The few items looked at before agreed with the stored labels, these do not.
        verdict = classes_of(values, named=True)
        source.forget()
        if verdict.labels is None or not verdict.known.all():
            said = "the sample is unlabelled, since the labels of some items differ from those that the data set stores"
            return Drawn(batch, choice.place, None, positions, [said])
        labels = verdict.labels
    return Drawn(batch, choice.place, labels, positions, [said] if said else [], source.file)


def _by_items(
    source: Source,
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
    batch = source.gathered(ids, function)
    complete = n == len(order)
    choice = chosen(source.first, source.values, ids, complete, ruled_out)
    if function is not None:
        choice = Choice(choice.place, classes_of(source.named, named=True))
    elif place is not None:
        choice = Choice(place, classes_of(source.values.get(place.entry, []), named=True))  # type: ignore[arg-type]
    drawn = Drawn(batch, choice.place, None, ids)
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
    source: Source,
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
            put(drawn.batch, holes[: len(new)].tolist(), collated([items[one] for one in new], source.collate_fn))
            drawn.labels[holes[: len(new)]] = verdict.labels[-len(items) :][new]
            drawn.ids[holes[: len(new)]] = positions[new]
            known[holes[: len(new)]] = True
    count = int(known.sum())
    if count < max(FEWEST, n / 2):
        drawn.labels = None
    elif count < n:
        # In place, since the batch may be in a file: the last ones move to the holes.
        holes, last = np.flatnonzero(~known[:count]), count + np.flatnonzero(known[count:])
        put(drawn.batch, holes.tolist(), take(drawn.batch, last.tolist()))
        drawn.ids[holes], drawn.labels[holes] = drawn.ids[last], drawn.labels[last]
        drawn.batch, drawn.ids, drawn.labels = take(drawn.batch, range(count)), drawn.ids[:count], drawn.labels[:count]


def _too_few_labelled(drawn: Drawn, n: int, shrink: bool) -> Drawn:
    if not shrink:
        raise ValueError(
            f"of {2 * n:,} items read, fewer than n={n:,} have a label. Pass shrink=True for a smaller sample or one "
            "without labels"
        )
    drawn.said.append("the sample is unlabelled, since most items have no label")
    return drawn


def collated_anew(dataset: Any, ids: Positions, reader: Reader, limit: int, collate_fn: Collate | None) -> Any:
    """The items of a sample, read again and put together in another way."""
    first = next(reader.read(ids[:1]))
    return Source(reader, {int(ids[0]): first.item}, limit, collate_fn).gathered(ids)
