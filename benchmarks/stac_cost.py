"""What does attention add to a training step? Forward and backward of ResNet20 with it, against the base network's.

    python benchmarks/stac_cost.py               # about two minutes on two cores

Batches of 128 images of 32 pixels. In each repeat every network takes one step, in an order that turns by one; the
ratios are of the same repeat, and their medians are shown, after untimed first steps.

Where the process gives freed memory back after each step, taking it again costs as much as the attention; how often
that happens is chance. MALLOC_TRIM_THRESHOLD_=8000000000 MALLOC_MMAP_THRESHOLD_=8000000000 (glibc) keeps the memory.
"""

import argparse
import statistics
import sys
import time
from functools import partial

import torch
from results import Sheet, provenance, write_section
from rich.console import Console
from rich.progress import track
from torch import nn

from rra_monitor.nn import STAC, network_cost, resnet20

NETWORKS = {
    "base": partial(resnet20),
    "SE": partial(resnet20, attention="se"),
    "STAC, window 8": partial(resnet20, attention="stac"),
    "STAC, window 8, post": partial(resnet20, attention="stac", placement="post"),
    "STAC, window 8, kernels 1 and 3": partial(resnet20, attention=partial(STAC, kernels=(1, 3))),
    "STAC, windows 8, 4, 8": partial(resnet20, attention="stac", window=(8, 4, 8)),
    "STAC, windows 16, 8, 1": partial(resnet20, attention="stac", window=(16, 8, 1)),
    "BAM": partial(resnet20, attention="bam"),
}


def step_seconds(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """One forward and backward pass."""
    started = time.perf_counter()
    nn.functional.cross_entropy(network(images), labels).backward()
    seconds = time.perf_counter() - started
    network.zero_grad()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=128, help="(default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=15, help="(default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="(default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=[*NETWORKS], default=[*NETWORKS], help="these, beside the base")
    parser.add_argument("--channels-last", action="store_true", help="lay images and weights out so")
    parser.add_argument("--write", action="store_true", help="replace the section of benchmarks/RESULTS.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    layout = torch.channels_last if options.channels_last else torch.contiguous_format
    images = torch.randn(options.batch, 3, 32, 32).to(memory_format=layout)
    labels = torch.randint(10, (options.batch,))
    networks = {
        name: build().to(memory_format=layout) for name, build in NETWORKS.items() if name in ("base", *options.only)
    }
    for network in networks.values():
        step_seconds(network, images, labels)
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    for repeat in track(range(options.repeats), "repeats"):
        names = list(networks)
        for name in names[repeat % len(names) :] + names[: repeat % len(names)]:
            seconds[name].append(step_seconds(networks[name], images, labels))
    sheet = Sheet(
        f"ResNet20, batch {options.batch}, 3 x 32 x 32{', channels last' * options.channels_last}",
        ("network", "seconds", "of base: time", "of base: FLOPs", "parameters"),
    )
    base = network_cost(networks["base"]).flops
    for name, found in seconds.items():
        cost = network_cost(networks[name])
        ratio = statistics.median(its / plain for its, plain in zip(found, seconds["base"], strict=True))
        cells = (f"{statistics.median(found):.3f}", f"{ratio:.3f}", f"{cost.flops / base:.3f}", f"{cost.parameters:,}")
        sheet.rows.append([name, *cells])
    sheet.print(Console(width=None if sys.stdout.isatty() else 120))
    if options.write:
        where = provenance(options.threads, {"torch": torch.__version__})
        write_section("stac-cost", f"## What does attention add to a training step?\n\n{where}\n\n{sheet.markdown()}")


if __name__ == "__main__":
    main()
