"""What a snapshot will take, estimated before the training."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from rra_monitor.capture.layer import Layer

CALIBRATION_ROWS, CALIBRATION_DIMS = 2000, (64, 2048)
"""Sizes of the graphs that are timed to estimate the seconds of a snapshot."""


@dataclass(frozen=True)
class CostEstimate:
    """What a snapshot of one probe will take.

    Attributes:
        layers: that will be watched, in execution order, with their views.
        graphs: how many are built: one for each distinct view of each layer.
        n: number of samples.
        k: number of neighbours.
        classes: number of classes, None for unlabelled data.
        seconds: estimated from two small graphs and one batch; good to a factor of two.
        bytes: of the stored graphs.
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
