"""Run by test_budget_ranks.py as one of several gloo ranks: what a graph takes beyond the shard, at its peak.

python tests/helpers/ranks/budget_ranks.py RANK RANKS FOLDER N D BUDGET

With 2,000 samples of 50,000 features on two ranks and a budget of 67,108,864 it takes minutes.
"""

import json
import sys
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from rra_monitor.graph import knn_graph


def resident(name):
    """Bytes of this process in main memory: "VmRSS" now, "VmHWM" at the peak since it was last forgotten."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])


def main():
    rank, ranks, folder, n, dim, budget = (int(each) if each.isdigit() else each for each in sys.argv[1:])
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store", ranks)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=ranks, timeout=timedelta(minutes=5))
    shard = torch.randn(n // ranks, dim, generator=torch.Generator().manual_seed(rank))
    shard[::2] *= 1e-8  # half of them lie at one point, so that all passes are needed
    shard[1::2] += 1
    knn_graph(shard[:50, :500], 5, group=dist.group.WORLD)  # compiles
    found = {}
    for name, memory_budget in (("budget", budget if rank == 0 else 2 * budget), ("default", None)):
        before = resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak
        started = time.monotonic()
        graph = knn_graph(shard, 20, group=dist.group.WORLD, memory_budget=memory_budget)
        found[name] = {"seconds": time.monotonic() - started, "bytes": resident("VmHWM") - before}
        np.save(f"{folder}/{rank} {name}.npy", graph.indices)
    Path(f"{folder}/{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
