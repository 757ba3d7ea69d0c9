"""Nested batches: dictionaries, lists and tuples with tensors as leaves."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch


def map_tensors(function: Callable[[torch.Tensor], Any], tree: Any) -> Any:
    """The same nested structure with `function` applied to every tensor; other leaves are kept."""
    if isinstance(tree, torch.Tensor):
        return function(tree)
    if isinstance(tree, Mapping):
        return {key: map_tensors(function, value) for key, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(map_tensors(function, value) for value in tree))
    if isinstance(tree, (list, tuple)):
        return type(tree)(map_tensors(function, value) for value in tree)
    return tree


def iter_tensors(tree: Any) -> Iterator[torch.Tensor]:
    """The tensors of a nested structure, in order."""
    return iter_leaves(tree, (torch.Tensor,))


def iter_leaves(tree: Any, kinds: tuple[type, ...], in_data_classes: bool = False) -> Iterator[Any]:
    """The objects of some classes in a nested structure, in order.

    Args:
        tree: nested structure.
        kinds: classes of the leaves; nothing within one of them is looked at.
        in_data_classes: whether the fields of data classes are looked at, too.
    """
    if isinstance(tree, kinds):
        yield tree
        return
    values: Iterable[Any] = ()
    if isinstance(tree, Mapping):
        values = tree.values()
    elif isinstance(tree, (list, tuple)):
        values = tree
    elif in_data_classes and is_dataclass(tree):
        values = (getattr(tree, each.name, None) for each in fields(tree))
    for value in values:
        yield from iter_leaves(value, kinds, in_data_classes)


def first_tensor(tree: Any) -> torch.Tensor | None:
    """The first tensor of a nested structure: of an LSTM's (sequence, state) the sequence; None if there is none."""
    return next(iter_tensors(tree), None)
