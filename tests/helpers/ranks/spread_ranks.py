"""Run by test_spread.py as one of two gloo ranks: networks that are spread over both, measured and trained.

python tests/helpers/ranks/spread_ranks.py RANK FOLDER
"""

import json
import sys
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from rra_monitor import FixedSample
from rra_monitor.capture.features import collect, find_layers
from rra_monitor.capture.outputs import dense
from rra_monitor.capture.spread import is_sharded, is_tensor_parallel
from rra_monitor.capture.together import entered_together
from rra_monitor.capture.undisturbed import undisturbed
from rra_monitor.capture.units import is_flat, is_sharded_flat, parameter_groups, sharded_units
from tests.helpers.ranks.start import SHARDS_ON_A_CPU

ROWS = torch.randn(12, 8, generator=torch.Generator().manual_seed(0))
SAMPLE = FixedSample.from_tensors(ROWS, torch.arange(12) % 2)


class Served(BaseException):
    """Ends a pass that has given all that was asked of it."""


class Block(nn.Module):
    """A residual block that counts the calls of all blocks, and raises an error in one of them."""

    ran, failing, error = 0, None, None

    def __init__(self, width):
        super().__init__()
        self.inner, self.outer, self.norm = nn.Linear(8, width), nn.Linear(width, 8), nn.BatchNorm1d(8)
        self.calls = 0

    def forward(self, x):
        Block.ran += 1
        self.calls += 1
        if Block.ran == Block.failing:
            raise Block.error
        return self.norm(x + self.outer(self.inner(x).relu()))


class Net(nn.Module):
    """Blocks of several widths that do not run in the order of their names."""

    def __init__(self):
        super().__init__()
        self.late, self.early = Block(24), Block(16)
        self.mid = nn.ModuleList([Block(32), Block(40)])
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = self.early(x)
        for block in self.mid:
            x = block(x)
        return self.head(self.late(x))


def plain():
    torch.manual_seed(0)
    return Net()


def by_module(mesh):
    """A function that shards a module by `fully_shard`."""
    return partial(fully_shard, mesh=mesh)


def flat(_mesh):
    """A function that shards a module by `FullyShardedDataParallel`."""
    return partial(FullyShardedDataParallel, device_id=torch.device("cpu"))


def sharded(shard):
    """The network with a unit for each block, or for two of them together where that can be, and one for all."""
    net = plain()
    for name in ("late", "early"):
        setattr(net, name, shard(getattr(net, name)))
    if isinstance(net.early, FullyShardedDataParallel):
        net.mid = nn.ModuleList(map(shard, net.mid))
    else:
        net.early.set_reshard_after_forward(False)
        shard(list(net.mid))
    return shard(net)


def gathered_units(model):
    """The number of units whose parameters are not sharded, and that of passes which they have on record."""
    units = sharded_units(model)
    if is_flat(units[0]):
        known = [unit for unit in units if getattr(unit._handle, "_post_forward_index", None) is not None]
        return [sum(not is_sharded_flat(unit) for unit in units), len(known)]
    groups = [group for unit in units for group in parameter_groups(unit)]
    return [sum(group.is_unsharded for group in groups), sum(len(group._post_forward_indices) for group in groups)]


def trained(shard, rank, measured):
    """Weights of this rank after a training, and what its measurements found; some of them fail on rank 1 alone."""
    model, said = sharded(shard), []
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    batches = torch.Generator().manual_seed(rank)
    # Step to the number of a block's call, of which there are four in a pass: in the first, the second, or none.
    failing = {1: 3, 2: 5} if rank == 1 else {3: 6}
    raised = RuntimeError("this rank is out of luck") if rank == 1 else Served()
    for step in range(4):
        if measured:
            Block.ran, Block.failing, Block.error = 0, failing.get(step), raised
            try:
                with undisturbed(model), entered_together(model, 3) as end_pass:
                    for _ in range(2 if rank == 1 and step == 3 else 3):
                        with suppress(Served):
                            model(ROWS[:4])
                        end_pass()
                said.append("measured")
            except RuntimeError as error:
                said.append(str(error))
            Block.failing = None
            said.append(gathered_units(model))
        loss = model(torch.randn(4, 8, generator=batches)).square().mean()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    weights = [getattr(each, "_local_tensor", each).detach().clone() for each in model.parameters()]
    return weights, said


