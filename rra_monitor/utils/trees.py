"""Nested batches: dictionaries, lists and tuples with tensors as leaves."""

from collections.abc import Callable, Iterator, Mapping
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
    if isinstance(tree, torch.Tensor):
        yield tree
    elif isinstance(tree, Mapping):
        for value in tree.values():
            yield from iter_tensors(value)
    elif isinstance(tree, (list, tuple)):
        for value in tree:
            yield from iter_tensors(value)


def first_tensor(tree: Any) -> torch.Tensor | None:
    """The first tensor of a nested structure: of an LSTM's (sequence, state) the sequence; None if there is none."""
    return next(iter_tensors(tree), None)
