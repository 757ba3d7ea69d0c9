"""Run by test_sharing.py as one of several gloo ranks that measure together: `sharing_ranks.py RANK RANKS FOLDER`."""

import json
import sys
import warnings
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import rra_monitor as rra
from tests.helpers.ranks.start import SHARDS_ON_A_CPU

N = 121
"""A prime square: shares are uneven for two ranks and for four."""


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()),
        nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Dropout(0.2)),
        nn.Flatten(),
        nn.Linear(144, 3),
    )


def images(n=N):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, 1, 8, 8, generator=generator), torch.arange(n) % 3


def sample(n=N):
    return rra.FixedSample.from_tensors(*images(n))


def spread(features):
    """A user's quantity of features."""
    return float(features.double().std())


def nearest(graph, labels):
    """A user's quantity of graphs, which looks at single samples."""
    return float(graph.distances[5, 0])


def apart(graphs):
    """A user's quantity of pairs of graphs."""
    return np.array([[float((one.indices != other.indices).mean()) for other in graphs] for one in graphs])


OWN = [
    rra.Quantity("spread", spread, of="features"),
    rra.Quantity("nearest", nearest),
    rra.Quantity("apart", apart, of="graph pairs"),
]

CASES = {
    "plain": {},
    "views": {"views": ("full", "avg2", "avg-global")},
    "quantities": {"quantities": ["effective_rank", "knn_accuracy", *OWN], "cka": True},
    "small batches": {"batch_size": 7},
    "small budget": {"memory_budget": 150_000},
    "censored": {"estimator": "censored"},
}


def numbers(snapshot):
    """Everything that a snapshot says, as plain values."""
    return {
        "layers": snapshot.layers,
        "curves": {name: curve.tolist() for name, curve in snapshot.curves.items()},
        "matrices": {name: matrix.tolist() for name, matrix in snapshot.matrices.items()},
        "indices": {layer: graph.indices.tolist() for layer, graph in snapshot.graphs.items()},
        "aliases": dict(snapshot.aliases),
    }


def step(model, optimiser, rank, ranks):
    inputs, labels = images()
    optimiser.zero_grad()
    nn.functional.cross_entropy(model(inputs[rank::ranks]), labels[rank::ranks]).backward()
    optimiser.step()


def trained(rank, ranks, watched, group):
    """The weights after three steps, and what was measured after each, with the number of samples passed for it."""
    counted = [0]

    def forward(model, batch):
        counted[0] += len(batch)
        return model(batch)

    monitor = rra.Monitor({"p": sample()}, forward=forward) if watched else None
    model = DistributedDataParallel(network())
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    found, passed = [], []
    torch.manual_seed(7 + rank)  # dropout draws from it
    for epoch in range(3):
        step(model, optimiser, rank, ranks)
        before = counted[0]
        if monitor is not None:
            found.append(monitor.measure(model, step=epoch, epoch=epoch, group=group)["p"])
            passed.append(counted[0] - before)
    if monitor is not None:
        found.append(monitor.measure(model, step=epoch, epoch=epoch)["p"])  # each rank alone
    return [float(each.detach().double().sum()) for each in model.parameters()], found, passed


def main(rank, ranks, folder):
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=ranks, timeout=timedelta(seconds=60)
    )
    group = dist.new_group(timeout=timedelta(seconds=60))
    found = {}
    for name, options in CASES.items():
        snapshot = rra.Monitor({"p": sample()}, **options).measure(network(), step=0, epoch=0, group=group)["p"]
        found[name] = numbers(snapshot)
    few = rra.Monitor({"p": sample(3)}, k=2).measure(network(), step=0, epoch=0, group=group)["p"]
    found["three samples"] = numbers(few)
    weights, snapshots, passed = trained(rank, ranks, True, group)
    found["trained"] = {"weights": weights, "passed": passed, "last": numbers(snapshots[-2])}
    found["trained"]["by itself"] = numbers(snapshots[-1])
    found["trained alone"] = {"weights": trained(rank, ranks, False, group)[0]}
    found["failing"] = failing(rank, group)
    found["refused"] = refused(rank, ranks, group)
    found["halved"] = halved(rank, group)
    if SHARDS_ON_A_CPU:
        found["sharded"] = sharded(rank, ranks, group)
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()


