"""How similar the layers of two snapshots are, and which snapshots can be compared."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rra_monitor.capture.names import aligned
from rra_monitor.measure.quantity import PAIRED
from rra_monitor.measure.settings import Curve, Settings
from rra_monitor.measure.snapshot import Snapshot
from rra_monitor.metrics import nnls_matrix

PREVIOUS = "prev"
"""The name of the comparison with the previous snapshot."""


def other_of(name: str) -> str:
    """What a comparison of that name is with.

    >>> other_of("prev"), other_of("ref-seed0")
    ('previous', 'seed0')
    """
    return "previous" if name == PREVIOUS else name.removeprefix("ref-")


@dataclass(frozen=True, eq=False)
class Match:
    """The NNLS of a snapshot with another one, of an earlier step or of a reference run.

    Attributes:
        name: `prev`, or `ref-<name>` for a reference.
        epoch: epoch of the other snapshot.
        step: step of the other snapshot.
        layers: names of the other snapshot's layers.
        nnls: (L, L') similarities of this snapshot's layers with the other's, 0 to 1.
    """

    name: str
    epoch: int
    step: int
    layers: tuple[str, ...]
    nnls: Curve

    def same_layer(self, layers: tuple[str, ...]) -> Curve:
        """(L,) similarity of each of `layers` with the other's layer of the same name, NaN where it has none.

        Names that differ only by the module around the network are the same (see `names.aligned`).
        """
        here, there = aligned([layers, self.layers])
        column = {name: position for position, name in enumerate(there)}
        return np.array([self.nnls[row, column[name]] if name in column else math.nan for row, name in enumerate(here)])


def same_layer_curves(snapshot: Snapshot, matches: Mapping[str, Match]) -> dict[str, Curve]:
    """`nnls_<name>` of each comparison to its (L,) similarities of each layer with the layer of the same name."""
    return {f"{PAIRED}{name}": match.same_layer(snapshot.layers) for name, match in matches.items()}


def check_comparable(settings: Settings, other: Settings, what: str = "the other snapshot") -> list[str]:
    """Refuse a comparison whose NNLS would mean nothing.

    Args:
        settings: settings of one snapshot.
        other: settings of the other one.
        what: name of the other one in the texts.

    Returns:
        Remarks for the reader, one sentence each: equal ids whose inputs differ in content.

    Raises:
        ValueError: other samples or labels, or another n, k or metric; both values are named.
    """
    for name in ("n", "k", "metric"):
        here, there = getattr(settings, name), getattr(other, name)
        if here != there:
            alike = "" if name == "metric" else f"measure with {name}={there}, or "
            raise ValueError(
                f"cannot compare with {what}: {name}={here} here, {name}={there} there. NNLS needs the same samples, "
                f"the same k and the same distances; {alike}drop the comparison."
            )
    for name in ("ids", "labels"):
        mine, theirs = getattr(settings, name), getattr(other, name)
        if (mine is None) != (theirs is None):
            raise ValueError(
                f"cannot compare with {what}: {name} are {'absent' if mine is None else 'present'} here, "
                f"{'absent' if theirs is None else 'present'} there. Build both samples alike."
            )
        if mine is not None and not np.array_equal(mine, theirs):
            first = int(np.flatnonzero(mine != theirs)[0])
            raise ValueError(
                f"cannot compare with {what}: the samples differ, {int((mine != theirs).sum())} of {len(mine)} {name} "
                f"do (at position {first}: {mine[first]} here, {theirs[first]} there). Draw both samples from the same "
                "data with the same n and seed."
            )
    if settings.fingerprint == other.fingerprint:
        return []
    return [
        f"the inputs have the ids of those of {what}, but other contents (fingerprints {settings.fingerprint} and "
        f"{other.fingerprint}): another normalisation or decoder? Similarities at the input will be below 1."
    ]


def match(snapshot: Snapshot, other: Snapshot, name: str) -> Match:
    """The NNLS of every layer of one snapshot with every layer of another.

    Args:
        snapshot: a snapshot with graphs.
        other: another snapshot with graphs; its layers may differ.
        name: name of the comparison.

    Returns:
        A Match, with the NNLS of all pairs of layers; 0 to 1, higher is more similar.

    Raises:
        ValueError: snapshots that are not comparable (see `check_comparable`), or whose graphs were not kept.

    Warns:
        UserWarning: equal ids whose inputs differ in content.
    """
    for side in (snapshot, other):
        if not side.graphs:
            raise ValueError(
                f"the graphs of probe {side.probe!r} at step {side.step} were not kept, and NNLS needs them; keep them "
                "with keep_graphs='all' or a number"
            )
    for remark in check_comparable(snapshot.settings, other.settings, f"step {other.step} of {name!r}"):
        warnings.warn(remark, stacklevel=2)
    return Match(
        name=name,
        epoch=other.epoch,
        step=other.step,
        layers=other.layers,
        nnls=nnls_matrix(
            [snapshot.graphs[layer] for layer in snapshot.layers], [other.graphs[layer] for layer in other.layers]
        ),
    )
