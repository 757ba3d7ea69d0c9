"""Comparison of groups of runs: how similar they are, layer by layer, within a group and across groups."""

import dataclasses
import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rra_monitor.capture.names import aligned, displayed
from rra_monitor.compare.comparability import comparability
from rra_monitor.compare.groups import Group, Run, When, group_of, read_run
from rra_monitor.compare.pairs import ACROSS, Pairs, pair_matrices
from rra_monitor.compare.statistics import mean
from rra_monitor.conclusions.evidence import TIED
from rra_monitor.runs.locate import shared_probe
from rra_monitor.runs.opened import OpenedRun
from rra_monitor.utils.text import brief


@dataclass(frozen=True, eq=False)
class Comparison:
    """The result of `compare_runs`.

    Attributes:
        groups: name to the curves of its runs.
        moment: epoch at which the runs were paired: completed epochs, or "last".
        pairs: names of two groups, in the order given, to the pairs of their runs; (name, name) for those within.
        notes: remarks for the reader, one sentence each.
    """

    groups: Mapping[str, Group]
    moment: When
    pairs: Mapping[tuple[str, str], Pairs]
    notes: tuple[str, ...]

    def between(self, a: str, b: str) -> Pairs:
        """The pairs of two groups, the layers of `a` as rows, whichever was given first.

        Raises:
            ValueError: a name that is no group.
        """
        for name in (a, b):
            if name not in self.groups:
                raise ValueError(f"no group {name!r}; the groups: {', '.join(self.groups)}")
        if (a, b) in self.pairs:
            return self.pairs[a, b]
        other = self.pairs[b, a]
        return dataclasses.replace(
            other,
            a=a,
            b=b,
            layers_a=other.layers_b,
            layers_b=other.layers_a,
            runs=tuple((second, first) for first, second in other.runs),
            nnls=other.nnls.transpose(0, 2, 1),
        )


def compare_runs(
    groups: Mapping[str, Sequence[str | os.PathLike[str]]],
    *,
    probe: str | Sequence[str] | None = None,
    epoch: When = "last",
) -> Comparison:
    """Curves of groups of runs with their standard deviation, and the NNLS of every run with every other.

    Each quantity has its own condition. Within a group all runs need the same layers, n and k, because they are
    averaged. Across groups, ID needs the same n or the same density k / n (to a tenth), NNCS and the NNLS within runs
    the same density, NNLS across runs the same samples and k; layers may differ. What cannot be compared is left out,
    with the reason in `Pairs.refused`. A training's `network.layer1.0` counts as the `layer1.0`
    of the network by itself, and is named so.

    Args:
        groups: name to the directories of its runs, for example seeds of one recipe; one run is a group, too.
        probe: probe to compare; with several, each group is taken once for each, as `<group>/<probe>`. `train` if
            None, or else the first that all runs have.
        epoch: epoch at which runs are paired: completed epochs, or "last" for the last snapshot of each.

    Raises:
        TypeError: groups without names.
        ValueError: a group without runs, runs that do not exist or are empty, a run named twice in one group, runs of
            one group that were measured differently, an epoch that a run lacks.

    Source: the thesis's Figures 4.1 to 4.4; of 8 seeds in each of two groups, 56 pairs within each and 64 across.

    Example::

        found = rra.compare_runs({"A": ["runs/a0", "runs/a1"], "B": ["runs/b0", "runs/b1"]})
        found.groups["A"].id[:, -1].mean(axis=0)  # mean ID per layer at the end
        found.between("A", "B").mean()  # mean NNLS, layers of A by layers of B
    """
    return compared(opened_groups(groups, probe), epoch)


