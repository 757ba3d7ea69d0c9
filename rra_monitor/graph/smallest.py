"""The smallest of each row of a table of squared distances: by groups of columns where kernels can be compiled."""

import logging
import math
import os
from functools import cache
from types import ModuleType

import torch

LARGEST_GROUP = 64
"""Columns of a group, at most."""

LEAST_GROUP = 8
"""In smaller groups ranking the groups costs as much as ranking the columns."""

_log = logging.getLogger("rra_monitor")


@cache
def kernels_for(device: torch.device) -> ModuleType | None:
    """The module of kernels, or None where they cannot be compiled: no Triton, no C compiler, a CPU."""
    if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        return None
    try:
        from rra_monitor.graph import kernels

        # The first launch compiles, which takes a C compiler and Python's headers.
        row = torch.zeros(1, 64, device=device, dtype=torch.float32)
        kernels.group_minima(row, row[0], torch.zeros(1, dtype=torch.int64, device=device), LEAST_GROUP)
    except Exception as error:
        _log.info("graphs on %s are built without Triton, which takes longer: %s", device, error)
        return None
    return kernels


def smallest(
    table: torch.Tensor, norms: torch.Tensor, rows: torch.Tensor, wanted: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The `wanted` columns j with the least norms[j] - 2 table[i, j], and these values.

    By groups: the `wanted` groups whose minima are least hold all of them, because each of them that lies in another
    group would have the minima of all these before it. So two short rows are ranked instead of a long one.

    Args:
        table: (r, n) inner products of some samples with all; overwritten.
        norms: (n,) squared norms.
        rows: (r,) positions of the samples, which are left out of their own rows.
        wanted: number of columns, at most n - 1.

    Returns:
        (r, wanted) values, ascending, and int64 columns.
    """
    group = group_of(len(norms), wanted)
    kernels = kernels_for(table.device) if group else None
    if kernels is None:
        torch.add(norms, table, alpha=-2, out=table)
        table.scatter_(1, rows[:, None], math.inf)
        values, columns = table.topk(wanted, largest=False)
        return values, columns
    minima = kernels.group_minima(table, norms, rows, group)
    chosen = minima.topk(wanted, largest=False, sorted=False).indices
    members = kernels.group_members(table, norms, rows, chosen, group)
    values, places = members.topk(wanted, largest=False)
    groups = chosen.gather(1, places.div(group, rounding_mode="floor"))
    return values, groups.mul_(group).add_(places.remainder_(group))


def group_of(n: int, wanted: int) -> int:
    """Columns of a group, a power of two: the sum of the groups and of the members of those wanted is least; or 0."""
    group = min(LARGEST_GROUP, 1 << (math.isqrt(n // wanted).bit_length() - 1)) if n > wanted else 0
    return group if group >= LEAST_GROUP else 0
