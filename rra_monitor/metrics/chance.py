"""Chance levels: what the metrics give where there is nothing to find."""

from typing import Any

import numpy as np
import numpy.typing as npt


def nncs_chance(labels: Any) -> float:
    """The NNCS expected of neighbours drawn at random: sum over classes of (n_c / n) (n_c - 1) / (n - 1).

    Args:
        labels: (n,) integer classes, n >= 2.

    Returns:
        0 to 1, just below 1 / classes for balanced classes.

    >>> round(nncs_chance([0, 0, 1, 1]), 4)
    0.3333
    """
    classes = checked_labels(labels, len(labels))
    _, counts = np.unique(classes, return_counts=True)
    n = len(classes)
    return float((counts / n * (counts - 1) / (n - 1)).sum())


def nnls_chance(n: int, k: int) -> float:
    """The NNLS expected of two independent random neighbour sets: E[s / (2k - s)], s hypergeometric.

    Two sets of k out of the n - 1 others share s with probability C(k, s) C(n-1-k, k-s) / C(n-1, k).

    Args:
        n: number of samples.
        k: number of neighbours, 1 to n - 1.

    Returns:
        0 to 1; about k / (2n) for k far below n.

    >>> round(nnls_chance(4, 2), 4)  # of 3 others, two pairs share 1 (2/3 of the time) or 2 (1/3)
    0.5556
    """
    if not 1 <= k < n:
        raise ValueError(f"k={k} must lie in 1 to n-1={n - 1}")
    lowest = max(0, 2 * k - (n - 1))
    shared = np.arange(lowest, k + 1)
    # Ratios of consecutive probabilities, summed as logarithms: no factorial overflows.
    steps = (k - shared[:-1]) ** 2.0 / ((shared[:-1] + 1.0) * (n - 2.0 * k + shared[:-1]))
    logs = np.concatenate([[0.0], np.cumsum(np.log(steps))])
    weights = np.exp(logs - logs.max())
    return float((weights / weights.sum() * shared / (2 * k - shared)).sum())


def checked_labels(labels: Any, n: int) -> npt.NDArray[np.int64]:
    """The labels as (n,) int64, or a ValueError that says what they are instead."""
    array = np.asarray(labels)
    if array.shape != (n,) or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"labels are {array.dtype} of shape {array.shape}, expected integers of shape ({n},): one class per sample"
        )
    return array.astype(np.int64)
