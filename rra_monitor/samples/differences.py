"""What tells a batch of a training from a sample beyond chance."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rra_monitor.samples.stacked import Column

STANDARD_ERRORS = 6.0
"""Differences of fewer standard errors are chance."""

DEVIATIONS = 1.0
"""Means that differ by less than this many standard deviations may come from augmentation."""

RATIO = 2.0
"""Standard deviations within this factor may come from augmentation."""

ORDERED = 3.0
"""Differences of a batch that may be sorted count if they are that many times as large."""

FEWEST = 4
"""Batches of fewer samples are compared by structure and type alone."""

BYTE = 16.0
"""Values beyond this are no pixels in 0 to 1, whatever the augmentation."""

MOST_VALUES = 100_000
"""Values of a channel whose percentiles are computed."""

FLOOR = 0.1
"""A channel's deviation counts as at least this fraction of that of all channels."""


def input_differences(batch: Any, sample: Any, ordered: bool = False) -> list[str]:
    """One sentence for each difference of some inputs from those of a sample, with both values.

    Args:
        batch: inputs of a training, as one batch.
        sample: inputs of the sample.
        ordered: whether the batch may be sorted, so that only differences `ORDERED` times as large count.
    """
    return list(_differences(batch, sample, "", ORDERED if ordered else 1.0))


def same_structure(batch: Any, sample: Any) -> bool:
    """Whether two batches have the same parts."""
    return bool(_outline(batch) == _outline(sample))


def inputs_within(batch: Any) -> list[Any]:
    """What may be the inputs of a batch whose labels, wherever they stand, were split off a sample."""
    if isinstance(batch, Mapping):
        return [{key: value for key, value in batch.items() if key != left} for left in batch]
    if isinstance(batch, (list, tuple)) and len(batch) > 1:
        return [batch[0], *(tuple(batch[:stop]) for stop in range(len(batch) - 1, 1, -1))]
    return []


def _outline(batch: Any) -> Any:
    if isinstance(batch, Mapping):
        return {key: _outline(value) for key, value in batch.items()}
    if isinstance(batch, (list, tuple)) and not isinstance(batch, Column) and not _is_column(batch):
        return [_outline(value) for value in batch]
    return "tensor" if isinstance(batch, (torch.Tensor, np.ndarray)) else "values"


def _is_column(values: Any) -> bool:
    return all(isinstance(value, str) for value in values)


def _differences(batch: Any, sample: Any, where: str, times: float) -> Iterator[str]:
    if isinstance(batch, np.ndarray):
        batch = torch.from_numpy(batch)
    if not same_structure(batch, sample):
        yield f"{where or 'the inputs'}: {_said(batch)} in training, {_said(sample)} in the sample"
    elif isinstance(batch, Mapping):
        for key, value in batch.items():
            yield from _differences(value, sample[key], f"{where or 'the inputs'}[{key!r}]", times)
    elif isinstance(batch, torch.Tensor) and isinstance(sample, torch.Tensor):
        yield from _of_tensors(batch.detach().cpu(), sample.cpu(), where or "the inputs", times)
    elif isinstance(batch, (list, tuple)) and not _is_column(batch):
        for position, (value, other) in enumerate(zip(batch, sample, strict=True)):
            yield from _differences(value, other, f"{where or 'the inputs'}[{position}]", times)


def _of_tensors(batch: torch.Tensor, sample: torch.Tensor, where: str, times: float) -> Iterator[str]:
    if batch.dtype != sample.dtype:
        yield f"{where}: type {_name(batch.dtype)} in training, {_name(sample.dtype)} in the sample"
    shapes = tuple(batch.shape[1:]), tuple(sample.shape[1:])
    # Sequences of numbers (tokens) are as long as the longest of their batch.
    sequences = batch.ndim == sample.ndim == 2 and not batch.is_floating_point() and not sample.is_floating_point()
    if shapes[0] != shapes[1] and not sequences:
        yield f"{where}: shape {shapes[0]} of an input in training, {shapes[1]} in the sample"
    pixels = all(each.is_floating_point() or each.dtype == torch.uint8 for each in (batch, sample))
    channels = batch.ndim > 1 and sample.ndim > 1 and batch.shape[1] == sample.shape[1]
    if not pixels or not channels or batch.ndim != sample.ndim or min(len(batch), len(sample)) < FEWEST:
        return
    (low, high), (lowest, highest) = ((float(each.min()), float(each.max())) for each in (batch, sample))
    if (highest <= 1 and low >= 0 and high > BYTE) or (high <= 1 and lowest >= 0 and highest > BYTE):
        yield f"{where}: values {low:.4g} to {high:.4g} in training, {lowest:.4g} to {highest:.4g} in the sample"
        return
    yield from _of_statistics(_moments(batch), _moments(sample), _widths(batch), _widths(sample), where, times)


