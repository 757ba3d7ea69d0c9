"""Trial: where the time of a graph and of a snapshot goes on the card, and how long the card waits."""

from collections.abc import Callable, Iterator

import torch
from torch.profiler import ProfilerActivity, profile

import rra_monitor as rra
from rra_monitor.nn import resnet20

from .bench import Bench, Row, shape_text

GRAPHS = ((20_000, 1024, 2), (15_000, 16_384, 150), (2000, 16_384, 20))
SHOWN = 6
"""Kernels that are named, those that take longest."""


def profiles(bench: Bench) -> Iterator[Row]:
    for n, dim, k in [(100, 32, 5)] if bench.tiny else GRAPHS:
        points = bench.cloud(n, dim)
        title = f"trial {shape_text(n, dim, k)}: kernels of our graph"
        yield profiled(bench, title, lambda x=points, k=k: rra.knn_graph(x, k, "exact"))
        del points
    n, k, side = (60, 5, 8) if bench.tiny else (2000, 20, 32)
    sample = rra.FixedSample.from_tensors(torch.randn(n, 3, side, side), torch.arange(n) % 10)
    monitor, network = rra.Monitor({"p": sample}, k=k, batch_size=500), resnet20().to(bench.device)
    title = f"trial snapshot of ResNet20, n = {n:,}, k = {k}: kernels"
    yield profiled(bench, title, lambda: monitor.measure(network, step=0, epoch=0))


def profiled(bench: Bench, title: str, call: Callable[[], object]) -> Row:
    """Milliseconds as measured without the profiler, those on the card, and its longest kernels."""
    wall = bench.milliseconds(call, 3)
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if bench.on_gpu else [])]
    with profile(activities=kinds) as found:
        call()
        bench.wait()
    times = {}
    for event in found.key_averages():
        on_card = str(event.device_type).endswith("CUDA") if bench.on_gpu else True
        taken = event.self_device_time_total if bench.on_gpu else event.self_cpu_time_total
        if on_card and taken > 0:
            times[event.key] = times.get(event.key, 0.0) + taken / 1e3
    longest = sorted(times.items(), key=lambda item: -item[1])
    words = "; ".join(f"{taken:.2f} {name[:60]}" for name, taken in longest[:SHOWN])
    total = sum(times.values())
    text = f"{wall:.1f} ms, {total:.1f} ms of it on the card: {words}"
    return Row(title, text, value=total, details={"wall": wall, "kernels": dict(longest[:40])})
