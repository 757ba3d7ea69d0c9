"""The exact graph on a GPU: all is computed there, and the host waits for it once or twice."""

from __future__ import annotations

from collections.abc import Callable

import torch

from rra_monitor.graph.dense import dense_neighbours, in_double, tied
from rra_monitor.graph.distances import BLOCK_BYTES, VANISHING, refuse_vanished, squared_differences
from rra_monitor.graph.knn import TIE_TOLERANCE, KnnGraph
from rra_monitor.graph.points import BEYOND, Points
from rra_monitor.graph.spot_check import CHECKED, warn
from rra_monitor.graph.tensor_cores import MARGINS, STRIP_BYTES, in_half

LARGEST_BLOCK = 1 << 28
"""Bound on a block of products in bytes, and a 64th of the device's memory: fewer blocks wait less for the host."""

LEAST_BLOCK = 1 << 26
"""Bound on a block of full rows in float32 or float64."""

LEAST_ROWS = 64
"""Rows of a block, at least: of fewer the host waits too often."""

DENSE = 8
"""From k = n / DENSE on a shortlist is no longer short, and full rows are ranked instead."""


def graph_on_device(points: Points, k: int, memory_budget: int | None = None) -> KnnGraph:
    """The graph of the k nearest neighbours of each of n samples that differ.

    A few rows are checked in float64. If one is wrong, all are built again in double precision, with a warning.

    Args:
        points: n samples.
        k: number of neighbours.
        memory_budget: bytes that may be taken beyond the features, at least `bytes_on_device`; no limit if None.

    Raises:
        ValueError: distances that exceed float32, or vanish in it.
    """
    rows = points.n
    if memory_budget is not None:
        spare = memory_budget - _beside_blocks(points.n, points.dim, k)
        rows = min(points.n, max(1, spare // _row_bytes(points.n, points.dim)))
    with torch.cuda.device(points.device) if points.device.type == "cuda" else torch.no_grad():
        squared, ids = neighbours(points, k, rows)
        checked = min(CHECKED, points.n)
        graph, failed = _graph_of(points, squared, ids, k, checked)
        if failed:
            warn(failed, checked, points.n, points.dim)
            shown = squared.shape[1]
            squared, ids = _in_strips(points, rows, lambda some, block: in_double(points, some, shown, block))
            graph, _ = _graph_of(points, squared, ids, k, checked, failed)
    return graph


def bytes_on_device(n: int, dim: int, k: int) -> int:
    """Bytes beyond the features with which a graph is built on a GPU in the usual way."""
    return _beside_blocks(n, dim, k) + min(n, LEAST_ROWS) * _row_bytes(n, dim)


def _beside_blocks(n: int, dim: int, k: int) -> int:
    """Bytes beside the blocks: the samples in float16, candidates, those that are measured at once, the result."""
    kept = min(n - 1, k + MARGINS[-1])
    return 2 * n * (dim + 8) + n * (100 + 12 * (k + 1) + 24 * kept) + min(STRIP_BYTES, 32 * n * kept)


def _row_bytes(n: int, dim: int) -> int:
    """Bytes of one row in all blocks: its products and what ranks them, and samples in double precision."""
    return 24 * (n + dim)


def neighbours(points: Points, k: int, rows: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared distances and ids (n, min(k + 1, n - 1)) of the nearest others of every sample, ascending.

    By products in float16 for the rows that these settle, then in float32, then in float64.

    Args:
        points: n samples.
        k: number of neighbours.
        rows: number of rows of a block, at most; as many as fit the usual blocks if None.
    """
    rows = points.n if rows is None else rows
    shown = min(k + 1, points.n - 1)
    found = _by_half(points, k, rows) if k + 1 <= points.n // DENSE else None
    if found is None:
        squared, ids = _in_strips(points, rows, lambda some, block: dense_neighbours(points, some, k, block))
        return squared[:, :shown], ids[:, :shown]
    squared, ids, left = found
    for some in torch.split(left, rows) if len(left) else ():
        near, others = dense_neighbours(points, some, k, _dense_block(points, rows, BLOCK_BYTES))
        squared[some], ids[some] = near[:, :shown], others[:, :shown]
    return squared, ids


def _in_strips(
    points: Points, rows: int, find: Callable[[torch.Tensor, int], tuple[torch.Tensor, torch.Tensor]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """What a function of some samples and the size of a block finds for all samples, some rows at a time."""
    everyone = torch.arange(points.n, device=points.device)
    found = [find(some, _dense_block(points, rows, LEAST_BLOCK)) for some in torch.split(everyone, rows)]
    squared, ids = zip(*found, strict=True)
    return torch.cat(squared), torch.cat(ids)


def _dense_block(points: Points, rows: int, largest: int) -> int:
    """Bytes of a block of full rows, and of one of the samples that they are compared with."""
    return largest if rows >= points.n else min(largest, 4 * points.dim * rows)


def _by_half(points: Points, k: int, rows: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None:
    """What products in float16 find, and the rows they leave open; None where a copy in float16 does not fit."""
    try:
        squared, ids, (_, left) = in_half(points, k, min(block_bytes(points.device), 4 * points.n * rows))
    except torch.OutOfMemoryError:
        return None
    return squared, ids, left


def block_bytes(device: torch.device) -> int:
    """Bound on a block of products."""
    if device.type != "cuda":
        return LARGEST_BLOCK
    return min(LARGEST_BLOCK, int(torch.cuda.get_device_properties(device).total_memory) // 64)


def _graph_of(
    points: Points, squared: torch.Tensor, ids: torch.Tensor, k: int, checked: int, failed: int = 0
) -> tuple[KnnGraph, int]:
    """The graph on the host, and how many of a few rows are wrong; the latter is not looked at after a failure."""
    distances = squared[:, :k].double().sqrt_().mul_(points.scale).float()
    indices = ids[:, :k].int()
    ordered = ids[:, :k].sort(dim=1).values
    itself = ids[:, :k] == torch.arange(points.n, device=points.device)[:, None]
    none = torch.zeros((), dtype=torch.int64, device=points.device)
    counts = [
        tied(squared, k, TIE_TOLERANCE).sum() if squared.shape[1] > k else none,
        (distances[:, 0] == 0).sum(),
        (distances[:, -1] < torch.inf).sum(),  # rows ascend
        (squared[:, 0] < VANISHING).sum(),
        (ordered[:, 1:] == ordered[:, :-1]).sum() + itself.sum(),
        none if failed else _wrong_rows(points, ids[:, :k], checked),
    ]
    there = [_on_the_way(part) for part in (indices, distances)]
    ties, zeros, finite, vanished, broken, wrong = torch.stack(counts).tolist()  # waits for the device
    if finite < points.n:
        raise ValueError(BEYOND)
    if vanished:
        refuse_vanished(points, squared, ids)
    build = KnnGraph if broken else KnnGraph.of_checked  # the former names what is broken
    # Copies: pinned memory is scarce, and a graph may be kept for long.
    arrays = [part.clone().numpy() if part.is_pinned() else part.numpy() for part in there]
    graph = build(
        indices=arrays[0],
        distances=arrays[1],
        ties=ties / points.n,
        zeros=zeros / points.n,
        checked=checked,
        failed=failed,
    )
    return graph, wrong


def _on_the_way(part: torch.Tensor) -> torch.Tensor:
    """A copy on the host, complete once the host has waited for the device."""
    if part.device.type == "cpu":
        return part.contiguous()
    return torch.empty(part.shape, dtype=part.dtype, pin_memory=True).copy_(part, non_blocking=True)


def _wrong_rows(points: Points, ids: torch.Tensor, checked: int) -> torch.Tensor:
    """How many of a few rows have a neighbour farther than the k-th true one, except for ties.

    The rows depend on the graph: different ones for different graphs, the same for the same graph.
    """
    step = points.n // checked
    rows = (ids.sum() + torch.arange(checked, device=ids.device) * step).remainder_(points.n)
    everyone = torch.arange(points.n, device=ids.device).repeat(checked, 1)
    squared = squared_differences(points, rows, everyone, double=True)
    squared.scatter_(1, rows[:, None], torch.inf)
    # Not kthvalue, which raises where deterministic algorithms are asked for.
    kth = squared.topk(ids.shape[1], largest=False).values.amax(dim=1)
    farthest = squared.gather(1, ids[rows]).amax(dim=1)
    return (farthest <= kth * (1 + TIE_TOLERANCE) ** 2).logical_not_().sum()
