"""Are products in bfloat16 faster than in float32 on this processor, and does the sieve of exact graphs take them?

    python benchmarks/bfloat16.py
    ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 python benchmarks/bfloat16.py    # as without AMX
    ONEDNN_MAX_CPU_ISA=AVX512_CORE_VNNI python benchmarks/bfloat16.py    # as without either

Products of two tiles of samples, as in the sieve, one thread; both types in turn, and the ratio of their best times.
"""

import time

import torch
from results import Sheet, provenance
from rich.console import Console

from rra_monitor.graph.precision import bfloat16_pays

SHAPES = [(512, 1024), (1024, 64), (1024, 3072)]
"""Samples of a tile, features."""


def main() -> None:
    torch.set_num_threads(1)
    sheet = Sheet("bfloat16 over float32", ["samples", "features", "time, of float32"], texts=0)
    for samples, dim in SHAPES:
        best = best_seconds(torch.randn(samples, dim))
        sheet.rows.append([f"{samples:,}", f"{dim:,}", f"{best[torch.bfloat16] / best[torch.float32]:.2f}"])
    sheet.print(Console())
    print(f"the sieve takes {'bfloat16' if bfloat16_pays() else 'float32'} here")
    print(provenance(1, {"torch": torch.__version__}))


def best_seconds(tile: torch.Tensor, repeats: int = 20) -> dict[torch.dtype, float]:
    """Seconds of a tile's product with itself, by type."""
    best = dict.fromkeys((torch.float32, torch.bfloat16), float("inf"))
    for _ in range(repeats):
        for dtype in best:
            rows = tile.to(dtype)
            room = torch.empty(len(rows), len(rows), dtype=dtype)
            torch.mm(rows, rows.T, out=room)  # wakes the caches
            started = time.perf_counter()
            torch.mm(rows, rows.T, out=room)
            best[dtype] = min(best[dtype], time.perf_counter() - started)
    return best


if __name__ == "__main__":
    main()
