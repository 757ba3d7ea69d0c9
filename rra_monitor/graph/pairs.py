"""Squared distances of given pairs of samples by direct difference in double precision: nothing cancels."""

from functools import partial
from typing import Any

import numba
import numpy as np
import torch

from rra_monitor.graph.workers import Workers

PAIR_BYTES = 64 << 20
"""Bound on the differences of pairs held at once on a GPU."""


def pair_differences(
    own: torch.Tensor, others: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor
) -> torch.Tensor:
    """(p,) float64: |own[rows[p]] - others[columns[p]]|², equal for equal distances but for the last bit.

    Args:
        own: (n, d) real features.
        others: (m, d) on the same device.
        rows: (p,) positions in own.
        columns: (p,) positions in others.
    """
    squared = torch.empty(len(rows), dtype=torch.float64, device=own.device)
    if own.device.type == "cpu":
        arguments = (own.float().numpy(), others.float().numpy(), rows.numpy(), columns.numpy(), squared.numpy())
        with Workers() as workers:
            workers.share(partial(_differences, *arguments), 0, len(rows))
        return squared
    step = max(1, PAIR_BYTES // (8 * own.shape[1]))
    for start in range(0, len(rows), step):
        here = slice(start, start + step)
        squared[here] = (own[rows[here]].double() - others[columns[here]].double()).square_().sum(dim=1)
    return squared


@numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def _differences(own: Any, others: Any, rows: Any, columns: Any, out: Any, start: int, stop: int) -> None:
    for p in range(start, stop):
        a, b = own[rows[p]], others[columns[p]]
        total = 0.0
        for d in range(len(a)):
            difference = np.float64(a[d]) - np.float64(b[d])
            total += difference * difference
        out[p] = total
