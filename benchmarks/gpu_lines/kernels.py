"""Triton kernels of the trials: products that keep only what lies below a threshold, and direct differences."""

import math

import torch
import triton
import triton.language as tl


# One compilation for all sizes.
@triton.jit(do_not_specialize=["n", "width", "splits", "room"])
def _below(
    points,
    norms,
    limits,
    ids,
    values,
    counts,
    n,
    dim,
    width,
    splits,
    room,
    scale,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    FEATURES: tl.constexpr,
    WRITE: tl.constexpr,
):
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    split = tl.program_id(1)
    # What lies beyond the last sample reads the first one, and has a limit that nothing is below.
    own = tl.where(rows < n, rows, 0)
    limit = tl.load(limits + own, mask=rows < n, other=float("-inf"))
    seen = tl.zeros((ROWS,), dtype=tl.int32)
    start, stop = split * width, tl.minimum(split * width + width, n)
    place = (rows * splits + split) * room
    steps = tl.arange(0, FEATURES)
    for first in range(start, stop, COLUMNS):
        columns = first + tl.arange(0, COLUMNS)
        others = tl.where(columns < stop, columns, 0)
        left = points + own[:, None] * dim + steps[None, :]
        right = points + others[None, :] * dim + steps[:, None]
        products = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
        for _ in range(0, dim, FEATURES):
            products = tl.dot(tl.load(left), tl.load(right), products, input_precision="tf32")
            left += FEATURES
            right += FEATURES
        other_norms = tl.load(norms + others, mask=columns < stop, other=float("inf"))
        squared = other_norms[None, :] - scale * products
        keep = (squared < limit[:, None]) & (rows[:, None] != columns[None, :])
        ones = keep.to(tl.int32)
        if WRITE:
            at = seen[:, None] + tl.cumsum(ones, axis=1) - 1
            fits = keep & (at < room)
            tl.store(ids + place[:, None] + at, tl.broadcast_to(columns[None, :], (ROWS, COLUMNS)), mask=fits)
            tl.store(values + place[:, None] + at, squared, mask=fits)
        seen += tl.sum(ones, axis=1)
    tl.store(counts + rows * splits + split, seen, mask=rows < n)


def below(
    points: torch.Tensor,
    norms: torch.Tensor,
    limits: torch.Tensor,
    scale: float,
    splits: int,
    room: int,
    blocks: tuple[int, int, int],
    warps: int,
    stages: int,
    write: bool = True,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids and values (n, splits, room) of the samples below each sample's limit, and (n, splits) how many there are.

    Values are norms[j] - scale · x_i·x_j; those beyond the counts are infinite. No program writes where another one
    does: each has a block of rows and a part of the columns. Without `write` they are only counted, which tells what
    the writing costs.
    """
    n, dim = points.shape
    rows, columns, features = blocks
    shape = (n, splits, room)
    assert dim % features == 0, (dim, features)
    assert max(math.prod(shape), points.numel()) < 2**31, shape  # positions are 32 bits wide
    ids = torch.zeros(shape, dtype=torch.int32, device=points.device)
    values = torch.full(shape, torch.inf, device=points.device)
    counts = torch.zeros((n, splits), dtype=torch.int32, device=points.device)
    width = triton.cdiv(triton.cdiv(n, splits), columns) * columns
    _below[(triton.cdiv(n, rows), splits)](
        points, norms, limits, ids, values, counts, n, dim, width, splits, room, scale,
        ROWS=rows, COLUMNS=columns, FEATURES=features, WRITE=write, num_warps=warps, num_stages=stages,
    )  # fmt: skip
    return ids, values, counts


@triton.jit
def _apart(points, ids, out, count, dim, CANDIDATES: tl.constexpr, FEATURES: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    places = tl.program_id(1) * CANDIDATES + tl.arange(0, CANDIDATES)
    others = tl.load(ids + row * count + places, mask=places < count, other=0).to(tl.int64)
    steps = tl.arange(0, FEATURES)
    total = tl.zeros((CANDIDATES,), dtype=tl.float32)
    for first in range(0, dim, FEATURES):
        mine = tl.load(points + row * dim + first + steps)
        theirs = tl.load(points + others[:, None] * dim + first + steps[None, :])
        apart = theirs - mine[None, :]
        total += tl.sum(apart * apart, axis=1)
    tl.store(out + row * count + places, total, mask=places < count)


def apart(points: torch.Tensor, ids: torch.Tensor, candidates: int = 8, features: int = 512) -> torch.Tensor:
    """(r, c) squared distances of the first samples to candidates, without a copy of these."""
    rows, count = ids.shape
    features = min(features, points.shape[1])
    assert points.shape[1] % features == 0, (points.shape, features)
    out = torch.empty((rows, count), device=points.device)
    grid = (rows, triton.cdiv(count, candidates))
    _apart[grid](points, ids, out, count, points.shape[1], CANDIDATES=candidates, FEATURES=features, num_warps=4)
    return out
