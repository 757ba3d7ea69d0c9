"""The precision of the graph code: full single precision whatever the training uses, bfloat16 where it pays."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Autocast, TF32, bfloat16 products and sums in float16 off within the block, restored after it.

    Differences of 1e-3 in a distance decide the intrinsic dimension; TF32 keeps 10 bits of a mantissa.
    """
    # Inference mode holds for one thread, and tensors made in it cannot be written to from another.
    with torch.autocast(device.type, enabled=False), torch.inference_mode(False), torch.no_grad(), _sums_in_float32():
        if not hasattr(torch.backends.cuda.matmul, "fp32_precision"):  # torch < 2.9
            before = torch.get_float32_matmul_precision()
            torch.set_float32_matmul_precision("highest")
            try:
                yield
            finally:
                torch.set_float32_matmul_precision(before)
            return
        # The per-backend flags, since the older global one raises for users who have set these.
        backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
        values = [backend.fp32_precision for backend in backends]
        try:
            for backend in backends:
                backend.fp32_precision = "ieee"
            yield
        finally:
            for backend, value in zip(backends, values, strict=True):
                backend.fp32_precision = value


@contextmanager
def _sums_in_float32() -> Iterator[None]:
    """No sums in float16 of products in it, which a user of a later torch may have allowed."""
    matmul = torch.backends.cuda.matmul
    allowed = getattr(matmul, "allow_fp16_accumulation", False)
    if allowed:
        matmul.allow_fp16_accumulation = False
    try:
        yield
    finally:
        if allowed:
            matmul.allow_fp16_accumulation = True


def bfloat16_pays() -> bool:
    """Whether products in bfloat16 are faster than in float32, by the features of the processor: nothing is timed.

    They are with AMX, where one takes 0.1 to 0.3 of the time of a float32 product, and with AMD's AVX512-BF16 (from
    Zen 4 on). Intel's AVX512-BF16 without AMX takes 1.4 to 1.8 times as long as float32, but is rare, and torch does
    not name the maker. Without either, or without oneDNN, bfloat16 is emulated and takes 5 times as long as
    float32. The answer is no where torch does not tell, and on ARM, whose bfloat16 instructions may round to odd, which
    `rra_monitor.graph.bounds` does not cover. `python benchmarks/bfloat16.py` measures it.
    """
    if not (torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled):  # type: ignore[no-untyped-call]
        return False
    # Private names, which a later torch may drop.
    features = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, feature, bool)() for feature in features)
