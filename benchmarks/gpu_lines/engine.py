"""Lines about the certificate of graphs on the device, and trials of what each of its steps costs there."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from unittest.mock import patch

import torch

import rra_monitor as rra
from rra_monitor.graph import bounds, distances, on_device, smallest, tensor_cores
from rra_monitor.graph.points import Points
from rra_monitor.graph.precision import full_precision
from tests.helpers.clouds import TIED, cloud_of, clusters

from .bench import Bench, Row, shape_text
from .correctness import clouds, deviations, true_distances
from .graphs import TABLE

SUMS = (1000, 4096, 16_384, 65_536)
"""Numbers of terms of a sum."""

CHUNKS = (128, 256, 512, 1024, 4096)
"""Features that are read together."""


def certificate(bench: Bench) -> Iterator[Row]:
    """Rows that the certificate leaves open, and rows that it covers although they are wrong."""
    found = smallest.kernels_for(torch.zeros(1, device=bench.device).device) is not None
    yield Row("Triton kernels of graphs", "compiled" if found else "none", "compiled", found if bench.on_gpu else None)
    wrong = rows = 0
    left = [0, 0]
    for _, points in clouds(bench):
        for k in (2, 5) if bench.tiny else (2, 20):
            certain, open_rows, wrong_here = covered(bench, points, k, true_distances(points))
            rows, wrong = rows + certain, wrong + wrong_here
            left = [a + len(b) for a, b in zip(left, open_rows, strict=True)]
    text = "wrong rows among those that the certificate covers, adversarial clouds"
    yield bench.at_most(text, wrong, 0, "", timed=False, covered=rows, open_after=left)
    yield Row("rows of adversarial clouds that go on", f"{left[0]:,}, then {left[1]:,}; {rows:,} are covered")
    for name, points, k in [*shapes(bench), *narrow(bench)]:
        with interpreted(bench), full_precision(points.device):
            kept = Points(points)
            _, _, (first, second) = tensor_cores.in_half(kept, k, on_device.block_bytes(kept.device))
        title = f"graph {shape_text(*points.shape, k)}{name}: rows that go on"
        yield Row(title, f"{len(first):,}, then {len(second):,} of {len(points):,}", value=len(second) / len(points))


def sums(bench: Bench) -> Iterator[Row]:
    """Sums of products on the device against float64, in units of their bound."""
    for terms in (64,) if bench.tiny else SUMS:
        values = torch.rand(512, terms, generator=torch.Generator(bench.device).manual_seed(0), device=bench.device)
        worst = 0.0
        # All roundings and cuts go the same way where all terms have one sign.
        for cloud in (values + 1, values, torch.ones_like(values) + 2.0**-10, (values - 0.5) * 2):
            half = (cloud * 2.0**14).half()
            double = half.double()
            exact = double @ double.T
            lengths = double.norm(dim=1)
            error = (tensor_cores._products(half, half).double() - exact).abs() / (lengths[:, None] * lengths)
            worst = max(worst, float(error.max()))
        bound = bounds.tensor_core_error(terms)
        title = f"error of a sum of {terms:,} products over its bound"
        yield bench.at_most(title, worst / bound, 1.0, "", timed=False, error=worst, bound=bound)


def without_kernels(bench: Bench) -> Iterator[Row]:
    """The same graphs where Triton cannot compile."""
    wrong, worst = 0, 0.0
    with twins():
        for _, points in [*clouds(bench)][::5]:
            count, error = deviations(rra.knn_graph(points, 10, "exact"), true_distances(points))
            wrong, worst = wrong + count, max(worst, error)
    yield bench.at_most("wrong rows of graphs without Triton", wrong, 0, "", timed=False)
    yield bench.at_most("largest error of r1 and r2 in them", worst, TIED, "", timed=False)


def steps(bench: Bench) -> Iterator[Row]:
    """Milliseconds of each step, one after the other, and of the differences by the width of a chunk."""
    for _, points, k in shapes(bench):
        title = f"trial {shape_text(*points.shape, k)}"
        with interpreted(bench), full_precision(points.device):
            kept, block = Points(points), on_device.block_bytes(points.device)
            wanted = min(len(points) - 1, k + tensor_cores.MARGINS[0] + k // tensor_cores.SHARE)
            rounded = tensor_cores.Rounded.of(kept, block)
            rows = torch.arange(len(points), device=points.device)
            some = rows[: max(1, block // (4 * len(points)))]
            share = len(points) / len(some)
            table = tensor_cores._products(rounded.halves[some], rounded.halves)
            candidates = torch.randint(len(points), (len(points), wanted), device=points.device)
            squared, ids = on_device.neighbours(kept, k)
            parts = {
                "reading the features": lambda x=points: Points(x).centre,
                "rounding": lambda x=kept, b=block: tensor_cores.Rounded.of(x, b),
                "all neighbours": lambda x=kept, k=k: on_device.neighbours(x, k),
                "the check": lambda x=kept, i=ids, k=k: on_device._wrong_rows(x, i[:, :k], 4),
                "to the host, with the check": lambda x=kept, s=squared, i=ids, k=k: on_device._graph_of(x, s, i, k, 4),
            }
            for name, call in parts.items():
                yield timed(f"{title}: {name}", bench.milliseconds(call, 3))
            taken = bench.milliseconds(lambda h=rounded.halves, s=some: tensor_cores._products(h[s], h), 3)
            yield timed(f"{title}: products", taken * share)
            # What it overwrites without kernels is as fast to rank again.
            taken = bench.milliseconds(
                lambda t=table, r=rounded.norms, s=some, w=wanted: smallest.smallest(t, r, s, w), 3
            )
            yield timed(f"{title}: selection", taken * share)
            for chunk in CHUNKS[:1] if bench.tiny else CHUNKS:
                if chunk > 2 * points.shape[1]:
                    continue
                with patch.object(distances, "_cached_features", lambda points, c=chunk: c):
                    taken = bench.milliseconds(
                        lambda x=kept, r=rows, c=candidates: distances.squared_differences(x, r, c), 3
                    )
                yield timed(f"{title}: differences, {chunk} features at a time", taken)


def timed(line: str, milliseconds: float) -> Row:
    return Row(line, f"{milliseconds:.3g} ms", value=milliseconds)


def shapes(bench: Bench) -> Iterator[tuple[str, torch.Tensor, int]]:
    for n, dim, k in [(96, 32, 3)] if bench.tiny else TABLE:
        yield "", bench.cloud(n, dim), k


def narrow(bench: Bench) -> Iterator[tuple[str, torch.Tensor, int]]:
    """Narrow classes, in which distances hardly differ."""
    n, dim, k = (96, 32, 3) if bench.tiny else (10_000, 512, 100)
    for spread in (1.0, 3.0, 10.0, 100.0):
        cloud = cloud_of(clusters, 0, n, dim, 10, spread)
        yield f" clusters, spread {spread:g}", torch.from_numpy(cloud).to(bench.device), k


def covered(
    bench: Bench, points: torch.Tensor, k: int, true: torch.Tensor
) -> tuple[int, tuple[torch.Tensor, torch.Tensor], int]:
    """Rows that the certificate covers, the rows that it leaves open, and covered ones with a wrong neighbour."""
    with interpreted(bench), full_precision(points.device):
        kept = Points(points)
        _, ids, left = tensor_cores.in_half(kept, k, on_device.block_bytes(kept.device))
    certain = torch.ones(len(points), dtype=torch.bool, device=points.device)
    certain[left[1]] = False
    kth = true.kthvalue(k, dim=1).values
    wrong = true.gather(1, ids[:, :k]).amax(dim=1) > kth * (1 + TIED)
    return int(certain.sum()), left, int((wrong & certain).sum())


def interpreted(bench: Bench) -> AbstractContextManager[object]:
    """No kernels at tiny size, where Triton's interpreter takes seconds."""
    return twins() if bench.tiny else nullcontext()


def twins() -> ExitStack:
    """No kernels, but what stands in for them."""
    stack = ExitStack()
    for module in (smallest, distances, tensor_cores):
        stack.enter_context(patch.object(module, "kernels_for", lambda device: None))
    return stack
