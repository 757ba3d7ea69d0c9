"""The features of all ranks together."""

import torch

from rra_monitor.graph.ring import wire_of
from rra_monitor.utils.collectives import sent_from
from rra_monitor.utils.ranks import Ranks


def joined(rows: torch.Tensor, n: int, ranks: Ranks) -> torch.Tensor:
    """The (n, …) features of all samples on every rank, of which each has its own rows; a collective call.

    Raises:
        RankError: no memory for them on some rank, on all ranks.
    """
    if ranks.group is None:
        return rows
    wire = wire_of(rows.device, ranks.group)
    types = ranks.values(lambda: rows.dtype if len(rows) else None)
    dtype = next(each for each in types if each is not None)  # a rank without samples does not know it
    whole = ranks.agreed(lambda: rows.new_empty((n, *rows.shape[1:]), dtype=dtype, device=wire))
    for rank in range(ranks.size):
        theirs = ranks.rows(n, rank)
        part = whole[theirs.start : theirs.stop]
        if rank == ranks.rank:
            part.copy_(rows)
        if len(theirs):
            sent_from(rank, part, ranks.group)
    return ranks.agreed(lambda: whole.to(rows.device))  # on a GPU there may be no memory for a copy
