"""The exact graph on a GPU: all is computed there, and the host waits for it once or twice."""

from __future__ import annotations

import torch

from rra_monitor.graph.dense import dense_neighbours, in_double, tied
from rra_monitor.graph.distances import refuse_vanished, squared_differences
from rra_monitor.graph.knn import TIE_TOLERANCE, KnnGraph
from rra_monitor.graph.points import Points
from rra_monitor.graph.spot_check import CHECKED, warn
from rra_monitor.graph.tensor_cores import in_half

LARGEST_BLOCK = 1 << 28
"""Bound on a block of products in bytes, and a 64th of the device's memory: fewer blocks wait less for the host."""

LEAST_BLOCK = 1 << 26
"""Bound on a block of full rows in float32 or float64."""

DENSE = 8
"""From k = n / DENSE on a shortlist is no longer short, and full rows are ranked instead."""


def graph_on_device(points: Points, k: int) -> KnnGraph:
    """The graph of the k nearest neighbours of each of n samples that differ.

    A few rows are checked in float64. If one is wrong, all are built again in double precision, with a warning.

    Raises:
        ValueError: distances that exceed float32, or vanish in it.
    """
    with torch.cuda.device(points.device) if points.device.type == "cuda" else torch.no_grad():
        squared, ids = neighbours(points, k)
        checked = min(CHECKED, points.n)
        graph, failed = _graph_of(points, squared, ids, k, checked)
        if failed:
            warn(failed, checked, points.n, points.dim)
            shown = squared.shape[1]
            squared, ids = in_double(points, torch.arange(points.n, device=points.device), shown)
            graph, _ = _graph_of(points, squared, ids, k, checked, failed)
    return graph


def neighbours(points: Points, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared distances and ids (n, min(k + 1, n - 1)) of the nearest others of every sample, ascending.

    By products in float16 for the rows that these settle, then in float32, then in float64.
    """
    shown = min(k + 1, points.n - 1)
    found = _by_half(points, k) if k + 1 <= points.n // DENSE else None
    if found is None:
        everyone = torch.arange(points.n, device=points.device)
        squared, ids = dense_neighbours(points, everyone, k, LEAST_BLOCK)
        return squared[:, :shown], ids[:, :shown]
    squared, ids, left = found
    if len(left):
        near, others = dense_neighbours(points, left, k)
        squared[left], ids[left] = near[:, :shown], others[:, :shown]
    return squared, ids


def _by_half(points: Points, k: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None:
    """What products in float16 find, and the rows they leave open; None where a copy in float16 does not fit."""
    try:
        squared, ids, (_, left) = in_half(points, k, block_bytes(points.device))
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
        (squared[:, 0] < 1e-30).sum(),
        (ordered[:, 1:] == ordered[:, :-1]).sum() + itself.sum(),
        none if failed else _wrong_rows(points, ids[:, :k], checked),
    ]
    there = [_on_the_way(part) for part in (indices, distances)]
    ties, zeros, finite, vanished, broken, wrong = torch.stack(counts).tolist()  # waits for the device
    if finite < points.n:
        raise ValueError("distances between these features exceed float32; scale the features down")
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
