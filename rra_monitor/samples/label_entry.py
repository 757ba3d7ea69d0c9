"""Which entry of the items is the label, from the values that its entries have and the columns that are stored."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rra_monitor.samples.items import Entry, Place, default_key, is_tuple
from rra_monitor.samples.labels import Verdict, as_array, classes_of
from rra_monitor.samples.stored_labels import Columns, is_named, is_small

LABEL_LIKE = re.compile("label|class|target|categor", re.IGNORECASE)
"""Keys of a dictionary that may name its label, where none of the usual ones is there."""

Values = dict[Entry, list[Any]]
"""Entry to its value in each item, of the entries that may be labels."""


@dataclass(frozen=True)
class Choice:
    """The entry that was chosen.

    Attributes:
        place: where the label, or what is no class, stands.
        verdict: what its values are; None where the items have no such entry.
        doubt: what to tell the user about the choice, or empty.
        column: stored values of the entry, of all items.
    """

    place: Place
    verdict: Verdict | None = None
    doubt: str = ""
    column: npt.NDArray[Any] | None = None

    def agrees(self, values: list[Any], positions: npt.NDArray[np.int64]) -> bool:
        """Whether the labels of the data set are the values in its items at some positions."""
        return self.column is not None and agree(self.column[positions], values)


def entry_values(items: Sequence[Any], entries: Iterable[Entry] | None = None) -> Values:
    """The values of the entries that may be labels.

    Args:
        items: items of one structure.
        entries: entries to take; those that may be labels by the first item if None.
    """
    first = items[0]
    entries = _candidates(first) if entries is None else entries
    if isinstance(first, Mapping):
        return {key: [item.get(key) for item in items] for key in entries}
    return {at: [item[at] if at < len(item) else None for item in items] for at in entries if isinstance(at, int)}


def _candidates(item: Any) -> list[Entry]:
    if isinstance(item, Mapping):
        usual = default_key(item)
        like: list[Entry] = [
            key for key in item if isinstance(key, str) and LABEL_LIKE.search(key) and is_small(item[key])
        ]
        return like if usual is None or usual in like else [usual, *like]
    return [at for at in range(1, len(item)) if is_small(item[at])] if is_tuple(item) else []


def chosen(
    first: Any, values: Values, positions: npt.NDArray[np.int64], complete: bool, known: Mapping[Entry, Verdict]
) -> Choice:
    """The entry that holds the classes, by what its values are.

    Of several, the one right after the inputs; where none does, the entry that the inputs end before.

    Args:
        first: an item, for the structure.
        values: values of the entries of the items that were read.
        positions: (n,) positions of these in the data set.
        complete: whether these are all items of the data set.
        known: verdicts from stored values.
    """
    verdicts = {
        entry: known.get(entry) or classes_of(each, complete=complete, positions=positions)
        for entry, each in values.items()
    }
    good = [entry for entry, verdict in verdicts.items() if verdict.labels is not None and verdict.kind == "classes"]
    if isinstance(first, Mapping):
        usual = default_key(first)
        if usual is not None:
            return Choice(Place(usual), verdicts.get(usual, classes_of([])))
        if not good:
            return Choice(Place(None))
        return Choice(Place(good[0]), verdicts[good[0]], _doubt(good))
    if not is_tuple(first):
        return Choice(Place(None))
    count = len(first)
    if count == 1:
        return Choice(Place(None, 1))
    entry = good[0] if good else _end_of_inputs(verdicts, count)
    return Choice(Place(entry, count), verdicts.get(entry, classes_of([])), _doubt(good))


def stored_choice(
    items: Sequence[Any], positions: npt.NDArray[np.int64], columns: Columns, named: Place | None
) -> tuple[Choice | None, dict[Entry, Verdict]]:
    """The entry whose values are stored as a column of classes, if any, and what entries the columns rule out.

    A column of another name than `targets`, `labels`, … counts only if no entry before its own may be the label.

    Args:
        items: items at the given positions.
        positions: (m,) positions in the data set.
        columns: values of all items.
        named: entry that the user names.
    """
    values = entry_values(items, None if named is None or named.entry is None else [named.entry])
    possible = [entry for entry, each in values.items() if _is_possible(each, positions)]
    length = len(items[0]) if is_tuple(items[0]) else None
    ruled_out: dict[Entry, Verdict] = {}
    for name, column in columns.items():
        for entry, each in values.items():
            if not agree(column[positions], each):
                continue
            verdict = classes_of(column, positions=np.arange(len(column)), named=named is not None)
            if verdict.labels is None:
                ruled_out.setdefault(entry, verdict)
            elif named is not None or (
                (verdict.kind == "classes" or is_named(name)) and (is_named(name) or possible[:1] in ([], [entry]))
            ):
                return Choice(Place(entry, length), verdict, column=column), ruled_out
    return None, ruled_out


def named_entry(item: Any, labels: str | int) -> Place:
    """The place that the user names.

    Raises:
        ValueError: no such key or position in the items.
    """
    if isinstance(item, Mapping):
        if labels in item:
            return Place(labels)
        raise ValueError(
            f"labels={labels!r}, but the items have the keys {', '.join(map(repr, item))}; pass one of these, or a "
            "function of an item"
        )
    if is_tuple(item) and isinstance(labels, int) and -len(item) <= labels < len(item) and len(item) > 1:
        return Place(labels % len(item), len(item))
    kind = f"tuples of {len(item)} entries" if is_tuple(item) else f"of type {type(item).__name__}"
    raise ValueError(
        f"labels={labels!r}, but the items are {kind}; pass a position in a tuple of several, a key of a dictionary, "
        "or a function of an item"
    )


def _end_of_inputs(verdicts: dict[Entry, Verdict], count: int) -> int:
    """The position before which the inputs end, where no entry holds classes."""
    if count == 2:
        return 1
    for kinds in (("numbers", "one"), ("several",), ("index", "other")):
        for entry, verdict in verdicts.items():
            if verdict.kind in kinds and isinstance(entry, int):
                return entry
    return count - 1


def _doubt(good: list[Entry]) -> str:
    if len(good) < 2:
        return ""
    return f"the entries {', '.join(map(repr, good))} of the items all look like classes, and {good[0]!r} is taken"


def _is_possible(values: list[Any], positions: npt.NDArray[np.int64]) -> bool:
    """Whether a few values may be classes: many classes look like numbers that are all different."""
    verdict = classes_of(values, complete=False, positions=positions)
    array = as_array(values)
    whole = array is not None and array.dtype.kind in "biu" and array.ndim == 1
    return verdict.kind == "classes" or (verdict.kind == "numbers" and whole)


def agree(column: npt.NDArray[Any], values: list[Any]) -> bool:
    """Whether stored values are those of the items, one-hot or not."""
    array = as_array(values)
    if array is None:
        return False
    array, column = _class_of_vector(array), _class_of_vector(column)
    if array.shape != column.shape or (array.dtype.kind in "US") != (column.dtype.kind in "US"):
        return False
    return bool(np.all(array == column))


def _class_of_vector(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The classes of one-hot vectors; other values as they are."""
    if array.ndim != 2 or array.dtype.kind not in "biuf" or not np.isin(array, (0, 1)).all():
        return array
    return array.argmax(1) if (array.sum(1) == 1).all() else array
