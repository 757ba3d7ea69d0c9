"""What a module returned, as a dense tensor with one row per sample; or the reason why there is none.

| what it returns | what is measured |
|---|---|
| a tensor, or tensors in tuples, lists, mappings and data classes | the first that is not a single number |
| a nested tensor, a `PackedSequence` | the mean over each sample's own tokens |
| a quantised tensor | the numbers it stands for |
| a sparse tensor | the dense one |
| a tensor that is distributed over ranks | its rows on this rank, with all their features |
| complex numbers | real and imaginary parts, whose distances are those of the complex numbers |
| truth values, bytes, whole numbers of 16 bits | the numbers |
| whole numbers of more bits (tokens, classes, positions), meta tensors | nothing: they have no distances |
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from rra_monitor.capture.padding import masked_mean
from rra_monitor.capture.spread import local_rows
from rra_monitor.utils.trees import iter_leaves

NAMES = (torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64)
"""Types of numbers that stand for tokens, classes or positions."""

OTHER_ROWS = "another number of rows than samples"

MATERIALISE = "give the network memory with to_empty(device=…) and load its weights with load_state_dict(…)"


@dataclass(frozen=True)
class LeftOut:
    """Why a call of a module cannot be measured, to be read after "it returns".

    Attributes:
        reason: what it returns, the same for all modules with this difficulty.
        found: the very shape or type.
        remedy: advice, as a command.
        expected: whether nobody looks for such a layer: a loss, or what is the same for all samples.
    """

    reason: str
    found: str = ""
    remedy: str = ""
    expected: bool = False

    def __str__(self) -> str:
        found = f" ({self.found})" if self.found else ""
        return f"{self.reason}{found}" + (f"; {self.remedy}" if self.remedy else "")


@dataclass(frozen=True)
class Form:
    """The form of an output that can be measured.

    Attributes:
        shape: shape of one sample's output.
        sample_axis: axis of the output that is that of the samples: 0, or 1 as in (tokens, samples, features).
        is_complex: whether it holds complex numbers.
        dtype: type of its numbers.
    """

    shape: tuple[int, ...]
    sample_axis: int
    is_complex: bool
    dtype: torch.dtype


def form_of(output: Any, samples: int, values: bool = True) -> Form | LeftOut:
    """The form of what a module returned, or why it cannot be measured.

    Args:
        output: what it returned.
        samples: number of samples that were passed through the network.
        values: whether it must hold values; the batch of a meta network holds none either.
    """
    return form_of_dense(dense(output, values), samples)


def form_of_dense(found: torch.Tensor | LeftOut, samples: int) -> Form | LeftOut:
    """The form of what `dense` gave, or why it cannot be measured."""
    if isinstance(found, LeftOut):
        return found
    shape = tuple(found.shape)
    axis = next((axis for axis, size in enumerate(shape[:2]) if size == samples), None)
    if axis is None:
        return _misplaced(shape, samples)
    if not found.numel():
        return LeftOut("no features", f"shape {shape}")
    return Form(shape[:axis] + shape[axis + 1 :], axis, found.is_complex(), found.dtype)


def dense(output: Any, values: bool = True) -> torch.Tensor | LeftOut:
    """What a module returned as a dense tensor, in whatever rows it has, or why there is none.

    Complex tensors stay complex, since their features are pooled as such, see `views.pooled`.
    """
    leaves = iter_leaves(output, (torch.Tensor, PackedSequence), in_data_classes=True)
    parts: list[torch.Tensor | PackedSequence] = list(leaves)
    part = next((each for each in parts if isinstance(each, PackedSequence) or each.dim()), None)
    if part is None:
        what = "a single number" if parts else f"a {type(output).__name__} without a tensor"
        return LeftOut(what, expected=bool(parts) or output is None)
    if isinstance(part, PackedSequence):
        if part.data.dtype in NAMES:
            return _names(part.data)
        return _own_mean(*pad_packed_sequence(part, batch_first=True))
    if values and part.is_meta:
        return LeftOut("tensors on the meta device, which hold no values", remedy=MATERIALISE)
    if torch.masked.is_masked_tensor(part):
        return LeftOut("a masked tensor", remedy="let it return a plain one, with what is masked filled in")
    if part.is_nested:
        return _of_nested(part)
    part = local_rows(part)
    if part.layout is not torch.strided:
        part = part.to_dense()
    if part.is_quantized:
        part = part.dequantize()
    if part.dtype in NAMES:
        return _names(part)
    return part.to(torch.uint8) if part.dtype is torch.bool else part


def _names(tensor: torch.Tensor) -> LeftOut:
    return LeftOut(
        "whole numbers, which name tokens, classes or positions and have no distances",
        str(tensor.dtype),
        "if they are quantities, let it return them with float()",
    )


def _of_nested(tensor: torch.Tensor) -> torch.Tensor | LeftOut:
    """The mean over each sample's own tokens."""
    refused = LeftOut(
        "a nested tensor that is none of tokens, (samples, tokens, features)",
        remedy="let it return to_padded_tensor(0.0) of it",
    )
    if tensor.dtype in NAMES:
        return _names(tensor)
    if tensor.layout is torch.jagged:
        if getattr(tensor, "_ragged_idx", 1) != 1:
            return refused
        jagged: Any = tensor
        lengths = jagged.offsets().diff() if jagged.lengths() is None else jagged.lengths()
    elif tensor.dim() == 3:
        lengths = torch.tensor([len(sample) for sample in tensor.unbind()])
    else:
        return refused
    return _own_mean(torch.nested.to_padded_tensor(tensor, 0.0), lengths)


def _own_mean(values: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    tokens = torch.arange(values.shape[1], device=values.device)
    return masked_mean(values, tokens < lengths.to(values.device)[:, None])


def _misplaced(shape: tuple[int, ...], samples: int) -> LeftOut:
    """Why a tensor of that shape has no row per sample."""
    found = f"shape {shape} for {samples} samples"
    if shape[0] == 1:
        return LeftOut("one row for all samples", found, expected=True)
    if samples in shape:
        return LeftOut(
            f"the samples along axis {shape.index(samples)} rather than 0 or 1",
            found,
            "let it return them along the first one",
        )
    if shape[0] == 2 * samples:
        return LeftOut(
            "two rows for each sample, as two views in one batch give",
            found,
            "pass one view through the network: forward=lambda model, batch: model(batch[0])",
        )
    if shape[0] and shape[0] % samples == 0:
        return LeftOut(
            f"{shape[0] // samples} rows for each sample, as frames, windows or views give",
            found,
            "watch a module that returns one for each, or let forward=… pass one of them",
        )
    return LeftOut(OTHER_ROWS, found, "watch the module around it")
