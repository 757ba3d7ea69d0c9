"""Which snapshots can be compared, and how alike they are."""

import warnings

import numpy as np

from rra_monitor.metrics import nnls_matrix
from rra_monitor.record import Match
from rra_monitor.snapshot import Settings, Snapshot


def check_comparable(settings: Settings, other: Settings, what: str = "the other snapshot") -> None:
    """Refuse an NNLS that would mean nothing.

    Raises:
        ValueError: other samples or labels, or another n, k or metric; both values are named.

    Warns:
        UserWarning: equal ids whose inputs differ in content.
    """
    for name in ("n", "k", "metric"):
        here, there = getattr(settings, name), getattr(other, name)
        if here != there:
            raise ValueError(
                f"can not compare with {what}: {name}={here} here, {name}={there} there. NNLS needs the same samples "
                f"and the same k; measure with {name}={there}, or drop the comparison."
            )
    for name in ("ids", "labels"):
        mine, theirs = getattr(settings, name), getattr(other, name)
        if (mine is None) != (theirs is None):
            raise ValueError(
                f"can not compare with {what}: {name} are {'absent' if mine is None else 'present'} here, "
                f"{'absent' if theirs is None else 'present'} there. Build both samples alike."
            )
        if mine is not None and not np.array_equal(mine, theirs):
            first = int(np.flatnonzero(mine != theirs)[0])
            raise ValueError(
                f"can not compare with {what}: the samples differ, {int((mine != theirs).sum())} of {len(mine)} {name} "
                f"do (at position {first}: {mine[first]} here, {theirs[first]} there). Draw both samples from the same "
                "data with the same n and seed."
            )
    if settings.fingerprint != other.fingerprint:
        warnings.warn(
            f"the inputs have the ids of those of {what}, but other contents (fingerprints {settings.fingerprint} and "
            f"{other.fingerprint}): another normalisation or decoder? Similarities at the input will be below 1.",
            stacklevel=2,
        )


def match(snapshot: Snapshot, other: Snapshot, name: str) -> Match:
    """The NNLS of every layer of one snapshot with every layer of another.

    Args:
        snapshot: with graphs.
        other: with graphs; its layers may differ.
        name: of the comparison.

    Raises:
        ValueError: not comparable (see `check_comparable`), or graphs that were not kept.
    """
    for side in (snapshot, other):
        if not side.graphs:
            raise ValueError(
                f"the graphs of probe {side.probe!r} at step {side.step} were not kept, and NNLS needs them; keep them "
                "with keep_graphs='all' or a number"
            )
    check_comparable(snapshot.settings, other.settings, f"step {other.step} of {name!r}")
    return Match(
        name=name,
        epoch=other.epoch,
        step=other.step,
        layers=other.layers,
        nnls=nnls_matrix(
            [snapshot.graphs[layer] for layer in snapshot.layers], [other.graphs[layer] for layer in other.layers]
        ),
    )
