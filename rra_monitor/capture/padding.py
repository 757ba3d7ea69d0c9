"""Which tokens are a sample's own and which pad it, as a batch or the arguments of a call tell."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch

LOOKED_AT = 64 << 20
"""Most bytes of features in which padding by zeros is looked for."""

INTEGERS = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def masked_mean(values: torch.Tensor, valid: torch.Tensor, axis: int = 1) -> torch.Tensor:
    """The mean over each sample's own tokens.

    Args:
        values: (n, …) outputs.
        valid: (n, tokens) truth values, at least one of each row true.
        axis: axis of the tokens.

    Returns:
        The values without that axis, in float32 or, if they are that, float64 or complex numbers.

    >>> masked_mean(torch.tensor([[[1.0], [5.0]]]), torch.tensor([[True, False]]))
    tensor([[1.]])
    """
    precise = (torch.float32, torch.float64, torch.complex64, torch.complex128)
    values = values if values.dtype in precise else values.float()
    shape = [1] * values.dim()
    shape[0], shape[axis] = valid.shape
    own = valid.to(values.device).reshape(shape)
    # Not a product: what stands at padding may be infinite or no number.
    return torch.where(own, values, values.new_zeros(())).sum(axis) / own.sum(axis)


def valid_tokens(sources: Any, samples: int, tokens: int) -> torch.Tensor | None:
    """Which tokens are a sample's own, (samples, tokens); None where nothing tells.

    A mask is a tensor (samples, tokens or more) of truth values, zeros and ones; a length a whole number per sample. A
    mask must leave each sample a token, and have none beyond the tokens that there are; and the longest sample mostly
    has no padding. That tells whether it marks tokens or padding; where it does not, names with "pad" in them mark
    padding, and those with "valid" or "attention" tokens.

    Args:
        sources: nested structure, such as a batch or the keywords of a call.
        samples: number of samples.
        tokens: number of tokens of the longest sample, padding included.
    """
    for name, tensor in _named(sources):
        if tensor.dim() == 2 and tensor.shape[0] == samples and tensor.shape[1] >= tokens and _is_mask(tensor):
            found = _oriented(tensor.bool(), name, tokens)
        elif tensor.dim() == 1 and len(tensor) == samples and tensor.dtype in INTEGERS[1:]:
            found = _of_lengths(tensor, name, tokens)
        else:
            continue
        if found is not None:
            return found
    return None


def trial_positions(inputs: Any, n: int, samples: int) -> tuple[list[int], list[int]]:
    """Positions of two small batches, the second about half as large.

    Where the samples are sequences with padding, the first batch has the longest of all samples and the second the
    shortest, or the other way round: so what a network cuts to the longest of a batch differs between them.

    Args:
        inputs: all inputs as one batch.
        n: their number.
        samples: size of the first batch.
    """
    half = (samples + 1) // 2
    lengths = next((found for found in _lengths(inputs, n) if found.amin() != found.amax()), None)
    if lengths is None:
        return list(range(samples)), list(range(half))
    order = torch.argsort(lengths, stable=True).tolist()
    return order[-samples:], order[:half]


def _named(tree: Any, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """The dense tensors of a nested structure, each with the key nearest to it."""
    if isinstance(tree, torch.Tensor):
        if tree.layout is torch.strided and not (tree.is_nested or tree.is_meta):
            yield name, tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _named(value, str(key).lower())
    elif isinstance(tree, (list, tuple)):
        for value in tree:
            yield from _named(value, name)


def _is_mask(tensor: torch.Tensor) -> bool:
    if tensor.dtype is torch.bool:
        return True
    return not tensor.is_complex() and bool(((tensor == 0) | (tensor == 1)).all())


def _oriented(mask: torch.Tensor, name: str, tokens: int) -> torch.Tensor | None:
    """The mask cut to the tokens, true where they are a sample's own."""
    fitting = [found for each in (mask, ~mask) if (found := _cut(each, tokens)) is not None]
    if len(fitting) == 2 and (full := [each for each in fitting if each.all(dim=1).any()]):
        fitting = full  # the longest sample has no padding
    if len(fitting) == 2:
        named = "pad" in name or "valid" in name or "attention" in name
        return fitting["pad" in name] if named else None
    return fitting[0] if fitting else None


def _cut(valid: torch.Tensor, tokens: int) -> torch.Tensor | None:
    """The first columns, or the last ones of samples that are padded before; None where that loses tokens."""
    for part, rest in ((valid[:, :tokens], valid[:, tokens:]), (valid[:, -tokens:], valid[:, :-tokens])):
        if not rest.any() and part.any(dim=1).all():
            return part
    return None


def _of_lengths(lengths: torch.Tensor, name: str, tokens: int) -> torch.Tensor | None:
    shortest, longest = int(lengths.amin()), int(lengths.amax())
    if shortest < 1 or longest > tokens or ("len" not in name and longest != tokens):
        return None
    return torch.arange(tokens, device=lengths.device) < lengths[:, None]


def _lengths(inputs: Any, n: int) -> Iterator[torch.Tensor]:
    """One number per sample that grows with its own tokens, or falls: by masks, token numbers, features, numbers."""
    found = [each for _, each in _named(inputs) if each.dim() in (1, 2, 3) and len(each) == n]
    planes = [each for each in found if each.dim() == 2 and each.dtype in INTEGERS and each.shape[1] > 1]
    masks = list(map(_is_mask, planes))
    yield from (each.sum(dim=1) for each, is_mask in zip(planes, masks, strict=True) if is_mask)
    yield from (_without_repeats(each) for each, is_mask in zip(planes, masks, strict=True) if not is_mask)
    yield from ((each != 0).any(dim=2).sum(dim=1) for each in found if each.dim() == 3 and each.nbytes <= LOOKED_AT)
    yield from (each.long() for each in found if each.dim() == 1 and each.dtype in INTEGERS)


def _without_repeats(tokens: torch.Tensor) -> torch.Tensor:
    """The number of tokens of each sample without those at one end that repeat."""
    width = tokens.shape[1]
    changes = (tokens[:, 1:] != tokens[:, :-1]).long()
    some = changes.any(dim=1)
    last = width - 1 - changes.flip(1).argmax(dim=1)
    first = 1 + changes.argmax(dim=1)
    after, before = (torch.where(some, each, width) for each in (last, width - first))
    return after if after.amax() - after.amin() >= before.amax() - before.amin() else before