def failing_at_once(shard, rank):
    """What a measurement finds whose very first pass fails on rank 1, and whether a training goes on after it."""
    torch.manual_seed(0)
    model = shard(nn.Sequential(shard(Block(16)), shard(Block(24)), shard(Block(32))))
    Block.ran, Block.failing, Block.error = 0, 1 if rank == 1 else None, RuntimeError("at once")
    try:
        with undisturbed(model), entered_together(model, 2) as end_pass:
            for _ in range(2):
                model(ROWS[:4])
                end_pass()
        said = "measured"
    except RuntimeError as error:
        said = str(error)
    Block.failing, gathered = None, gathered_units(model)
    for _ in range(2):
        loss = model(ROWS[:4]).square().mean()
        loss.backward()
    return [said, gathered, bool(loss.isfinite())]


def sharding(shard, rank):
    alone, _ = trained(shard, rank, measured=False)
    beside, said = trained(shard, rank, measured=True)
    model = sharded(shard)
    layers = find_layers(model, SAMPLE, ["early", "mid.0", "late", "head"])
    own = slice(0, 7) if rank == 0 else slice(7, 12)
    sample = FixedSample.from_tensors(ROWS[own], torch.arange(12)[own] % 2)
    found = collect(model, sample, layers)
    expected = collect(plain(), sample, layers)
    if rank == 0:
        with undisturbed(model):  # the other rank is not asked for anything
            pass
    return {
        "same weights": all(map(torch.equal, alone, beside)),
        "said": said,
        "failing at once": failing_at_once(shard, rank),
        "kind": [is_sharded(model), is_tensor_parallel(model)],
        "layers": [layer.name for layer in layers],
        "auto": [layer.name for layer in find_layers(model, SAMPLE)],
        "differ by": max(float((found[name] - expected[name]).abs().max()) for name in expected),
        "calls counted": sum(each.calls for each in model.modules() if isinstance(each, Block)),
    }


def layers_in_a_row():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 16), nn.LayerNorm(16), nn.Linear(16, 3))


def distributed_outputs(mesh, rank):
    """Rows of tensors that are distributed in several ways."""
    whole = torch.arange(24.0).reshape(4, 6)
    ways = {"rows": Shard(0), "features": Shard(1), "everywhere": Replicate()}
    found = {name: dense(distribute_tensor(whole, mesh, [way])) for name, way in ways.items()}
    found["sums"] = dense(DTensor.from_local(whole * rank, mesh, [Partial()]))
    return {name: type(value) is torch.Tensor and value.tolist() for name, value in found.items()}


def split(make, mesh, plan, layers="auto"):
    """What is watched of a network with layers that are split over the ranks, and how far its features are off."""
    said = []
    model = parallelize_module(make(), mesh, plan)
    before = [getattr(each, "_local_tensor", each).detach().clone() for each in model.parameters()]
    try:
        watched = find_layers(model, SAMPLE, layers, say=said.append)
    except ValueError as error:
        return {"refused": str(error)}
    found = collect(model, SAMPLE, watched)
    expected = collect(make(), SAMPLE, watched)
    after = [getattr(each, "_local_tensor", each).detach() for each in model.parameters()]
    return {
        "layers": [layer.name for layer in watched],
        "said": said,
        "differ by": max(float((found[name] - expected[name]).abs().max()) for name in expected),
        "same weights": all(map(torch.equal, before, after)),
        "kind": [is_sharded(model), is_tensor_parallel(model)],
    }


def both(mesh):
    """A network of one data-parallel rank and two tensor-parallel ones."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 16))
    parallelize_module(net, mesh["split"], {"0": ColwiseParallel(), "2": RowwiseParallel()})
    fully_shard(net, mesh=mesh["shard"])
    said = []
    layers = find_layers(net, SAMPLE, say=said.append)
    return {"kind": [is_sharded(net), is_tensor_parallel(net)], "layers": [each.name for each in layers], "said": said}


def main():
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / "store"), 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=30))
    mesh = init_device_mesh("cpu", (2,))
    plan = {"0": ColwiseParallel(), "2": RowwiseParallel()}
    tensors = {"0": ColwiseParallel(use_local_output=False), "2": RowwiseParallel()}
    found = {
        "flat": sharding(flat(mesh), rank),
        "split": split(layers_in_a_row, mesh, plan),
        "split, by name": split(layers_in_a_row, mesh, plan, ["1"]),
        "split, distributed tensors": split(layers_in_a_row, mesh, tensors, ["0", "1", "2"]),
        "outputs": distributed_outputs(mesh, rank),
    }
    if SHARDS_ON_A_CPU:
        found["by module"] = sharding(by_module(mesh), rank)
        found["sharded and split"] = both(init_device_mesh("cpu", (1, 2), mesh_dim_names=("shard", "split")))
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
