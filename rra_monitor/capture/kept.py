"""Tensors and arrays whose values are put back after a forward pass that changed them."""

import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.autograd.grad_mode import _unsafe_preserve_version_counter
from torch.nn.parameter import is_lazy

from rra_monitor.capture.memory import is_out_of_memory
from rra_monitor.capture.reach import Reached

COPIED_BYTES = 256 << 20
"""Most bytes of parameters with their gradients, and of tensors that are no buffers, that are copied in each pass."""

COPIED_SHARE = 16
"""The same as a part of a memory budget, which leaves the rest to features."""

_changing = weakref.WeakValueDictionary[int, torch.Tensor]()
"""Parameters that a forward pass was seen to change; they are copied before each."""

WAITING = frozenset({"cpu"})
"""Kinds of devices where each comparison is waited for; on others they are read all at once."""

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Kept:
    """A tensor as it is now, to be put back.

    Args:
        tensor: tensor of any device and kind.
        copied: whether its values are copied, too; otherwise it is only told whether they changed.
        on_cpu: whether the copy is held in the memory of the CPU.
    """

    def __init__(self, tensor: torch.Tensor, copied: bool = True, on_cpu: bool = False) -> None:
        self.tensor = tensor
        # The memory that is its now: a pass may give it another, by `tensor.data = …`. A sparse one has several.
        self.memory = tensor.detach() if tensor.layout is torch.strided else tensor
        self.copy = _copied(self.memory, on_cpu) if copied else None
        self.checksum = None if copied else _checksum(self.memory)
        # A pass that is undone is none for a backward pass that still needs the tensor.
        self.version = 0 if tensor.is_inference() else tensor._version
        self.count = None if tensor.is_inference() else _unsafe_preserve_version_counter(tensor)
        self.requires_grad = tensor.requires_grad
        self.gradient = tensor.grad if tensor.is_leaf else None

    def put_back_all_but_values(self) -> None:
        """The memory, whether it requires a gradient, and the gradient."""
        tensor, memory = self.tensor, self.memory
        if memory is not tensor and (tensor.data_ptr() != memory.data_ptr() or _form(tensor) != _form(memory)):
            tensor.data = memory
        if tensor.is_leaf:
            if tensor.requires_grad != self.requires_grad:
                tensor.requires_grad_(self.requires_grad)
            if tensor.grad is not self.gradient:
                tensor.grad = self.gradient

    def put_back_values(self) -> None:
        """The copied values."""
        assert self.copy is not None
        with torch.inference_mode(self.memory.is_inference()), torch.no_grad():
            self.memory.copy_(self.copy)

    def put_back_version(self) -> None:
        """The count of changes in place."""
        if self.count is not None and self.tensor._version != self.version:
            self.count.__exit__()


