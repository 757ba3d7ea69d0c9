"""Pairs of runs: the layer similarities of every run of one group with every run of another."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rra_monitor.compare.groups import Run, When
from rra_monitor.compare.statistics import Floats, deviation, mean
from rra_monitor.metrics._nnls import nnls_of_neighbours
from rra_monitor.utils.terminal import passing_progress

WITHIN_RUN, ACROSS = "nnls_within_run", "nnls"
"""Names of the NNLS of the layers of one run with each other, and of the layers of two runs, among the refusals."""

HELD_BYTES = 2 << 30
"""Bytes of neighbours held at once while runs are paired; beyond it graphs are read more than once."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """The runs of one group against those of another, or against each other.

    Attributes:
        a: name of the group whose layers are the rows.
        b: name of the group whose layers are the columns; `a` for pairs within a group.
        layers_a: (La,) names.
        layers_b: (Lb,) names.
        runs: (P,) paths of all ordered pairs of different runs: R (R - 1) within a group, Ra Rb across two.
        nnls: (P, La, Lb) similarity of each layer of the first run with each of the second, 0 to 1. P is 0 where
            it is refused.
        chance: the NNLS of unrelated layers.
        refused: name of a main quantity, of `ACROSS` or of `WITHIN_RUN` to the reason why the groups cannot be compared
            by it.
    """

    a: str
    b: str
    layers_a: tuple[str, ...]
    layers_b: tuple[str, ...]
    runs: tuple[tuple[str, str], ...]
    nnls: Floats
    chance: float
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def comparable(self) -> bool:
        """Whether there is an NNLS across the runs."""
        return ACROSS not in self.refused

    def mean(self) -> Floats:
        """(La, Lb) mean NNLS over all pairs.

        Raises:
            ValueError: NNLS is refused; the reason is given.
        """
        self._check()
        return mean(self.nnls)

    def same_layer(self) -> Floats:
        """(P, La) similarity of each layer of `a` with the layer of `b` of the same name, NaN where it has none.

        Raises:
            ValueError: NNLS is refused; the reason is given.
        """
        self._check()
        column = {name: position for position, name in enumerate(self.layers_b)}
        rows = [row for row, name in enumerate(self.layers_a) if name in column]
        values = np.full((len(self.nnls), len(self.layers_a)), np.nan)
        values[:, rows] = self.nnls[:, rows, [column[self.layers_a[row]] for row in rows]]
        return values

    def same_layer_deviation(self) -> Floats:
        """(La,) standard deviation of `same_layer` over the pairs; NaN for one pair.

        A pair and its reverse have one value and count once. Pairs share runs, so this is not a standard error.
        """
        values = self.same_layer()
        seen = [frozenset(pair) for pair in self.runs]  # two groups may share runs
        return deviation(values[[pair not in seen[:position] for position, pair in enumerate(seen)]])

    def _check(self) -> None:
        if not self.comparable:
            raise ValueError(f"no NNLS of {self.a!r} with {self.b!r}: {self.refused[ACROSS]}")


def pair_matrices(runs: Sequence[Run], wanted: Sequence[tuple[int, int]], epoch: When) -> dict[tuple[int, int], Floats]:
    """The (Li, Lj) NNLS matrix of each wanted pair of runs i < j.

    Holds the graphs of as many runs as fit into `HELD_BYTES` and compares the others with them, then continues with
    the rest; if all fit, each graph is read once.
    """
    found: dict[tuple[int, int], Floats] = {}
    with passing_progress() as progress:
        task = progress.add_task("NNLS of pairs of runs", total=len(wanted))
        while missing := set(wanted) - set(found):
            held: dict[int, list[npt.NDArray[np.int32]]] = {}
            used, full = 0, False
            for at in sorted(set(itertools.chain.from_iterable(missing))):
                partners = [other for other in held if (other, at) in missing]
                if full and not partners:
                    continue
                neighbours = _neighbours(runs[at], epoch)
                for other in partners:
                    found[other, at] = nnls_of_neighbours(held[other], neighbours)
                    progress.advance(task)
                size = sum(indices.nbytes for indices in neighbours)
                full = full or (bool(held) and used + size > HELD_BYTES)
                if not full:
                    held[at] = neighbours
                    used += size
    return found


def _neighbours(run: Run, epoch: When) -> list[npt.NDArray[np.int32]]:
    """The neighbours in the graphs of a run; NNLS does not need their distances."""
    snapshot = run.store.with_graphs(run.at(epoch))
    if not snapshot.graphs:
        raise ValueError(
            f"{run.path}: the graphs of probe {run.probe!r} at step {snapshot.step} were removed meanwhile"
        )
    return [snapshot.graphs[layer].indices for layer in snapshot.layers]
