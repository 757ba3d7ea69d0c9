"""Does a snapshot keep to its memory budget? Peak memory, passes and seconds under several budgets.

    python benchmarks/memory.py [--write]      # some twenty minutes on two idle cores

Each budget is measured in a process of its own, after a snapshot of a few samples: the peak of its resident memory less
what it held before. What the network takes for a batch comes on top of the budget: the peak of a pass of one batch
without a monitor is measured in the same process. Random images, smooth as photographs are.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from announced import UNet, images
from results import Sheet, provenance, write_section
from rich.console import Console
from torch import nn

import rra_monitor as rra
from rra_monitor.capture.features import call_model

TITLE = "## Does a snapshot keep to its memory budget?"
HEADER = [
    "network",
    "budget, MiB",
    "features, MiB",
    "passes",
    "passes / (features / budget)",
    "peak of a batch, MiB",
    "peak of the snapshot, MiB",
    "beyond a batch, MiB",
    "of the budget",
    "seconds",
    "neighbours that differ",
    "ID differs by",
]
BATCH, MIB = 128, 1 << 20
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Case:
    """A network, the side of its inputs, the layers, and the budgets in MiB; the last one is what others equal."""

    network: str
    make: Callable[[], nn.Module]
    side: int
    layers: Any
    budgets: tuple[int, ...]


CASES = {
    "resnet50": Case("ResNet50", torchvision.models.resnet50, 224, "auto", (256, 1024, 4096)),
    "unet": Case("U-Net", lambda: UNet(16), 256, ["input", "down.*", "up.*", "head"], (512, 4096)),
}


def measured(case: Case, budget: int, n: int, out: str) -> dict[str, Any]:
    """What a snapshot takes under a budget of so many MiB, in this process."""
    torch.manual_seed(0)
    network = case.make().eval()
    sample = rra.FixedSample.from_tensors(images(n, case.side), torch.arange(n) % 10)
    rows: list[int] = []

    def forward(model: nn.Module, batch: torch.Tensor) -> Any:
        rows.append(len(batch))
        return call_model(model, batch)

    def monitor(probe: rra.FixedSample) -> rra.Monitor:
        options = {"layers": case.layers, "memory_budget": budget * MIB, "batch_size": BATCH, "forward": forward}
        return rra.Monitor({"p": probe}, **options)

    few = rra.FixedSample.from_tensors(sample.read(range(20)), torch.arange(20) % 10)
    monitor(few).measure(network, step=0, epoch=0)
    bare, _ = peak(lambda: _one_batch(network, sample))
    ready = monitor(sample)
    plan = ready.plan(network)["p"]
    rows.clear()
    taken, seconds = peak(lambda: _stored(ready, network, out))
    features = sum(4 * n * layer.dim for layer in plan.layers)
    return {
        "announced": plan.passes,
        "passes": len(rows) / -(-n // BATCH),
        "features": features / MIB,
        "bare": bare / MIB,
        "taken": taken / MIB,
        "seconds": seconds,
    }


def peak(run: Callable[[], object]) -> tuple[int, float]:
    """Bytes by which the resident memory of this process rises at most while something runs, and the seconds taken."""
    gc.collect()
    before = _memory("VmRSS")
    CLEAR.write_text("5")
    started = time.perf_counter()
    run()
    return _memory("VmHWM") - before, time.perf_counter() - started


def _memory(field: str) -> int:
    return next(int(line.split()[1]) * 1024 for line in STATUS.read_text().splitlines() if line.startswith(field))


def _one_batch(network: nn.Module, sample: rra.FixedSample) -> None:
    with torch.no_grad():
        network(next(sample.batches(BATCH)))


def _stored(monitor: rra.Monitor, network: nn.Module, out: str) -> None:
    snapshot = monitor.measure(network, step=0, epoch=0)["p"]
    neighbours = np.stack([np.sort(snapshot.graphs[layer].indices) for layer in snapshot.layers])
    np.savez(out, neighbours=neighbours, id=snapshot.id)


def rows(names: list[str], n: int, threads: int) -> list[list[str]]:
    """The rows of the table, each from a process of its own."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            case = CASES[name]
            facts = [_in_process(name, budget, n, threads, f"{folder}/{name}-{budget}.npz") for budget in case.budgets]
            whole = np.load(f"{folder}/{name}-{case.budgets[-1]}.npz")
            for budget, fact in zip(case.budgets, facts, strict=True):
                own = np.load(f"{folder}/{name}-{budget}.npz")
                found.append(_row(case, budget, fact, own, whole))
    return found


def _in_process(name: str, budget: int, n: int, threads: int, out: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--worker", name, str(budget), out, "-n", str(n), "--threads", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} at {budget} MiB: {done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _row(case: Case, budget: int, fact: dict[str, Any], own: Any, whole: Any) -> list[str]:
    differing = sum(
        len(np.setdiff1d(one, other))
        for mine, theirs in zip(own["neighbours"], whole["neighbours"], strict=True)
        for one, other in zip(mine, theirs, strict=True)
    )
    beyond = fact["taken"] - fact["bare"]
    return [
        f"{case.network}, {case.side} px",
        f"{budget:,}",
        f"{fact['features']:,.0f}",
        f"{fact['passes']:g}",
        f"{fact['passes'] / (fact['features'] / budget):.2f}",
        f"{fact['bare']:,.0f}",
        f"{fact['taken']:,.0f}",
        f"{beyond:,.0f}",
        f"{beyond / budget:.2f}",
        f"{fact['seconds']:.0f}",
        f"{differing} of {own['neighbours'].size:,}",
        f"{np.abs(own['id'] / whole['id'] - 1).max():.1g}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=200, help="number of samples")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", choices=CASES, help="network to measure")
    parser.add_argument("--write", action="store_true", help="write the table to RESULTS.md")
    parser.add_argument("--worker", nargs=3, metavar=("NETWORK", "MIB", "FILE"), help="for the processes of its own")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.worker:
        name, budget, out = given.worker
        print(json.dumps(measured(CASES[name], int(budget), given.n, out)))
        return
    names = [given.only] if given.only else list(CASES)
    sheet = Sheet(f'n = {given.n}, batches of {BATCH}, every layer of `layers="auto"` or every block.', HEADER)
    sheet.rows = rows(names, given.n, given.threads)
    sheet.print(Console(width=240))
    if given.write:
        lines = [provenance(given.threads, {"torch": torch.__version__}), sheet.markdown()]
        write_section("memory", "\n\n".join([TITLE, *lines]))


if __name__ == "__main__":
    main()
