# mypy: disable-error-code="no-untyped-def, untyped-decorator"
"""Triton kernels of the graph on a GPU, each with a twin in torch where it is called.

Triton is no dependency: import this by `rra_monitor.graph.smallest.kernels_for` alone.
"""

import math

import torch
import triton
import triton.language as tl


@triton.jit
def _round(
    matrix, centre, halves, norms, moves, dim, width, row_stride, column_stride, first, second, FEATURES: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    norm = tl.zeros((FEATURES,), dtype=tl.float64)
    move = tl.zeros((FEATURES,), dtype=tl.float32)
    for start in range(0, width, FEATURES):
        at = (start + tl.arange(0, FEATURES)).to(tl.int64)
        value = tl.load(matrix + row * row_stride + at * column_stride, mask=at < dim, other=0).to(tl.float32)
        made = (value - tl.load(centre + at, mask=at < dim, other=0.0)) * first * second
        half = made.to(tl.float16)
        tl.store(halves + row * width + at, half, mask=at < width)
        seen = half.to(tl.float32)
        norm += seen.to(tl.float64) * seen.to(tl.float64)
        move += (made - seen) * (made - seen)
    tl.store(norms + row, tl.sum(norm, axis=0))
    tl.store(moves + row, tl.sum(move, axis=0))


@triton.jit(do_not_specialize=["groups"])
def _minima(table, norms, rows, out, n, groups, GROUP: tl.constexpr, GROUPS: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    itself = tl.load(rows + row)
    which = tl.program_id(1) * GROUPS + tl.arange(0, GROUPS)
    columns = which[:, None] * GROUP + tl.arange(0, GROUP)[None, :]
    products = tl.load(table + row * n + columns, mask=columns < n, other=0.0)
    near = tl.load(norms + columns, mask=columns < n, other=float("inf")) - 2 * products
    near = tl.where(columns == itself, float("inf"), near)
    tl.store(out + row * groups + which, tl.min(near, axis=1), mask=which < groups)


@triton.jit(do_not_specialize=["wanted"])
def _members(table, norms, rows, chosen, out, n, wanted, GROUP: tl.constexpr, GROUPS: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    itself = tl.load(rows + row)
    place = tl.program_id(1) * GROUPS + tl.arange(0, GROUPS)
    which = tl.load(chosen + row * wanted + place, mask=place < wanted, other=0)
    steps = tl.arange(0, GROUP)[None, :]
    columns = which[:, None] * GROUP + steps
    valid = (columns < n) & (place < wanted)[:, None]
    products = tl.load(table + row * n + columns, mask=valid, other=0.0)
    near = tl.load(norms + columns, mask=valid, other=float("inf")) - 2 * products
    near = tl.where(columns == itself, float("inf"), near)
    tl.store(out + (row * wanted + place[:, None]) * GROUP + steps, near, mask=(place < wanted)[:, None])


@triton.jit(do_not_specialize=["wanted"])
def _add_squares(
    matrix, rows, others, sums, wanted, start, stop, row_stride, column_stride, first, second,
    CANDIDATES: tl.constexpr, FEATURES: tl.constexpr, DOUBLE: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    place = tl.program_id(1) * CANDIDATES + tl.arange(0, CANDIDATES)
    own = matrix + tl.load(rows + row).to(tl.int64) * row_stride
    which = tl.load(others + row * wanted + place, mask=place < wanted, other=-1).to(tl.int64)
    other = matrix + which * row_stride
    kind: tl.constexpr = tl.float64 if DOUBLE else tl.float32
    total = tl.zeros((CANDIDATES, FEATURES), dtype=kind)
    # Nothing is read where no sample is wanted. The masks below keep `stop`, whose multiples are known when compiling.
    end = tl.where(tl.max(which, axis=0) >= 0, stop, start)
    for left in range(start, end, FEATURES):
        at = (left + tl.arange(0, FEATURES)).to(tl.int64)
        mine = tl.load(own + at * column_stride, mask=at < stop, other=0).to(tl.float32).to(kind)
        valid = (which >= 0)[:, None] & (at < stop)[None, :]
        theirs = tl.load(other[:, None] + (at * column_stride)[None, :], mask=valid, other=0).to(tl.float32).to(kind)
        apart = (theirs - mine[None, :]) * first * second
        total += apart * apart
    here = sums + row * wanted + place
    added = tl.load(here, mask=place < wanted, other=0.0) + tl.sum(total, axis=1).to(tl.float64)
    tl.store(here, tl.where(which >= 0, added, float("inf")), mask=place < wanted)


def factors(exponent: int) -> tuple[float, float]:
    """Two powers of two whose product is 2^exponent, since that itself may lie beyond float32."""
    return math.ldexp(1.0, exponent // 2), math.ldexp(1.0, exponent - exponent // 2)


def round_samples(
    matrix: torch.Tensor, centre: torch.Tensor, exponent: int, width: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Samples centred, times 2^exponent, in float16 and padded with zeros; squared norms; squared moves of rounding.

    Returns:
        (n, width) float16, (n,) float32 and (n,) float32.
    """
    n, dim = matrix.shape
    halves = torch.empty((n, width), dtype=torch.float16, device=matrix.device)
    norms, moves = torch.empty((2, n), device=matrix.device, dtype=torch.float32)
    _round[(n,)](
        matrix, centre, halves, norms, moves, dim, width, *matrix.stride(), *factors(exponent), FEATURES=1024,
    )  # fmt: skip
    return halves, norms, moves


def group_minima(table: torch.Tensor, norms: torch.Tensor, rows: torch.Tensor, group: int) -> torch.Tensor:
    """(r, groups) the least norms[j] - 2 table[i, j] of each group of consecutive columns but the sample itself."""
    height, n = table.shape
    groups = triton.cdiv(n, group)
    out = torch.empty((height, groups), device=table.device, dtype=torch.float32)
    at_once = max(1, 2048 // group)
    _minima[(height, triton.cdiv(groups, at_once))](table, norms, rows, out, n, groups, GROUP=group, GROUPS=at_once)
    return out


def group_members(
    table: torch.Tensor, norms: torch.Tensor, rows: torch.Tensor, chosen: torch.Tensor, group: int
) -> torch.Tensor:
    """(r, c · group) norms[j] - 2 table[i, j] of the columns of chosen groups; infinite for the sample itself."""
    height, wanted = chosen.shape
    out = torch.empty((height, wanted * group), device=table.device, dtype=torch.float32)
    at_once = max(1, 1024 // group)
    _members[(height, triton.cdiv(wanted, at_once))](
        table, norms, rows, chosen, out, table.shape[1], wanted, GROUP=group, GROUPS=at_once
    )
    return out


def squared_differences(
    matrix: torch.Tensor, rows: torch.Tensor, others: torch.Tensor, exponent: int, chunk: int, double: bool
) -> torch.Tensor:
    """(r, c) float64 squared distances of samples (r,) to others (r, c), in units of 2^-exponent; infinite to -1.

    A chunk of features after the other, so that the chunk of all samples stays in the cache; within a chunk sums are in
    float32, or all is in float64.
    """
    sums = torch.zeros(others.shape, dtype=torch.float64, device=matrix.device)
    wanted, dim = others.shape[1], matrix.shape[1]
    grid = (len(rows), triton.cdiv(wanted, 16))
    for start in range(0, dim, chunk):
        _add_squares[grid](
            matrix, rows, others, sums, wanted, start, min(start + chunk, dim), *matrix.stride(), *factors(exponent),
            CANDIDATES=16, FEATURES=128 if double else min(chunk, 256), DOUBLE=double,
        )  # fmt: skip
    return sums
