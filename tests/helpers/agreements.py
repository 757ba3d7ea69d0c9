"""Functions that say how far two targets agree."""

import numpy as np


def near(a, b):
    """A graded agreement of numbers: 1 for equal ones, 0 from a distance of 1 on."""
    return np.clip(1 - abs(a - b), 0, 1)


def half(a, b):
    return abs(a - b) < 0.5