def _moments(tensor: torch.Tensor) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and mean square of each channel of each sample: two arrays (n, channels)."""
    flat = tensor.double().reshape(len(tensor), tensor.shape[1], -1)
    return flat.mean(2).numpy(), flat.square().mean(2).numpy()


def _widths(tensor: torch.Tensor) -> npt.NDArray[np.float64]:
    """(channels,) distances from the 10th to the 90th percentile, which rare large values do not move."""
    flat = tensor.double().transpose(0, 1).reshape(tensor.shape[1], -1).numpy()
    low, high = np.quantile(flat[:, :: max(1, flat.shape[1] // MOST_VALUES)], (0.1, 0.9), axis=1)
    return np.asarray(high - low)


def _of_statistics(batch: Any, sample: Any, width: Any, found_width: Any, where: str, times: float) -> Iterator[str]:
    """Differences of the means and deviations of channels, beyond augmentation and beyond chance."""
    (means, variances), (found_mean, found_variance) = _spread(*batch), _spread(*sample)
    deviations, found = np.sqrt(variances), np.sqrt(found_variance)
    scale = np.maximum(found, FLOOR * np.sqrt(found_variance.mean()))
    errors = np.sqrt(sum(_error(each[0]) ** 2 for each in (batch, sample)))
    shift = np.abs(means - found_mean)
    shifted = (shift > times * DEVIATIONS * scale) & (shift > STANDARD_ERRORS * errors) & (shift > 0)
    if shifted.any():
        at = int(np.argmax(np.where(shifted, shift / np.maximum(scale, 1e-300), 0)))
        yield (
            f"{where}: mean {means[at]:.4g} of channel {at} in training, {found_mean[at]:.4g} in the sample "
            f"(standard deviation {found[at]:.4g}){_others(shifted)}"
        )
    squared, found_squared = (
        each[1] - 2 * each[0] * mean + mean**2 for each, mean in ((batch, means), (sample, found_mean))
    )
    # Relative errors of the variances. A batch of few samples may lack the rare large values that the sample has.
    expected = found_squared.std(0, ddof=1) / np.sqrt(len(squared)) / np.maximum(found_variance, 1e-300)
    own = _error(squared) / np.maximum(variances, 1e-300)
    error = np.hypot(np.maximum(own, expected), _error(found_squared) / np.maximum(found_variance, 1e-300))
    floor = FLOOR * np.sqrt(found_variance.mean())
    ratio = np.maximum(deviations, floor) / np.maximum(found, floor) if floor else np.ones_like(found)
    factor = np.abs(2 * np.log(np.maximum(ratio, 1e-300)))
    other = (factor > 2 * np.log(times * RATIO)) & (factor > STANDARD_ERRORS * error)
    other &= np.where(ratio > 1, width > RATIO * found_width, found_width > RATIO * width)
    if other.any():
        at = int(np.argmax(np.where(other, factor, 0)))
        yield (
            f"{where}: standard deviation {deviations[at]:.4g} of channel {at} in training, {found[at]:.4g} in the "
            f"sample{_others(other)}"
        )


def _spread(means: npt.NDArray[Any], squares: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    mean = means.mean(0)
    return mean, np.maximum(squares.mean(0) - mean**2, 0)


def _error(values: npt.NDArray[Any]) -> Any:
    """The standard error of the mean over samples."""
    return values.std(0, ddof=1) / np.sqrt(len(values))


def _others(which: npt.NDArray[np.bool_]) -> str:
    more = int(which.sum()) - 1
    return f", and {more} other channel{'s' if more > 1 else ''} differ{'' if more > 1 else 's'}" if more else ""


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _said(batch: Any) -> str:
    if isinstance(batch, Mapping):
        return f"a dictionary of {', '.join(map(repr, batch))}"
    if isinstance(batch, (list, tuple)):
        return f"{len(batch)} parts"
    return "a tensor" if isinstance(batch, torch.Tensor) else f"a {type(batch).__name__}"
