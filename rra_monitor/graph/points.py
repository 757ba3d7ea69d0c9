"""The samples for the graph code: checked, centred and scaled, in strips of rows or chunks of features."""

import math
import warnings
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import torch

from rra_monitor.graph.workers import side_by_side

AS_THEY_ARE = frozenset(
    [
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
        *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    ]
)
"""Types in which features are read without conversion."""

MEMORY_BUDGET = 1 << 30
"""Default limit of the bytes that a graph may take beyond its features."""

BEYOND = "distances between these features exceed float32; scale the features down"
"""The text of the error for distances that float32 does not hold."""

AVERAGED = 64
"""Samples of which the mean is taken: it makes the squared norms larger by a 64th than that of all would."""

CENTRED = 1 << 20
"""Features of all samples together whose mean is taken at once."""

READ = 1 << 20
"""Numbers that take a few times as long to read as a thread takes to start."""

CASTS = {"bool": torch.uint8, "uint16": torch.int64, "uint32": torch.int64, "uint64": torch.float64}
"""Types that torch can store but not compute with, and the type each is converted to; float8 becomes float32."""


class Points:
    """n samples of d features, in the given precision and on the given device.

    They are read in parts and not converted as a whole, so that a memory-mapped array stays on disk. Exceptions, which
    cost a copy: bool, unsigned integers of 16 bits or more, float8, long doubles, a foreign byte order, an array that
    is not in C order.

    Args:
        features: (n, …) array or tensor of real numbers; trailing axes are flattened.

    Attributes:
        matrix: (n, d) features as given.
        constant: whether all samples are equal, as in a dead layer.
        scale: power of two near the range of the widest feature. Dividing by it is exact, and squares of the result
            neither overflow nor vanish.

    Raises:
        TypeError: features that are not real numbers.
        ValueError: rows of unequal length, fewer than 2 samples, no features, NaN or infinite values, values beyond
            float32.
    """

    def __init__(self, features: Any) -> None:
        self.matrix = as_matrix(features)
        self.n, self.dim = self.matrix.shape
        self.device = self.matrix.device
        low, high = _ranges(self.matrix)
        lowest, highest, widest, differ = _facts(low, high)
        if not (math.isfinite(lowest) and math.isfinite(highest)):
            raise ValueError(_broken(self.matrix))
        self.constant = not differ
        self._low, self._high = low.float(), high.float()
        largest = max(abs(lowest), abs(highest))
        if max(largest, widest) > torch.finfo(torch.float32).max:
            raise ValueError(BEYOND)
        self.scale = float(np.ldexp(1.0, math.frexp(widest)[1])) if widest else 1.0

    @cached_property
    def centre(self) -> torch.Tensor:
        """(d,) approximate mean, in float32. Distances do not depend on it; a close one keeps the norms small.

        It lies within the range of each feature, so that a centred and scaled feature is at most 1, and 0 where it is
        constant, whatever its magnitude.
        """
        some = self.matrix[self._spread() if self.n > 2 * AVERAGED else slice(None)]
        wide = torch.split(some, max(1, CENTRED // len(some)), dim=1)
        mean = torch.cat([part.float().div(len(some)).sum(dim=0) for part in wide])  # divided first: no overflow
        return mean.clamp_(self._low, self._high)

    def _spread(self) -> torch.Tensor:
        """(AVERAGED,) positions over all samples, at uneven steps, the same each time: classes may come in turn."""
        step = self.n // AVERAGED
        places = np.arange(AVERAGED) * step + np.random.default_rng(0).integers(0, step, AVERAGED)
        return torch.from_numpy(places).to(self.device)

    def rows(self, which: slice | torch.Tensor) -> torch.Tensor:
        """(rows, d) float32 features, neither centred nor scaled."""
        return self.matrix[which].float()

    def centred(self, which: slice | torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """(rows, d) features, centred and scaled."""
        return (self.rows(which).to(dtype) - self.centre).div_(self.scale)

    def copying(self, start: int, stop: int, out: npt.NDArray[np.float32]) -> Callable[[int, int], None]:
        """What writes some features, scaled, into `out` (n, features): work for `side_by_side`, on the CPU."""
        if (whole := self.in_place) is not None:
            return partial(_copy, whole, start, np.float32(1 / self.scale), out)

        def by_torch(who: int, _: int) -> None:
            if who == 0:  # torch shares it out itself
                torch.from_numpy(out).copy_(self.matrix[:, start:stop]).div_(self.scale)

        return by_torch

    @cached_property
    def in_place(self) -> npt.NDArray[np.float32] | None:
        """The features for compiled code, where they need no conversion."""
        plain = self.device.type == "cpu" and self.matrix.dtype == torch.float32 and self.matrix.is_contiguous()
        return self.matrix.numpy() if plain else None


def _ranges(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The least and the largest value of each feature; not finite where any value is not."""
    if matrix.device.type != "cpu" or matrix.dtype != torch.float32 or not matrix.is_contiguous():
        return matrix.amin(dim=0), matrix.amax(dim=0)
    count = max(1, min(torch.get_num_threads(), matrix.numel() // READ, len(matrix)))
    found = np.empty((2, count, matrix.shape[1]), np.float32)
    side_by_side(partial(_add_ranges, matrix.numpy(), found), count)
    low, high = (found[0, 0], found[1, 0]) if count == 1 else (found[0].min(axis=0), found[1].max(axis=0))
    return torch.from_numpy(low), torch.from_numpy(high)


def _facts(low: torch.Tensor, high: torch.Tensor) -> tuple[float, float, float, bool]:
    """The least and the largest value of all, the widest range of a feature, and whether any has a range."""
    if low.device.type == "cpu" and low.dtype == torch.float32:  # numpy takes less time to begin
        least, most = low.numpy(), high.numpy()
        spread = (most - least.astype(np.float64)).max()
        return float(least.min()), float(most.max()), float(spread), bool((least != most).any())
    spread = (high.double() - low.double()).amax()
    facts = torch.stack([low.amin().double(), high.amax().double(), spread, (low != high).any().double()])
    lowest, highest, widest, differ = facts.tolist()  # all at once: a GPU is waited for once
    return lowest, highest, widest, bool(differ)


@numba.njit(nogil=True, cache=True)
def _add_ranges(matrix: Any, found: Any, who: int, count: int) -> None:
    """The ranges of this thread's share of the samples, read once."""
    n, dim = matrix.shape
    low, high, bits, largest = found[0, who], found[1, who], matrix.view(np.int32), 0
    low[:], high[:] = np.inf, -np.inf
    for r in range(n * who // count, n * (who + 1) // count):
        for d in range(dim):
            low[d] = min(low[d], matrix[r, d])
            high[d] = max(high[d], matrix[r, d])
            largest = max(largest, bits[r, d] & 0x7FFFFFFF)
    if largest >= 0x7F800000:  # infinite, or NaN, with which no comparison is true
        low[:] = np.nan


@numba.njit(nogil=True, cache=True)
def _copy(features: Any, start: int, inverse: Any, out: Any, who: int, count: int) -> None:
    """Write some features of this thread's share of the samples, scaled."""
    n, width = out.shape
    for r in range(n * who // count, n * (who + 1) // count):
        own, copied = features[r, start : start + width], out[r]
        for d in range(width):
            copied[d] = own[d] * inverse


def real_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor, in a type that torch can compare and subtract: converted for unsigned integers and float8 only.

    Raises:
        TypeError: sparse, nested, quantised or meta tensors; complex numbers; types of less than 8 bits per number.
    """
    for refused, expected in (
        (tensor.is_nested, "a tensor of one shape: give each sample the same number of features"),
        (tensor.is_quantized, "real numbers: call dequantize() on it first"),
        (tensor.layout != torch.strided, "a dense tensor: call to_dense() on it first"),
        (tensor.is_meta, "values: a meta tensor holds none, load the model's weights and run it on data"),
    ):
        if refused:
            kind = "nested" if tensor.is_nested else f"{tensor.layout}, {tensor.dtype}, on {tensor.device}"
            raise TypeError(f"features are a tensor ({kind}), expected {expected}")
    if tensor.is_complex() or "complex" in str(tensor.dtype):
        raise TypeError(f"features are {tensor.dtype}; split real and imaginary parts into two features")
    if tensor.dtype in AS_THEY_ARE:
        return tensor
    name = str(tensor.dtype).removeprefix("torch.")
    target = torch.float32 if name.startswith("float8_") else CASTS.get(name)
    if target is None:
        raise TypeError(
            f"features are {tensor.dtype}, expected real numbers of 8 bits or more; view(torch.uint8) gives the bytes, "
            "to unpack them from"
        )
    return tensor.to(target)


def below_one_block(n: int, dim: int, memory_budget: int, needed: int) -> str:
    """The text of the error for a memory budget below the bytes that are needed."""
    return (
        f"memory_budget={memory_budget:,} bytes is below one block: {n:,} samples of {dim:,} features "
        f"need at least {needed:,} beyond the features. Raise it, or take fewer samples or pooled features."
    )


def as_matrix(features: Any) -> torch.Tensor:
    """(n, d) features as given, on their device; a copy for types that torch cannot compute with, see `Points`."""
    tensor = real_tensor(features.detach() if isinstance(features, torch.Tensor) else _from_array(features))
    if tensor.ndim == 0 or len(tensor) < 2:
        raise ValueError(
            f"features of shape {tuple(tensor.shape)} hold fewer than 2 samples; expected (n, …) with n >= 2"
        )
    matrix = tensor.reshape(len(tensor), -1)
    if matrix.shape[1] == 0:
        raise ValueError(f"features of shape {tuple(tensor.shape)} are empty: no feature per sample")
    return matrix.cpu() if matrix.device.type == "mps" else matrix  # mps has no double precision


def _from_array(features: Any) -> torch.Tensor:
    try:
        array = np.asarray(features)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"features are a {type(features).__name__} that makes no array ({error}); expected one array or tensor "
            "(n, …). Give each sample the same number of features; put a list of tensors together with torch.stack"
        ) from error
    if np.ma.is_masked(features):
        raise ValueError(f"{int(features.mask.sum())} features are masked; fill them, or leave out their samples")
    if array.dtype.kind == "c":
        raise TypeError(f"features are {array.dtype}; split real and imaginary parts into two features")
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"features are an array of {array.dtype}, expected real numbers in an array or tensor (n, …); "
            "astype(np.float32) or, of a sparse matrix, toarray() may give these"
        )
    if array.dtype.byteorder not in "=|" or array.dtype in (np.uint16, np.uint32, np.uint64, np.longdouble):
        array = array.astype(np.float64)
    with warnings.catch_warnings():  # of memory maps opened for reading; nothing here writes
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(np.ascontiguousarray(array))


def _broken(matrix: torch.Tensor) -> str:
    broken = torch.cat([~torch.isfinite(rows).all(dim=1) for rows in torch.split(matrix, 1024)])
    return (
        f"{int(broken.sum())} of {len(matrix)} samples have NaN or infinite features (the first is sample "
        f"{int(broken.nonzero()[0, 0])}). Has the training diverged, or does this layer overflow in half precision?"
    )