def failing(rank, group):
    """What a failure on the last rank alone costs: each kind once, then a snapshot without one."""
    kinds = {
        "in a pass": RuntimeError("bad luck"),
        "out of memory": torch.OutOfMemoryError("CUDA out of memory"),
        "memory": MemoryError("no memory"),
        "a key": KeyError("lost"),
    }
    last = dist.get_world_size(group) - 1
    pending, said, model = [], {}, network()

    def forward(model, batch):
        if pending and rank == last:
            raise pending[0]
        return model(batch)

    # One sample in a batch, so that halving it helps no rank out of its memory.
    monitor = rra.Monitor({"p": sample()}, forward=forward, on_error="warn", batch_size=1)
    monitor.measure(model, step=0, epoch=0, group=group)
    for name, error in kinds.items():
        pending[:] = [error]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            broken = monitor.measure(model, step=1, epoch=1, group=group)
        pending.clear()
        whole = monitor.measure(model, step=2, epoch=2, group=group)
        said[name] = {
            "warned": [str(each.message) for each in caught],
            "probes": [list(broken), list(whole)],
        }
    return said


def refused(rank, ranks, group):
    """The errors of ranks that ask for different things."""
    later = rank == ranks - 1
    asked = {
        "probe": lambda: rra.Monitor({"p": sample(N - later)}),
        "content": lambda: rra.Monitor({"p": rra.FixedSample.from_tensors(images()[0] + later, images()[1])}),
        "name": lambda: rra.Monitor({f"p{int(later)}": sample()}),
        "views": lambda: rra.Monitor({"p": sample()}, views=("full", "avg2") if later else ("full",)),
        "k": lambda: rra.Monitor({"p": sample()}, k=4 + later),
        "layers": lambda: rra.Monitor({"p": sample()}, layers=["3"] if later else ["0", "3"]),
    }
    found = {}
    for name, made in asked.items():
        try:
            made().measure(network(), step=0, epoch=0, group=group)
            found[name] = None
        except ValueError as error:
            found[name] = str(error)
    other = network()
    with torch.no_grad():
        other[3].bias += int(later)
    try:
        rra.Monitor({"p": sample()}).measure(other, step=0, epoch=0, group=group)
    except ValueError as error:
        found["weights"] = str(error)
    try:
        rra.Monitor({"p": sample()}).measure(network(), step=int(later), epoch=0, group=group)
    except ValueError as error:
        found["step"] = str(error)
    return found


def halved(rank, group):
    """A snapshot for which the batches of one rank do not fit in memory."""

    def forward(model, batch):
        if rank == 1 and len(batch) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return model(batch)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        monitor = rra.Monitor({"p": sample()}, forward=forward)
        found = monitor.measure(network(), step=0, epoch=0, group=group)["p"]
    return {"numbers": numbers(found), "warned": [str(each.message) for each in caught]}


def in_shards():
    """The network, whose parameters lie on all ranks."""
    model = network().eval()
    for layer in (model[0], model[1]):
        fully_shard(layer)
    return fully_shard(model)


def sharded(rank, ranks, group):
    """What is measured of a sharded network, and what a failure on the last rank costs it."""
    last, pending = ranks - 1, []

    def forward(model, batch):
        if pending and rank == last:
            raise pending.pop()
        return model(batch)

    model = in_shards()
    monitor = rra.Monitor({"p": sample()}, forward=forward, on_error="warn", batch_size=16)
    plan = monitor.plan(model, group)["p"]
    first = monitor.measure(model, step=0, epoch=0, group=group)["p"]
    pending.append(RuntimeError("bad luck"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        broken = monitor.measure(model, step=1, epoch=1, group=group)
    again = monitor.measure(model, step=2, epoch=2, group=group)["p"]
    few = rra.Monitor({"p": sample(3)}, k=2).measure(model, step=0, epoch=0, group=group)["p"]
    kinds = {type(each).__name__ for each in model.parameters()}
    return {
        "plan": [layer.name for layer in plan.layers],
        "numbers": numbers(first),
        "again": numbers(again),
        "three samples": numbers(few),
        "broken": list(broken),
        "warned": [str(each.message) for each in caught],
        "parameters": sorted(kinds),
    }


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
