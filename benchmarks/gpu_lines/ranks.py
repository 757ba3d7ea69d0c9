"""Lines about several processes: a group of one rank, over NCCL on a GPU, measures what a process alone does."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torchvision.models.resnet import BasicBlock, ResNet

import rra_monitor as rra

from .bench import Bench, Row, in_units


def of_one(bench: Bench) -> Iterator[Row]:
    torch.manual_seed(0)
    n, side = (60, 32) if bench.tiny else (2000, 64)
    network = ResNet(BasicBlock, [1, 1, 1, 1]).to(bench.device)
    images, labels = torch.randn(n, 3, side, side), torch.arange(n) % 10
    monitor = rra.Monitor({"p": rra.FixedSample.from_tensors(images, labels)})
    with _group(bench) as group:
        distributed = DistributedDataParallel(network)
        found = {
            "alone": lambda: monitor.measure(network, step=0, epoch=0)["p"],
            "the group": lambda: monitor.measure(distributed, step=0, epoch=0, group=group)["p"],
        }
        alone, together = (measure() for measure in found.values())
        seconds = {name: bench.seconds(measure, 3) for name, measure in found.items()}
    title = f"snapshot of a ResNet10 at {side} px, n = {n:,}, by a group of one rank ({_backend(bench)})"
    other = max(
        float((together.graphs[layer].indices != graph.indices).mean()) for layer, graph in alone.graphs.items()
    )
    ties = max(float(alone.ties.max()), float(together.ties.max()))
    bar = max(1e-4, ties)
    yield Row(f"{title}: neighbours that differ", in_units(other, ""), f"at most {bar:.2g}", other <= bar, other)
    apart = float(np.nanmax(np.abs(together.id / alone.id - 1)))
    yield bench.at_most(f"{title}: ID apart", apart, 1e-5, "", timed=False)
    for name, taken in seconds.items():
        yield Row(f"{title}: time of {name}", in_units(taken, "s"), value=taken)


def _backend(bench: Bench) -> str:
    return "nccl" if bench.on_gpu else "gloo"


@contextmanager
def _group(bench: Bench) -> Iterator[dist.ProcessGroup]:
    if bench.on_gpu:
        torch.cuda.set_device(0)
    with tempfile.TemporaryDirectory() as folder:
        dist.init_process_group(_backend(bench), init_method=f"file://{folder}/store", rank=0, world_size=1)
        try:
            yield dist.new_group()
        finally:
            dist.destroy_process_group()
