"""Does a snapshot take what is announced? Seconds and bytes of both, for networks at 32 and 224 pixels.

    python benchmarks/announced.py [--write]      # at most ten minutes on two cores

Random images, smooth as photographs are: graphs of white noise take up to three times as long, since all its samples
are nearly equally far from each other. What a snapshot takes is measured as in a
training: measured, compared with the one before, stored and written to `records.jsonl`.
"""

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torchvision
from results import Sheet, provenance, write_section
from rich.console import Console
from torch import nn

import rra_monitor as rra
from rra_monitor.nn import resnet20

TITLE = "## Does a snapshot take what is announced?"
HEADER = [
    "network",
    "measured",
    "passes",
    "graphs",
    "s announced",
    "s taken",
    "ratio",
    "MB announced",
    "MB taken",
    "ratio",
]
VIEWS = ("full", "avg2", "avg-global")
LONG = 20.0
"""Seconds of a snapshot that is measured once; the median of three is taken of others."""


class UNet(nn.Module):
    """A U-Net of four scales: maps at full resolution at both ends."""

    def __init__(self, width: int = 8, scales: int = 4) -> None:
        super().__init__()
        widths = [width * 2**scale for scale in range(scales)]
        self.down = nn.ModuleList(_block(here, there) for here, there in zip([3, *widths], widths, strict=False))
        self.up = nn.ModuleList(_block(3 * here, here) for here in reversed(widths[:-1]))
        self.head = nn.Conv2d(width, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = []
        for block in self.down:
            x = block(x)
            kept.append(x)
            x = nn.functional.max_pool2d(x, 2)
        x = kept.pop()
        for block in self.up:
            x = block(torch.cat([kept.pop(), nn.functional.interpolate(x, scale_factor=2.0)], 1))
        return self.head(x)


def _block(given: int, made: int) -> nn.Sequential:
    layers = []
    for width in (given, made):
        layers += [nn.Conv2d(width, made, 3, padding=1), nn.BatchNorm2d(made), nn.ReLU()]
    return nn.Sequential(*layers)


@dataclass(frozen=True)
class Case:
    """A network, the side of its inputs, and how it is measured."""

    network: str
    make: Callable[[], nn.Module]
    side: int
    measured: str
    options: dict[str, Any] = field(default_factory=dict)


CASES = [
    Case("ResNet20", resnet20, 32, "as by default"),
    Case("ResNet20", resnet20, 32, "3 views", {"views": VIEWS}),
    Case("ResNet20", resnet20, 32, "a budget of 64 MiB", {"memory_budget": 64 << 20}),
    Case("ResNet50", torchvision.models.resnet50, 224, "as by default"),
    Case("ResNet50", torchvision.models.resnet50, 224, "layer4 in 3 views", {"layers": ["layer4.?"], "views": VIEWS}),
    Case(
        "ResNet50",
        torchvision.models.resnet50,
        224,
        "layer4, a budget of 256 MiB",
        {"layers": ["layer4.?"], "memory_budget": 256 << 20},
    ),
    Case("U-Net", UNet, 224, "as by default"),
    Case("U-Net", UNet, 224, "3 views", {"views": VIEWS}),
    Case("U-Net", UNet, 224, "a budget of 1 GiB", {"memory_budget": 1 << 30}),
]


def rows(n: int, only: str) -> Iterator[list[str]]:
    for case in CASES:
        if only in f"{case.network} {case.measured}":
            yield row(case, n)


def row(case: Case, n: int) -> list[str]:
    torch.manual_seed(0)
    sample = rra.FixedSample.from_tensors(images(n, case.side), torch.arange(n) % 10)
    network = case.make()
    monitor = rra.Monitor({"train": sample}, **({"layers": _layers(case.network)} | case.options))
    plan = monitor.plan(network)["train"]
    seconds, size = taken(monitor, network)
    return [
        f"{case.network}, {case.side} px",
        case.measured,
        f"{plan.passes}",
        f"{plan.graphs}",
        f"{plan.seconds:.2f}",
        f"{seconds:.2f}",
        f"{seconds / plan.seconds:.2f}",
        f"{plan.bytes / 1e6:.3f}",
        f"{size / 1e6:.3f}",
        f"{size / plan.bytes:.2f}",
    ]


def images(n: int, side: int) -> torch.Tensor:
    """(n, 3, side, side): smooth, with a little noise."""
    smooth = nn.functional.interpolate(torch.randn(n, 3, 8, 8), size=side, mode="bilinear")
    return smooth.add_(torch.randn(smooth.shape), alpha=0.05)


def _layers(network: str) -> Any:
    return ["input", "down.*", "up.*", "head"] if network == "U-Net" else "auto"


def taken(monitor: rra.Monitor, network: nn.Module) -> tuple[float, float]:
    """Median seconds of a snapshot, and how much the run's directory grew by the last one."""
    found: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        store = rra.RunStore(Path(folder, "rra"))
        recorder = rra.Recorder(store, sinks=[rra.JSONLSink(store)])
        grown = before = 0
        while len(found) < 3 and (len(found) < 2 or found[-1] < LONG):
            # Weights that changed, as by an epoch: an unchanged network would be a special case of comparing.
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter.mul_(0.999)
            step = len(found)
            found.append(recorder.record(monitor.measure(network, step=step, epoch=step)).seconds)
            grown, before = _size(folder) - before, _size(folder)
            if found[-1] >= LONG and step == 0:
                break
        recorder.close()
    return statistics.median(found), float(grown)


def _size(folder: str) -> int:
    return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="", help="text that the network and what is measured have, as 'ResNet50'")
    parser.add_argument("--write", action="store_true", help="put the table into RESULTS.md")
    options = parser.parse_args()
    os.environ["NUMBA_NUM_THREADS"] = f"{options.threads}"
    torch.set_num_threads(options.threads)
    warm = rra.FixedSample.from_tensors(torch.randn(500, 3, 8, 8), torch.arange(500) % 10)
    rra.Monitor({"train": warm}).measure(resnet20(), step=0, epoch=0)  # compiles
    sheet = Sheet(f"n = {options.n}; a snapshot with comparing and storing", HEADER, texts=2)
    for found in rows(options.n, options.only):
        print(*found, sep="  ", flush=True)
        sheet.rows.append(found)
    sheet.print(Console())
    if options.write:
        about = provenance(options.threads, {"torch": torch.__version__, "torchvision": torchvision.__version__})
        write_section("announced", f"{TITLE}\n\n{about}\n\n{sheet.markdown()}")


if __name__ == "__main__":
    main()
