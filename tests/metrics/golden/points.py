"""The points whose golden values are stored: sums and products of uniform draws, the same in every numpy.

Generator.random is drawn from bits alone, unlike normal draws, which a newer numpy may make otherwise.
"""

import numpy as np


def _uniform(n: int, d: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((n, d))


def cube() -> np.ndarray:
    """500 points of a 6-dimensional cube."""
    return _uniform(500, 6, 1)


def saddle() -> np.ndarray:
    """800 points of a curved surface in three dimensions."""
    flat = _uniform(800, 2, 2) - 0.5
    return np.column_stack([flat, 2 * flat[:, 0] * flat[:, 1]])


def noisy_line() -> np.ndarray:
    """600 points of a line with noise in ten dimensions: the dimension depends on the scale."""
    return np.linspace(0, 1, 10) * _uniform(600, 1, 3) * 20 + 0.05 * _uniform(600, 10, 4)


POINTS = {"cube": cube, "saddle": saddle, "noisy_line": noisy_line}
