"""Trial: products fused with a filter by thresholds, and direct differences, as Triton kernels."""

import math
from collections.abc import Callable, Iterator

import torch

from .bench import Bench, Row, in_blocks, shape_text
from .formats import FORMATS
from .trials import MARGIN, STRIDE, direct, prepared, shapes, threshold_rank, trial

WAYS = {  # format, (rows, columns, features) of a block, warps, stages
    "float16, 128 x 128 x 64": ("float16", (128, 128, 64), 8, 4),
    "float16, 64 x 128 x 64": ("float16", (64, 128, 64), 4, 4),
    "float16, 64 x 256 x 64": ("float16", (64, 256, 64), 8, 3),
    "float16, 128 x 256 x 64": ("float16", (128, 256, 64), 8, 3),
    "TF32, 128 x 128 x 32": ("TF32", (128, 128, 32), 8, 3),
}
TINY_WAYS = {"float16, tiny": ("float16", (32, 32, 16), 4, 2), "TF32, tiny": ("TF32", (32, 32, 16), 4, 2)}

BARE = ((128, 128, 64), (128, 256, 64))
"""Blocks for which the kernel is timed without its writing, too."""

PROGRAMS = 400
"""Programs that fill a card about three times."""

Found = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def fused(bench: Bench) -> Iterator[Row]:
    for shape in shapes(bench):
        n, _, k = shape
        points = prepared(bench.cloud(*shape[:2]))
        norms, kept = points.square().sum(dim=1), min(k + MARGIN, n - 1)
        estimate = bench.milliseconds(lambda x=points, s=norms, m=kept: limits_of(x, s, m), 3)
        yield trial(*shape, "thresholds from every 16th column, float16", estimate)
        yield from filters(bench, shape, points, norms, limits_of(points, norms, kept))
        yield from differences(bench, shape, points)


def filters(
    bench: Bench, shape: tuple[int, int, int], points: torch.Tensor, norms: torch.Tensor, limits: torch.Tensor
) -> Iterator[Row]:
    from . import kernels  # Triton is no dependency, and is not everywhere

    n, _, k = shape
    kept = min(k + MARGIN, n - 1)
    some = torch.arange(0, n, max(1, n // 512), device=bench.device)
    expected = (norms - 2 * points[some].double() @ points.double().T).float()
    expected[torch.arange(len(some), device=bench.device), some] = torch.inf
    for name, (form, blocks, warps, stages) in (TINY_WAYS if bench.tiny else WAYS).items():
        operand, lift = FORMATS[form].sides(points)[0], FORMATS[form].lift
        splits = max(1, min(16, math.ceil(n / blocks[1]), math.ceil(PROGRAMS / math.ceil(n / blocks[0]))))
        room = 1 << (2 * threshold_rank(kept) * STRIDE // splits + 32).bit_length()

        def call(
            operand: torch.Tensor = operand,
            how: tuple[int, int, tuple[int, int, int], int, int] = (splits, room, blocks, warps, stages),
            scale: float = 2 / lift**2,
            write: bool = True,
        ) -> Found:
            return kernels.below(operand, norms, limits, scale, *how, write)

        title = f"fused filter, {name}"
        try:
            taken = bench.milliseconds(call, 3)
        except Exception as error:
            words = " ".join(f"{type(error).__name__}: {error}".split())
            yield Row(f"trial {shape_text(*shape)}: {title}", words[:300], "runs", False)
            continue
        yield trial(*shape, f"{title}, {splits} parts of {room}", taken)
        if blocks in BARE:
            yield trial(*shape, f"{title}, counted only", bench.milliseconds(lambda c=call: c(write=False), 3))
        found = call()
        yield trial(*shape, f"topk of what is left, {name}", bench.milliseconds(nearest_of(found[1], kept), 3))
        yield as_expected(f"trial {shape_text(*shape)}: {title}", found, some, expected, limits, kept)


def differences(bench: Bench, shape: tuple[int, int, int], points: torch.Tensor) -> Iterator[Row]:
    from . import kernels

    n, _, k = shape
    rows = 4 if bench.tiny else min(n, 4096)
    ids = torch.randint(n, (rows, min(k + MARGIN, n - 1)), device=bench.device)
    few = ids[:, :8].contiguous()
    for name, chosen, at_once in (("k + 16", ids, 8), ("k + 16", ids, 16), ("8", few, 8)):
        taken = bench.milliseconds(lambda x=points, i=chosen, c=at_once: kernels.apart(x, i, c), 3)
        yield trial(*shape, f"direct differences of {name}, kernel, {at_once} at once", taken * n / rows)
    error = (kernels.apart(points, few) / direct(points, few) - 1).nan_to_num(0).abs().max()
    title = f"trial {shape_text(*shape)}: kernel of differences against einsum"
    yield bench.at_most(title, float(error), 1e-4, "", timed=False)


def nearest_of(values: torch.Tensor, kept: int) -> Callable[[], object]:
    flat = values.flatten(1)
    return lambda: flat.topk(min(kept, flat.shape[1]), largest=False)


def limits_of(points: torch.Tensor, norms: torch.Tensor, kept: int) -> torch.Tensor:
    """(n,) thresholds without a sample's own norm, by products in float16 with every 16th sample."""
    form = FORMATS["float16"]
    operand = form.sides(points)[0]
    found = []
    for rows in in_blocks(len(points), 16_384):
        near = norms[::STRIDE].sub(form.product(operand[rows], operand[::STRIDE]), alpha=2 / form.lift**2)
        found.append(near.kthvalue(min(threshold_rank(kept), near.shape[1]), dim=1).values)
    return torch.cat(found)


def as_expected(
    title: str, found: Found, some: torch.Tensor, expected: torch.Tensor, limits: torch.Tensor, kept: int
) -> Row:
    """Whether some rows hold what lies below their thresholds, but for what lies near; rows without room, or short."""
    ids, values, counts = found
    room = values.shape[2]
    overflow, short = int((counts > room).any(dim=1).sum()), int((counts.sum(dim=1) < kept).sum())
    slack = 2.0**-8 * torch.where(expected.isfinite(), expected.abs(), 0).amax(dim=1, keepdim=True)
    surely, maybe = expected < limits[some, None] - slack, expected < limits[some, None] + slack
    held = torch.zeros_like(surely)
    filled = values[some].flatten(1).isfinite()
    rows = torch.arange(len(some), device=some.device)[:, None].expand_as(filled)
    held[rows[filled], ids[some].flatten(1).long()[filled]] = True
    whole = (counts[some] <= room).all(dim=1)[:, None]
    wrong = int(((surely & ~held & whole) | (held & ~maybe)).any(dim=1).sum())
    text = f"{wrong} of {len(some)} rows wrong; {overflow} rows without room, {short} short of {kept}"
    details = {"overflow": overflow, "short": short, "mean candidates": float(counts.sum(dim=1).float().mean())}
    return Row(title, text, "0 wrong", wrong == 0, wrong, details)
