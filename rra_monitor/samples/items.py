"""The items of a data set, and which of their entries are inputs and label."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rra_monitor.samples.stacked import Column

LABEL_KEYS = ("label", "labels", "target", "targets", "y")
"""Keys of the label in an item that is a dictionary."""

Entry = str | int
"""Key or position of an entry of an item."""


@dataclass(frozen=True)
class Place:
    """Where the label stands in an item, and in a batch of the same structure.

    Attributes:
        entry: key of a dictionary, position in a tuple, or None where items are inputs alone.
        length: number of entries of a tuple, or None for a dictionary.
    """

    entry: Entry | None
    length: int | None = None


ALL_INPUTS = Place(None)
"""Of a batch that holds inputs alone."""


def split_item(item: Any, place: Place | None = None) -> tuple[Any, Any]:
    """Split an item, or a batch, into its inputs and its label, which is None where it has none.

    `(x, label)` gives `x`; `(a, b, label)` gives `(a, b)`; `(x, label, index)` with the label at 1 gives `x`; a
    dictionary gives itself without its label's key.

    Args:
        item: an item of a data set, or a batch.
        place: where the label stands; the last entry of a tuple, or the first of `LABEL_KEYS`, if that is None or
            of another structure.
    """
    if place is not None and place.entry is None and place.length is None:
        return item, None
    if isinstance(item, Mapping):
        key = place.entry if place is not None and place.entry in item else default_key(item)
        return {name: value for name, value in item.items() if name != key}, None if key is None else item[key]
    if not is_tuple(item):
        return item, None
    if not item:
        raise ValueError(f"an item of the data set is an empty {type(item).__name__}; expected inputs, and a label")
    if len(item) == 1:
        return item[0], None
    fits = place is not None and isinstance(place.entry, int) and len(item) == place.length
    at = place.entry if fits and place is not None and isinstance(place.entry, int) else len(item) - 1
    inputs = tuple(item[:at]) or tuple(item[1:])
    return inputs[0] if len(inputs) == 1 else inputs, item[at]


def default_key(item: Mapping[Any, Any]) -> Any:
    """The key of the label of a dictionary, or None."""
    return next((key for key in LABEL_KEYS if key in item), None)


def is_tuple(item: Any) -> bool:
    """Whether an item has entries by position; a column of values has not."""
    return isinstance(item, (tuple, list)) and not isinstance(item, Column)


def item_of(dataset: Any, index: int) -> Any:
    """An item of a data set.

    Raises:
        ValueError: the data set has fewer items than its length says.
    """
    try:
        return dataset[index]
    except IndexError as error:
        raise ValueError(
            f"{type(dataset).__name__} says that it has {len(dataset)} items, and has no item {index}: {error!r}"
        ) from error
