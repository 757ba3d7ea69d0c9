"""Replicas of one network on several ranks: their weights are the same, and the first one's buffers count.

The running statistics of batch norms differ between the ranks of a training: each updates its own in a step, and
`DistributedDataParallel` takes the first rank's before the next one. A snapshot is that of the first rank.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from rra_monitor.capture.features import Forward
from rra_monitor.capture.layer import network_of
from rra_monitor.capture.spread import is_sharded
from rra_monitor.graph.ring import wire_of
from rra_monitor.utils.collectives import sent_from
from rra_monitor.utils.ranks import Ranks

SAME = 1e-6
"""Difference of sums, as a fraction of the norm, that adding in another order does not reach."""

Sums = tuple[tuple[int, ...], float, float]
"""The shape of a tensor, the sum of its numbers, and their norm."""


def first_buffers(model: nn.Module, ranks: Ranks) -> dict[str, torch.Tensor]:
    """The first rank's buffers that differ from those of another rank, by name; a collective call.

    Raises:
        ValueError: weights that differ between ranks, but for the parts of a sharded network; on all ranks.
    """
    if ranks.group is None:
        return {}
    network = network_of(model)
    weights = {} if is_sharded(model) else dict(network.named_parameters())
    buffers = dict(network.named_buffers())
    found = ranks.values(lambda: (_sums(weights.items()), _sums(buffers.items())))
    for rank, (theirs, _) in enumerate(found):
        if wrong := _different(found[0][0], theirs, SAME):
            raise ValueError(
                f"weights differ between ranks: {wrong[0]!r} on rank 0 and rank {rank}. Give all ranks the same "
                "network, or leave out the group and measure on one rank alone"
            )
    names = dict.fromkeys(name for _, theirs in found for name in _different(found[0][1], theirs, 0.0))
    return {name: _of_first(buffers[name], ranks) for name in names if name in buffers}


def with_buffers(forward: Forward, buffers: Mapping[str, torch.Tensor]) -> Forward:
    """The forward of a network that has these buffers; whoever calls it puts its own ones back."""
    if not buffers:
        return forward

    def passed(model: nn.Module, batch: Any) -> Any:
        own = dict(network_of(model).named_buffers())
        with torch.no_grad():
            for name, value in buffers.items():
                own[name].copy_(value)
        return forward(model, batch)

    return passed


def _sums(tensors: Iterable[tuple[str, torch.Tensor]]) -> dict[str, Sums]:
    return {name: (tuple(tensor.shape), *_sum(tensor.detach())) for name, tensor in tensors}


def _sum(tensor: torch.Tensor) -> tuple[float, float]:
    try:
        numbers = torch.view_as_real(tensor) if tensor.is_complex() else tensor
        norm = torch.linalg.vector_norm(numbers, dtype=torch.float64) if numbers.is_floating_point() else 0.0
        return float(numbers.sum(dtype=torch.float64)), float(norm)
    except (RuntimeError, NotImplementedError):  # of a type that cannot be added up
        return 0.0, 0.0


def _different(one: Mapping[str, Sums], other: Mapping[str, Sums], tolerance: float) -> list[str]:
    return [name for name in one if name not in other or not _same(one[name], other[name], tolerance)]


def _same(one: Sums, other: Sums, tolerance: float) -> bool:
    (shape, sum_, norm), (other_shape, other_sum, other_norm) = one, other
    if shape != other_shape or (sum_, norm) == (other_sum, other_norm):  # infinite ones, too
        return shape == other_shape
    if math.isnan(sum_) or math.isnan(other_sum):
        return math.isnan(sum_) and math.isnan(other_sum)
    allowed = tolerance * max(norm, other_norm)
    return abs(sum_ - other_sum) <= allowed and abs(norm - other_norm) <= allowed


def _of_first(buffer: torch.Tensor, ranks: Ranks) -> torch.Tensor:
    """The first rank's value of a buffer, on the device of this rank's."""
    group = ranks.group
    assert group is not None
    value = ranks.agreed(lambda: buffer.detach().to(wire_of(buffer.device, group), copy=True).contiguous())
    sent_from(0, value, group)
    return ranks.agreed(lambda: value.to(buffer.device))