def most_copied(memory_budget: int) -> int:
    """Most bytes of parameters and gradients that are copied in each pass within a memory budget."""
    return min(COPIED_BYTES, memory_budget // COPIED_SHARE)


def state_bytes(model: torch.nn.Module, most: int) -> int:
    """Bytes of a network's buffers, and of its parameters and gradients if these are not above `most`: the copies."""
    parameters = [one for one in model.parameters() if not is_lazy(one)]
    gradients = [one.grad for one in parameters if one.grad is not None]
    size = sum(map(_size, [*parameters, *gradients]))
    return sum(_size(one) for one in model.buffers() if not is_lazy(one)) + (size if size <= most else 0)


def kept_tensors(found: Reached, copy_all: bool, most: int | None = None) -> Callable[[], list[torch.Tensor]]:
    """Function that puts tensors and arrays back, and gives those that it could not: they changed, but had no copy.

    Args:
        found: what was reached.
        copy_all: whether all parameters are copied; otherwise all if they are small, or those known to change.
        most: bytes of parameters with their gradients up to which all are copied; COPIED_BYTES if None.
    """
    # Those of a lazy module hold nothing before its first call, which is left to the training.
    kept = _each((one for one in found.buffers.values() if not is_lazy(one)), lambda _: True)
    if not found.sharded:
        parameters = [one for one in found.parameters.values() if not is_lazy(one)]
        gradients = [one.grad for one in parameters if one.is_leaf and one.grad is not None]
        kept += _parameters([*parameters, *gradients], copy_all, COPIED_BYTES if most is None else most)
    arrays, used = [], 0
    for other in sorted(found.others.values(), key=_size):
        used += _size(other)
        if used > COPIED_BYTES:
            break
        if isinstance(other, torch.Tensor):
            kept += _each([other], lambda _: True)
        else:
            arrays.append((other, other.copy()))

    def put_back() -> list[torch.Tensor]:
        _put_back_arrays(arrays)
        return _put_back(kept)

    return put_back


def _parameters(tensors: list[torch.Tensor], copy_all: bool, most: int) -> list[Kept]:
    size = sum(map(_size, tensors))
    copy_all = copy_all or size <= most
    on_cpu = size > COPIED_BYTES and any(
        size > torch.cuda.mem_get_info(device)[0] // 2
        for device in {tensor.device for tensor in tensors if tensor.is_cuda}
    )
    return _each(tensors, lambda tensor: copy_all or _changing.get(id(tensor)) is tensor, on_cpu)


def _each(tensors: Iterable[torch.Tensor], copied: Callable[[torch.Tensor], bool], on_cpu: bool = False) -> list[Kept]:
    kept = []
    for tensor in tensors:
        # Some kinds of tensor know neither copies nor versions; they are left alone.
        with suppress(RuntimeError, NotImplementedError, TypeError, AttributeError):
            kept.append(Kept(tensor, copied(tensor), on_cpu))
    return kept


def _put_back(kept: Sequence[Kept]) -> list[torch.Tensor]:
    for each in kept:
        with suppress(RuntimeError, NotImplementedError, TypeError, AttributeError):
            each.put_back_all_but_values()
    lost = []
    for each in _changed(kept):
        if isinstance(each.tensor, torch.nn.Parameter):
            _changing[id(each.tensor)] = each.tensor
        if each.copy is None:
            lost.append(each.tensor)
            continue
        with suppress(RuntimeError, NotImplementedError):
            each.put_back_values()
    for each in kept:
        with suppress(RuntimeError, NotImplementedError):
            each.put_back_version()
    return lost


def _changed(kept: Sequence[Kept]) -> list[Kept]:
    """Those whose values differ, in any bit; one wait for each device."""
    by_device: dict[torch.device, list[tuple[Kept, torch.Tensor]]] = defaultdict(list)
    changed = []
    for each in kept:
        try:
            if each.copy is None:
                assert each.checksum is not None
                by_device[each.memory.device].append((each, _checksum(each.memory) != each.checksum))
            elif each.memory.device.type in WAITING:
                if not torch.equal(_bits(each.memory), _bits(each.copy)):
                    changed.append(each)
            else:
                copy = each.copy.to(each.memory.device)
                by_device[each.memory.device].append((each, (_bits(each.memory) != _bits(copy)).any()))
        except (RuntimeError, NotImplementedError):
            if each.copy is not None:
                changed.append(each)
    for several in by_device.values():
        try:
            differs = torch.stack([flag for _, flag in several]).tolist()
        except (RuntimeError, NotImplementedError):  # tensors without values, say
            differs = [each.copy is not None for each, _ in several]
        changed += [each for (each, _), differ in zip(several, differs, strict=True) if differ]
    return changed


def _put_back_arrays(arrays: Sequence[tuple[npt.NDArray[Any], npt.NDArray[Any]]]) -> None:
    for values, before in arrays:
        with suppress(ValueError, TypeError):
            np.copyto(values, before)


def _copied(tensor: torch.Tensor, on_cpu: bool) -> torch.Tensor:
    if not on_cpu:
        try:
            return tensor.detach().clone()
        except RuntimeError as error:
            if not is_out_of_memory(error) or tensor.device.type == "cpu":
                raise
    return tensor.detach().cpu() if tensor.device.type != "cpu" else tensor.detach().clone()


def _checksum(tensor: torch.Tensor) -> torch.Tensor:
    bits = _bits(tensor)
    if bits.is_contiguous() and bits.nbytes % 8 == 0 and bits.data_ptr() % 8 == 0:
        bits = bits.flatten().view(torch.int64)
    return bits.sum(dtype=torch.int64)


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    """The values as whole numbers, in which NaN equals itself and the two zeros differ."""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    return tensor.view(_INTEGERS[tensor.element_size()]) if tensor.is_floating_point() else tensor


def _size(values: torch.Tensor | npt.NDArray[Any]) -> int:
    """Bytes of the values; 0 of kinds of tensor that have no such number."""
    with suppress(RuntimeError, NotImplementedError):
        return values.nbytes
    return 0


def _form(tensor: torch.Tensor) -> tuple[Any, ...]:
    return tensor.dtype, tensor.device, tensor.shape, tensor.stride()
