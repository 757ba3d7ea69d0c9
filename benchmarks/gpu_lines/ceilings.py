"""What the card reaches: the rates that every other time is to be seen against."""

from collections.abc import Iterator

import torch

from .bench import Bench, Row, in_units
from .formats import tf32_products


def ceilings(bench: Bench) -> Iterator[Row]:
    side = 128 if bench.tiny else 8192
    for name, dtype in {"float32": torch.float32, "TF32": torch.float32, "bfloat16": torch.bfloat16}.items():
        a, b = (torch.randn(side, side, device=bench.device).to(dtype) for _ in range(2))
        with tf32_products(name == "TF32"):
            seconds = bench.seconds(lambda a=a, b=b: a @ b, 10)
        rate = 2e-12 * side**3 / seconds
        yield Row(f"ceiling: {name} product of {side:,} x {side:,}", in_units(rate, "TFLOP/s"), value=rate)
    a = torch.randn(1 << (16 if bench.tiny else 30), device=bench.device)
    b = torch.empty_like(a)
    rate = 2e-12 * a.nbytes / bench.seconds(lambda: b.copy_(a), 10)
    yield Row("ceiling: copy, bytes read and written", in_units(rate, "TB/s"), value=rate)
