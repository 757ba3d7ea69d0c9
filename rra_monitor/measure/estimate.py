"""Time and disk space of a snapshot, estimated before the training."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from rra_monitor.capture.layer import Layer

CALIBRATION_ROWS, CALIBRATION_DIMS = 2000, (64, 2048)
"""Sizes of the graphs that are timed to estimate the seconds of a snapshot."""


@dataclass(frozen=True)
class CostEstimate:
    """Estimated cost of a snapshot of one probe.

    Attributes:
        layers: watched layers with their views, in execution order.
        graphs: number of graphs: one for each distinct view of each layer.
        n: number of samples.
        k: number of neighbours.
        classes: number of classes, None for unlabelled data.
        seconds: time, estimated from two small graphs and one batch; accurate to a factor of two.
        bytes: size of the stored graphs.
    """

    layers: tuple[Layer, ...]
    graphs: int
    n: int
    k: int
    classes: int | None
    seconds: float
    bytes: int


def timed(call: Callable[[], object]) -> float:
    """Seconds of the second call: the first one warms up."""
    for _ in range(2):
        started = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds = time.perf_counter() - started
    return seconds
