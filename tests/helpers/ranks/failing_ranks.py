"""Run by test_failing_ranks.py as one of two gloo ranks, of which rank 1 fails, dies or stops in each stage of a graph.

python tests/helpers/ranks/failing_ranks.py RANK FOLDER fails|dies|stops
"""

import json
import os
import sys
import time
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
import torch.distributed as dist

from rra_monitor.capture.memory import is_out_of_memory
from rra_monitor.graph import distributed, knn_graph, ring, ring_passes, ring_sizes

STAGES = {
    "facts": (distributed, "real_tensor", RuntimeError("injected")),
    "ring": (ring.Ring, "over", MemoryError()),
    "mean": (distributed, "wire_of", RuntimeError("injected")),
    "spread": (distributed, "_spread", torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")),
    "shortlist": (ring_passes, "merged", RuntimeError("injected")),
    "differences": (ring_passes, "pair_differences", OSError("injected")),
    "double": (ring_passes, "cancelling", RuntimeError("injected")),
    "order": (distributed, "in_order", KeyError("injected")),
    "check": (ring_passes, "squares", RuntimeError("injected")),
    "counts": (distributed, "_counts", RuntimeError("injected")),
    "result": (distributed, "ShardedGraph", MemoryError("Unable to allocate 4.00 TiB for an array")),
}
"""Stage to the function that fails in it, and its error."""


def later(original, fault):
    """The function, that ends with the fault at its second call, in the middle of a pass, or at the only one."""
    calls = iter(range(1000))

    def call(*arguments, **named):
        if next(calls) == (1 if original.__name__ in ("merged", "squares") else 0):
            fault()
        return original(*arguments, **named)

    return call


def main():
    rank, folder, how = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(1)
    seconds = 300 if how == "fails" else 5
    store = dist.FileStore(str(folder / "store"), 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=seconds))
    # Half of them lie at one point, so that products do not decide.
    points = np.random.default_rng(rank).normal(size=(60, 24)).astype(np.float32)
    points[::2] = 1 + 1e-8 * points[::2]
    shard = torch.from_numpy(points)

    def graph():
        return knn_graph(shard, 5, group=dist.group.WORLD)

    def failed(module, name, fault):
        replaced = later(getattr(module, name), fault) if rank == 1 else getattr(module, name)
        started = time.monotonic()
        with patch.object(module, name, replaced):
            try:
                graph()
            except Exception as error:
                text = f"{type(error).__name__}: {error}"
                cause = type(error.__cause__).__name__
                return [text, cause, is_out_of_memory(error), time.monotonic() - started]
        return ["none", "", False, 0.0]

    with patch.dict(ring_sizes.BLOCK_BYTES, cpu=1_000):
        expected = graph()
        if how == "fails":

            def fault_of(error):
                def fault():
                    raise error

                return fault

            found = {name: failed(module, which, fault_of(error)) for name, (module, which, error) in STAGES.items()}
            found["afterwards"] = bool((graph().indices == expected.indices).all())
        else:
            fault = (lambda: os._exit(3)) if how == "dies" else (lambda: time.sleep(60))
            found = failed(ring_passes, "merged", fault)
    (folder / f"{rank}.json").write_text(json.dumps(found))
    if how == "fails":
        dist.destroy_process_group()
    else:
        os._exit(0)  # the group is broken, nothing is left to end in order


if __name__ == "__main__":
    main()
