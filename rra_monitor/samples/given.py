"""Inputs and labels that a user gives as tensors."""

from typing import Any

import numpy as np
import torch

from rra_monitor.samples.drawing import checked_n
from rra_monitor.samples.labels import Labels, as_labels
from rra_monitor.utils.trees import iter_tensors


def checked_tensors(inputs: Any, labels: Any, ids: Any) -> tuple[Any, Labels | None, Labels]:
    """Inputs, labels and ids of a sample, see `FixedSample.from_tensors`."""
    inputs = as_tensors(inputs)
    lengths = {len(tensor) for tensor in iter_tensors(inputs)}
    if len(lengths) != 1:
        raise ValueError(f"inputs need equal first axes, found lengths {sorted(lengths)}")
    n = checked_n(lengths.pop())
    checked = None if labels is None else as_labels(labels, length=n)
    if labels is not None and checked is None:
        raise ValueError(
            f"labels are {outline(labels)}, expected integers of shape ({n},), of at most 64 bits: one class "
            "per input. Pass labels=None for data without classes."
        )
    names = np.arange(n) if ids is None else as_labels(ids, length=n)
    if names is None or len(np.unique(names)) != n:
        raise ValueError(f"ids must be {n} different integers, one per input; got {ids!r:.80}")
    return inputs, checked, names.astype(np.int64)


def as_tensors(inputs: Any) -> Any:
    """Inputs as tensors, in dictionaries and tuples.

    Raises:
        TypeError: something else.
        ValueError: tensors that are not dense, or have no first axis.
    """
    if isinstance(inputs, np.ndarray):
        # ascontiguousarray would give a single number an axis.
        inputs = torch.from_numpy(np.ascontiguousarray(inputs).reshape(inputs.shape))
    if isinstance(inputs, dict):
        return {key: as_tensors(value) for key, value in inputs.items()}
    if isinstance(inputs, (tuple, list)):
        return tuple(as_tensors(value) for value in inputs)
    if not isinstance(inputs, torch.Tensor):
        raise TypeError(f"inputs must be tensors, arrays or a dictionary or tuple of them, got {type(inputs).__name__}")
    if inputs.is_meta or inputs.is_nested or inputs.layout != torch.strided:
        kind, remedy = str(inputs.layout), "call to_dense() on it first"
        if inputs.is_meta:
            kind, remedy = "without values", "load them onto a device"
        elif inputs.is_nested:
            kind, remedy = "nested", "call to_padded_tensor(0.0) on it first"
        raise ValueError(f"inputs must be dense tensors, got one that is {kind}; {remedy}")
    if not inputs.ndim:
        raise ValueError("inputs need a first axis, of samples; got a single number")
    return inputs


def outline(labels: Any) -> str:
    """Type and shape of values that are not labels."""
    if not isinstance(labels, torch.Tensor):
        try:
            labels = np.asarray(labels)
        except (ValueError, TypeError, RuntimeError):
            return f"a {type(labels).__name__}"
    return f"{labels.dtype} of shape {tuple(labels.shape)}"
