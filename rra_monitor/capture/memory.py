"""What happens where memory runs out: smaller batches."""

import gc
import warnings
from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")

_TEXTS = ("out of memory", "DefaultCPUAllocator", "CUBLAS_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, of a GPU or of the CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _TEXTS)


def fitted(size: int, run: Callable[[int], T], least: int = 1) -> tuple[T, int]:
    """What `run` returns for a size, or for the largest of its halves that fits in memory, and that size.

    Args:
        size: size to start with.
        run: function of a size.
        least: size from which on an error is passed on.

    Raises:
        RuntimeError: memory runs out for the least size, too.
    """
    while True:
        try:
            return run(size), size
        except (RuntimeError, MemoryError) as error:
            if size // 2 < least or not is_out_of_memory(error):
                raise
        # After the block, where the error no longer holds the tensors of the pass.
        size //= 2
        freed()


class BatchSize:
    """Number of samples in a forward pass; where that does not fit in memory it is halved, for later passes, too.

    Args:
        size: number of samples to start with.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def fitted(self, run: Callable[[int], T]) -> T:
        """What `run` returns for the batch size that fits; warns when that is smaller than before.

        Raises:
            RuntimeError: memory runs out for a single sample, too.
        """
        result, size = fitted(self.size, run)
        if size < self.size:
            self._lower(size)
        return result

    def fitted_later(self, run: Callable[[int], T]) -> T:
        """What `run` returns for this batch size; where memory runs out, the next call takes half of it.

        For passes in which all ranks must make the same number of batches.

        Raises:
            RuntimeError: memory runs out.
        """
        try:
            return run(self.size)
        except (RuntimeError, MemoryError) as error:
            if self.size > 1 and is_out_of_memory(error):
                self._lower(self.size // 2)
            raise

    def _lower(self, size: int) -> None:
        warnings.warn(
            f"a batch of {self.size} samples does not fit in memory beside the training, so the monitor measures "
            f"with {size} from now on; pass batch_size={size} to start with it",
            stacklevel=3,
        )
        self.size = size


def freed() -> None:
    """Give a GPU's memory that is no longer used back to the device."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        gc.collect()
        torch.cuda.empty_cache()
