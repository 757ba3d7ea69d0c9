"""The course of the learning rate over the steps of a training."""

import math
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR


def warm_cosine(step: int, total: int, warm_up: int, last: float) -> float:
    """The rate at a step, as a fraction of the base rate: linear warm-up, then a cosine down to a last fraction.

    Formula: (step + 1) / warm_up before step `warm_up`, then last + (1 - last) (1 + cos(pi s)) / 2, with s from 0 to 1
    at the last step.

    Args:
        step: index of the step, 0 to total - 1.
        total: number of steps.
        warm_up: number of steps of the warm-up.
        last: fraction of the base rate at the end.

    Source: thesis, 4.1.

    >>> [round(warm_cosine(step, 7, 2, 0.01), 3) for step in range(7)]
    [0.5, 1.0, 1.0, 0.855, 0.505, 0.155, 0.01]
    """
    if step < warm_up:
        return (step + 1) / warm_up
    done = min(1.0, (step - warm_up) / max(1, total - warm_up - 1))
    return last + (1 - last) * (1 + math.cos(math.pi * done)) / 2


def warm_cosine_schedule(optimiser: Optimizer, total: int, warm_up: int, last: float) -> Any:
    """The schedule of the recipes, by the step."""
    return LambdaLR(optimiser, lambda step: warm_cosine(step, total, warm_up, last))


def one_cycle_schedule(optimiser: Optimizer, total: int, rate: float) -> Any:
    """The short schedule, by the step: up to the rate and down to almost 0; the momentum moves in opposition."""
    return OneCycleLR(optimiser, rate, total_steps=total)
