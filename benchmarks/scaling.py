"""Does the cost model of docs/graph.md hold? Measured against predicted, on gloo ranks of this machine.

python benchmarks/scaling.py [--n 8192] [--k 50] [--dims 256 2048] [--ranks 1 2 4] [--repeats 3]

Every rank is a process of one thread. The model's rates (products, selection, differences, wire) are measured in the
same processes, on all ranks at once, before each case; bytes are counted where blocks are sent and, over all ranks, at
the loopback interface. More ranks than cores share the cores, which the measured rates show.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import torch
import torch.distributed as dist
from rich.console import Console
from rich.table import Table

from rra_monitor.graph.distances import pair_differences
from rra_monitor.graph.distributed import SPARE, distributed_graph
from rra_monitor.graph.ring import Ring, Visitor
from rra_monitor.graph.ring_passes import Differences, InDouble, Shortlist, merged
from rra_monitor.graph.ring_sizes import ring_sizes
from rra_monitor.utils.collectives import gathered


def seconds_of(call: Callable[[], object]) -> float:
    """Between two barriers, so that it is the time of the slowest rank and the machine is as busy as in the graph."""
    dist.barrier()
    started = time.perf_counter()
    call()
    dist.barrier()
    return time.perf_counter() - started


def rates(rows: torch.Tensor, n: int, k: int) -> dict[str, float]:
    """Seconds per multiply-add, per product selected from, per squared difference and per byte sent, on one rank."""
    dim = rows.shape[1]
    found = k + SPARE
    own, others = rows[:2048], torch.randn(4096, dim)
    products = own @ others.T
    values, candidates = torch.full((len(own), found), torch.inf), torch.zeros((len(own), found), dtype=torch.int64)
    pairs = torch.randint(len(own), (50 * len(own),))
    columns = torch.randint(len(others), (len(pairs),))
    group = dist.group.WORLD
    counts = [len(rows)] * dist.get_world_size()
    ring = Ring.over(rows, counts, group, ring_sizes(counts, dim, found, 0, "cpu", None))
    calls = {
        "product": (lambda: own @ others.T, products.numel() * dim),
        "selection": (lambda: merged(values, candidates, products, 0), products.numel()),
        "difference": (lambda: pair_differences(own, others, pairs, columns), len(pairs) * dim),
        "wire": (lambda: list(ring._blocks()), max(1, sent_bytes(n, dim, dist.get_world_size()))),
    }
    for call, _ in calls.values():
        call()
    return {
        name: statistics.median(seconds_of(call) for _ in range(3)) / count for name, (call, count) in calls.items()
    }


def sent_bytes(n: int, dim: int, ranks: int) -> int:
    """Of one pass round the ring, by each rank."""
    return (n - n // ranks) * dim * 4


def predicted(n: int, dim: int, k: int, ranks: int, rate: dict[str, float]) -> tuple[float, float]:
    """Seconds of the two passes: each the longer of arithmetic and wire."""
    own = n / ranks
    wire = sent_bytes(n, dim, ranks) * rate["wire"] if ranks > 1 else 0.0
    first = own * n * (dim * rate["product"] + rate["selection"])
    second = own * (k + SPARE) * dim * rate["difference"]
    return max(first, wire), max(second, wire)


def loopback_bytes() -> int:
    """Sent through the loopback interface since the machine started."""
    line = next(line for line in Path("/proc/net/dev").read_text().splitlines() if line.strip().startswith("lo:"))
    return int(line.split()[9])


def measure(rank: int, ranks: int, options: argparse.Namespace, folder: str) -> None:
    """One rank: a table row per number of features, printed by rank 0."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store{ranks}", ranks)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=ranks)
    group = dist.group.WORLD
    sent = 0
    passed_on, visit = Ring._passed_on, Ring.visit

    def counted(ring: Ring, block: torch.Tensor, following: torch.Tensor) -> object:
        nonlocal sent
        sent += block.nbytes
        return passed_on(ring, block, following)

    def timed(ring: Ring, begin: Callable[[], Visitor]) -> Visitor:
        dist.barrier()
        started = time.perf_counter()
        visitor = visit(ring, begin)
        times.setdefault(type(visitor), []).append(time.perf_counter() - started)
        return visitor

    for dim in options.dims:
        generator = torch.Generator().manual_seed(rank)
        rows = torch.randn(options.n // ranks, dim, generator=generator)
        rate = rates(rows, options.n, options.k)
        distributed_graph(rows[:200], 2, group)  # compiles
        times: dict[type, list[float]] = {}
        took, on_loopback = [], 0
        with patch.object(Ring, "_passed_on", counted), patch.object(Ring, "visit", timed):
            for _ in range(options.repeats):
                sent, before = 0, loopback_bytes()
                took.append(seconds_of(lambda rows=rows: distributed_graph(rows, options.k, group)))
                on_loopback = loopback_bytes() - before
        medians = [statistics.median(times.get(one, [0.0])) for one in (Shortlist, Differences, InDouble)]
        parts = gathered(lambda medians=medians: medians, group)
        if rank == 0:
            passes = predicted(options.n, dim, options.k, ranks, rate)
            row = {
                "ranks": ranks,
                "d": dim,
                "first": max(part[0] for part in parts),
                "first predicted": passes[0],
                "second": max(part[1] for part in parts),
                "second predicted": passes[1],
                "double": max(part[2] for part in parts),
                "whole": statistics.median(took),
                "sent": sent,
                "sent predicted": 2 * sent_bytes(options.n, dim, ranks),
                "loopback per rank": on_loopback / ranks,
                **rate,
            }
            torch.save(row, f"{folder}/{ranks}-{dim}.pt")
    dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=8192)
    parser.add_argument("--k", type=int, default=50)
    parser.add_argument("--dims", type=int, nargs="+", default=[256, 2048])
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    times, speeds = Table(title=f"n = {options.n:,}, k = {options.k}, seconds; MB sent per rank"), Table(title="rates")
    for column in ("d", "ranks", "pass 1", "predicted", "pass 2", "predicted", "whole", "MB sent", "pred.", "on lo"):
        times.add_column(column, justify="right")
    for column in ("d", "ranks", "10^9 multiply-adds/s", "10^6 selected/s", "10^9 differences/s", "wire, MB/s"):
        speeds.add_column(column, justify="right")
    with tempfile.TemporaryDirectory() as folder:
        for ranks in options.ranks:
            torch.multiprocessing.spawn(measure, (ranks, options, folder), nprocs=ranks)
        for dim in options.dims:
            for ranks in options.ranks:
                row = torch.load(f"{folder}/{ranks}-{dim}.pt")
                seconds = [f"{row[name]:.2f}" for name in ("first", "first predicted", "second", "second predicted")]
                sizes = [f"{row[name] / 1e6:.1f}" for name in ("sent", "sent predicted", "loopback per rank")]
                times.add_row(f"{dim:,}", str(ranks), *seconds, f"{row['whole']:.2f}", *sizes)
                speeds.add_row(
                    f"{dim:,}",
                    str(ranks),
                    f"{1e-9 / row['product']:.1f}",
                    f"{1e-6 / row['selection']:.0f}",
                    f"{1e-9 / row['difference']:.2f}",
                    f"{1e-6 / row['wire']:.0f}" if ranks > 1 else "",
                )
                if row["double"]:
                    times.caption = f"float64 pass at d = {dim}, {ranks} ranks: {row['double']:.2f} s"
    console = Console(width=110)
    console.print(times)
    console.print(speeds)


if __name__ == "__main__":
    main()
