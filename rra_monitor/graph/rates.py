"""Speed of matrix products on this processor, from a trial of some milliseconds, once in a process."""

import time
from functools import lru_cache

import torch


@lru_cache
def multiply_add_seconds(dtype: torch.dtype, threads: int) -> float:
    """Seconds of one multiply-add within a blocked matrix product on the CPU, the best of some trials."""
    block = torch.ones((512, 1024), dtype=dtype)
    trials = []
    for _ in range(6):
        started = time.perf_counter()
        torch.mm(block, block.T)
        trials.append(time.perf_counter() - started)
    return min(trials) / (512 * 512 * 1024)


def bfloat16_pays(threads: int) -> bool:
    """Whether bfloat16 is multiplied clearly faster than float32; without hardware for it, it is far slower."""
    return multiply_add_seconds(torch.bfloat16, threads) < 0.7 * multiply_add_seconds(torch.float32, threads)


def seconds_per_multiply_add(threads: int) -> float:
    """Seconds of a multiplication and addition in the type that the exact graph computes in."""
    return multiply_add_seconds(torch.bfloat16 if bfloat16_pays(threads) else torch.float32, threads)
