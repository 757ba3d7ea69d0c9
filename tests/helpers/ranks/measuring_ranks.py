"""Rank 0 of two alone measures a network that is trained on both; run as `measuring_ranks.py RANK FOLDER`."""

import json
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import rra_monitor as rra


class Pair(nn.Module):
    """Two networks, each distributed by itself."""

    def __init__(self, first, second):
        super().__init__()
        self.first, self.second = DistributedDataParallel(first), DistributedDataParallel(second)

    def forward(self, x):
        return self.first(x) + self.second(x)


def network():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))


def main(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    torch.manual_seed(0)
    images = torch.randn(120, 1, 8, 8)
    sample = rra.FixedSample.from_tensors(images, torch.arange(120) % 3)
    ways = {
        "alone": (DistributedDataParallel(network()), {}),
        "by the names in the wrapper": (DistributedDataParallel(network()), {"layers": ["module.0", "module.4"]}),
        "by a forward of ones own": (
            DistributedDataParallel(network()),
            {"layers": ["1"], "forward": lambda model, batch: model(batch) + model.module(batch)},
        ),
        "as parts of a network": (Pair(network(), network()), {"layers": ["first.module.1"]}),
    }
    found = {}
    for name, (model, options) in ways.items():
        monitor = rra.Monitor({"p": sample}, **options)
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
        for epoch in range(2):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(images[rank::2]), torch.arange(120)[rank::2] % 3).backward()
            optimiser.step()
            if rank == 0:
                found[name] = monitor.measure(model, step=epoch, epoch=epoch)["p"].layers
        found[f"{name}, weights"] = [float(each.detach().double().sum()) for each in model.parameters()]
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
