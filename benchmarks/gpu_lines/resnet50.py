"""Lines about memory: a snapshot of a ResNet50 at 224 pixels in mixed precision."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

import rra_monitor as rra

from .bench import Bench, Row, in_units

GIB = 1 << 30


def snapshot(bench: Bench) -> Iterator[Row]:
    torch.manual_seed(0)
    network = ResNet(BasicBlock, [1, 1, 1, 1]) if bench.tiny else ResNet(Bottleneck, [3, 4, 6, 3])
    network = network.to(bench.device)
    n, side = (40, 32) if bench.tiny else (2000, 224)
    sample = rra.FixedSample.from_tensors(torch.randn(n, 3, side, side), torch.arange(n) % 10)
    if not bench.tiny:
        measured(bench, network, sample.head(100), {})  # libraries take their workspace
    title = f"snapshot of a ResNet50 at {side} px, n = {n:,}, bf16-mixed"
    for name, options in {"the default budget": {}, "a budget of 1 GiB": {"memory_budget": GIB}}.items():
        seconds, taken = measured(bench, network, sample, options)
        bars = not options
        if not bench.on_gpu:
            yield Row(f"{title}, {name}: memory beyond the model", "needs a CUDA device")
        elif bars:
            yield bench.at_most(f"{title}, {name}: memory beyond the model", taken / GIB, 4.5, "GiB")
        else:
            yield Row(f"{title}, {name}: memory beyond the model", in_units(taken / GIB, "GiB"), value=taken / GIB)
        if bars:
            yield bench.at_most(f"{title}, {name}: time", seconds, 5, "s")
        else:
            yield Row(f"{title}, {name}: time", in_units(seconds, "s"), value=seconds)


def measured(bench: Bench, network: nn.Module, sample: rra.FixedSample, options: dict[str, Any]) -> tuple[float, int]:
    """Seconds of a snapshot, and the bytes that it took beyond what was allocated before."""

    def in_bfloat16(model: nn.Module, batch: Any) -> Any:
        with torch.autocast(bench.device.type, torch.bfloat16):
            return model(batch)

    monitor = rra.Monitor({"p": sample}, forward=in_bfloat16, **options)
    before = 0
    if bench.on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    seconds = bench.seconds(lambda: monitor.measure(network, step=0, epoch=0), 1, warm=False)
    return seconds, torch.cuda.max_memory_allocated() - before if bench.on_gpu else 0
