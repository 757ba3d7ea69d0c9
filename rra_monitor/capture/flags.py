"""The global switches of torch and NumPy, restored after use."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import numpy as np
import torch

_CUDNN = ("enabled", "benchmark", "deterministic", "benchmark_limit", "allow_tf32")
_SUMS = ("fp16_reduced_precision_reduction", "bf16_reduced_precision_reduction", "fp16_accumulation")
_DEVICES = ("cpu", "cuda", "mps", "xpu")


@contextmanager
def preserved_flags() -> Iterator[None]:
    """Restore global switches on leaving: of precision, determinism, autocast, threads, anomalies and the like.

    Within the block autocast keeps no casts of weights: those made without gradients would be used by the training.
    Attention leaves its fused path, as it does in training: there the layers of an encoder are not called, an encoder
    makes a nested tensor of a padded batch before its layers find that they have hooks and cannot take it, and whether
    the path is taken, and so the last bits, would depend on which layers are watched.
    """
    before = [(read, write, value) for read, write in _switches() if (value := _value(read)) is not None]
    torch.set_autocast_cache_enabled(False)
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        for read, write, value in before:
            if _value(read) != value:
                with suppress(RuntimeError, AttributeError):  # of one that cannot be set the others are restored
                    write(value)


def _value(read: Callable[[], Any]) -> Any:
    """The state of a switch; None where torch does not tell: some refuse to be read after others were set."""
    with suppress(RuntimeError, AttributeError, AssertionError):
        return read()
    return None


def _switches() -> Iterator[tuple[Callable[[], Any], Callable[[Any], object]]]:
    """Functions that read and set each switch; one that also sets others stands before them."""
    yield torch.get_float32_matmul_precision, torch.set_float32_matmul_precision
    for owner, name in _attributes():
        yield partial(getattr, owner, name), partial(setattr, owner, name)
    for name in ("flash", "mem_efficient", "math", "cudnn"):
        yield getattr(torch.backends.cuda, f"{name}_sdp_enabled"), getattr(torch.backends.cuda, f"enable_{name}_sdp")
    yield torch.backends.mha.get_fastpath_enabled, torch.backends.mha.set_fastpath_enabled
    yield torch.get_default_dtype, torch.set_default_dtype
    yield _determinism, lambda state: torch.use_deterministic_algorithms(state[0], warn_only=state[1])
    yield _anomalies, lambda state: torch.autograd.set_detect_anomaly(*state)
    yield torch.get_num_threads, torch.set_num_threads
    yield torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled
    for device in _DEVICES:
        yield partial(torch.is_autocast_enabled, device), partial(torch.set_autocast_enabled, device)
        yield partial(torch.get_autocast_dtype, device), partial(torch.set_autocast_dtype, device)
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        yield torch.cuda.current_device, torch.cuda.set_device
    yield np.geterr, lambda state: np.seterr(**state)


def _attributes() -> Iterator[tuple[Any, str]]:
    backends: Any = torch.backends
    yield from ((backends.cudnn, name) for name in _CUDNN)
    yield from ((backends.cuda.matmul, f"allow_{name}") for name in _SUMS)
    yield backends.mkldnn, "enabled"
    if not hasattr(backends.cuda.matmul, "fp32_precision"):  # torch < 2.9
        yield backends.cuda.matmul, "allow_tf32"
        return
    yield backends, "fp32_precision"
    yield backends.cuda.matmul, "fp32_precision"
    for owner, kinds in ((backends.cudnn, ("conv", "rnn")), (backends.mkldnn, ("matmul", "conv", "rnn"))):
        yield owner, "fp32_precision"
        yield from ((getattr(owner, kind), "fp32_precision") for kind in kinds)


def _determinism() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _anomalies() -> tuple[bool, bool]:
    return torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()
