"""Full single precision inside the graph code, whatever the training uses."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Autocast, TF32 and bfloat16 matrix products off within the block, restored after it.

    Differences of 1e-3 in a distance decide the intrinsic dimension; TF32 keeps 10 bits of a mantissa.
    """
    # Inference mode is a thread's own, and what is made in it cannot be written to from another thread.
    with torch.autocast(device.type, enabled=False), torch.inference_mode(False), torch.no_grad():
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
        found = [backend.fp32_precision for backend in backends]
        try:
            for backend in backends:
                backend.fp32_precision = "ieee"
            yield
        finally:
            for backend, value in zip(backends, found, strict=True):
                backend.fp32_precision = value
