"""Lines about a snapshot of a ResNet50 at 224 pixels in mixed precision: its memory, and what is announced of it."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

import rra_monitor as rra

from .bench import Bench, Row, in_units

GIB = 1 << 30


def snapshot(bench: Bench) -> Iterator[Row]:
    network, sample, side = _subject(bench, 2000)
    n = sample.n
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


def announced(bench: Bench) -> Iterator[Row]:
    network, sample, side = _subject(bench, 500)
    monitor = rra.Monitor({"p": sample}, forward=_in_bfloat16(bench))
    estimate = monitor.plan(network)["p"].seconds
    seconds = bench.seconds(lambda: monitor.measure(network, step=0, epoch=0), 3)
    title = (
        f"snapshot of a ResNet50 at {side} px, n = {sample.n:,}: announced and taken time, the longer over the shorter"
    )
    off = max(estimate / seconds, seconds / estimate)
    yield bench.at_most(title, off, 2, "", announced=estimate, taken=seconds)


def _subject(bench: Bench, n: int) -> tuple[nn.Module, rra.FixedSample, int]:
    """A network, a sample of random images, and the side of these."""
    torch.manual_seed(0)
    network = ResNet(BasicBlock, [1, 1, 1, 1]) if bench.tiny else ResNet(Bottleneck, [3, 4, 6, 3])
    n, side = (40, 32) if bench.tiny else (n, 224)
    sample = rra.FixedSample.from_tensors(torch.randn(n, 3, side, side), torch.arange(n) % 10)
    return network.to(bench.device), sample, side


def _in_bfloat16(bench: Bench) -> Callable[[nn.Module, Any], Any]:
    def forward(model: nn.Module, batch: Any) -> Any:
        with torch.autocast(bench.device.type, torch.bfloat16):
            return model(batch)

    return forward


def measured(bench: Bench, network: nn.Module, sample: rra.FixedSample, options: dict[str, Any]) -> tuple[float, int]:
    """Seconds of a snapshot, and the bytes that it took beyond what was allocated before."""
    monitor = rra.Monitor({"p": sample}, forward=_in_bfloat16(bench), **options)
    before = 0
    if bench.on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    seconds = bench.seconds(lambda: monitor.measure(network, step=0, epoch=0), 1, warm=False)
    return seconds, torch.cuda.max_memory_allocated() - before if bench.on_gpu else 0