def compared(members: Mapping[str, Sequence[Run]], epoch: When = "last") -> Comparison:
    """The comparison of groups of runs that are read already, see `compare_runs`."""
    if epoch != "last" and (isinstance(epoch, bool) or not isinstance(epoch, int)):
        raise ValueError(f"epoch={epoch!r}; expected a number of completed epochs, or 'last'")
    for run in itertools.chain.from_iterable(members.values()):
        run.at(epoch)  # refuse before any work
    found = {name: group_of(name, runs) for name, runs in members.items()}
    named = zip(found.items(), aligned([group.layers for group in found.values()]), strict=True)
    found = {name: dataclasses.replace(group, layers=layers) for (name, group), layers in named}
    notes = [note for group in found.values() for note in _notes(group)]
    names = list(itertools.combinations_with_replacement(found, 2))
    judged = {(a, b): comparability(found[a], found[b], members[a], members[b], epoch) for a, b in names}
    notes += [note for each in judged.values() for note in each.notes]
    flat = [(name, run) for name, runs in members.items() for run in runs]
    wanted = [
        (i, j)
        for (i, (a, first)), (j, (b, second)) in itertools.combinations(enumerate(flat), 2)
        if ACROSS not in judged[a, b].refused and (first.path, first.probe) != (second.path, second.probe)
    ]
    matrices = pair_matrices([run for _, run in flat], wanted, epoch)
    pairs = {}
    for a, b in names:
        here = {at: matrix for at, matrix in matrices.items() if (flat[at[0]][0], flat[at[1]][0]) == (a, b)}
        if a == b:  # the reverse of a pair is its transpose
            here |= {(j, i): matrix.T for (i, j), matrix in here.items()}
        ordered = sorted(here)
        pairs[a, b] = Pairs(
            a=a,
            b=b,
            layers_a=found[a].layers,
            layers_b=found[b].layers,
            runs=tuple((flat[i][1].path, flat[j][1].path) for i, j in ordered),
            nnls=np.array([here[at] for at in ordered]).reshape(-1, len(found[a].layers), len(found[b].layers)),
            chance=found[a].nnls_chance,
            refused=judged[a, b].refused,
        )
    return Comparison(found, epoch, pairs, tuple(dict.fromkeys(notes)))


def opened_groups(
    groups: Mapping[str, Sequence[str | os.PathLike[str]]], probe: str | Sequence[str] | None = None
) -> dict[str, list[Run]]:
    """Name of each group and probe to its runs, each run opened once; arguments and errors of `compare_runs`."""
    if not isinstance(groups, Mapping):
        raise TypeError(f"groups={brief(groups)}; expected names and directories of runs, as {{'A': ['runs/a0']}}")
    if not groups or not all(groups.values()):
        empty = [name for name, runs in groups.items() if not runs]
        raise ValueError(f"no runs to compare in {', '.join(map(repr, empty)) or 'groups, which is empty'}; name some")
    stores: dict[str, list[OpenedRun]] = {}
    known: dict[str, OpenedRun] = {}
    for name, paths in groups.items():
        if isinstance(paths, str | os.PathLike):
            raise ValueError(f"group {name!r} is {paths!r}; expected a list of directories, [{os.fspath(paths)!r}]")
        here = [OpenedRun.at(path) for path in paths]
        places = [run.place for run in here]
        stores[name] = [known.setdefault(place, run) for place, run in zip(places, here, strict=True)]
        twice = next((place for place in places if places.count(place) > 1), None)
        if twice is not None:
            raise ValueError(f"group {name!r} has {twice} twice; a run cannot be compared with itself. Name it once")
    if probe is None:
        probe = shared_probe([run.store for run in itertools.chain.from_iterable(stores.values())])
    probes = [probe] if isinstance(probe, str) else list(dict.fromkeys(probe))
    if not probes:
        raise ValueError("probe is an empty list; name one, or None for the first that all runs have")
    label = (lambda name, one: name) if len(probes) == 1 else (lambda name, one: f"{name}/{one}")
    found = {label(name, one): [read_run(store, one) for store in stores[name]] for name in stores for one in probes}
    if len(found) < len(stores) * len(probes):
        raise ValueError(f"two groups would have one name among {', '.join(found)}; rename a group")
    return found


def _notes(group: Group) -> list[str]:
    found = []
    if len(group.runs) == 1:
        found.append(f"{group.name} is one run: no deviation over seeds, no pairs within.")
    if len(set(group.last_epochs)) > 1:
        found.append(
            f"The runs of {group.name} end at different epochs ({', '.join(map(str, group.last_epochs))}): their last "
            "snapshots are of different age."
        )
    ties = zip(displayed(group.layers), mean(group.ties[:, -1]), strict=True)
    if tied := [f"{layer} ({share:.0%})" for layer, share in ties if share > TIED]:
        found.append(
            f"In {group.name} most samples have a tied k-th neighbour at {', '.join(tied)}: NNCS and NNLS say little "
            "there."
        )
    if not group.epochs:
        found.append(f"The runs of {group.name} have no epoch in common: curves of their last snapshots only.")
    return found
