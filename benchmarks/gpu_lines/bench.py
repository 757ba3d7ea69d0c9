"""What every line of the GPU benchmark uses: its rows, the device, the clock and a cloud of points."""

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Args:
        line: what was measured.
        measured: its value in words.
        bar: what it should be; empty for a measurement without a bar.
        met: whether it is; None without a bar, or where it says nothing (tiny sizes, no GPU).
        value: the value as a number.
        details: further numbers, for the JSON alone.
    """

    line: str
    measured: str
    bar: str = ""
    met: bool | None = None
    value: float | None = None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Bench:
    """The device, and whether all sizes are tiny."""

    device: torch.device
    tiny: bool

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    def wait(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize()

    def release(self) -> None:
        """Give back the memory that an earlier line no longer uses."""
        if self.on_gpu:
            torch.cuda.empty_cache()

    def seconds(self, call: Callable[[], Any], repeats: int = 5, warm: bool = True) -> float:
        """Median seconds of a call that is over when the device has nothing left to do."""
        repeats = 1 if self.tiny else repeats
        if warm:
            call()
        taken = []
        for _ in range(repeats):
            self.wait()
            started = time.perf_counter()
            call()
            self.wait()
            taken.append(time.perf_counter() - started)
        return statistics.median(taken)

    def milliseconds(self, call: Callable[[], Any], repeats: int = 5) -> float:
        return 1e3 * self.seconds(call, repeats)

    def at_most(self, line: str, value: float, bar: float, unit: str, timed: bool = True, **details: Any) -> Row:
        """A row whose value must not exceed its bar; a time or memory says nothing at tiny sizes or on a CPU."""
        met = None if timed and (self.tiny or not self.on_gpu) else value <= bar
        return Row(line, in_units(value, unit), f"at most {in_units(bar, unit)}", met, value, details)

    def cloud(self, n: int, dim: int, seed: int = 0) -> torch.Tensor:
        """(n, dim) float32: points of a curved manifold of 16 dimensions, with noise in all."""
        random = torch.Generator(self.device).manual_seed(seed)

        def drawn(*shape: int) -> torch.Tensor:
            return torch.randn(shape, generator=random, device=self.device)

        places = drawn(n, 16)
        return torch.relu_(places @ drawn(16, dim) / 4 + drawn(dim) / 2).add_(drawn(n, dim), alpha=0.05)


def in_units(value: float, unit: str) -> str:
    number = f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
    return f"{number} {unit}".strip()


def in_blocks(n: int, height: int) -> list[slice]:
    """Rows 0 to n in blocks of a height."""
    return [slice(top, min(top + height, n)) for top in range(0, n, height)]


def shape_text(n: int, dim: int, k: int) -> str:
    return f"({n:,}, {dim:,}, {k})"


def power_of_two(value: float) -> float:
    """The smallest power of two above a positive value."""
    return math.ldexp(1.0, math.frexp(value)[1])
