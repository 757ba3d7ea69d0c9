"""The remedies that texts about groups of runs name, each of them followed."""

import re
from dataclasses import replace

import numpy as np
import pytest

import rra_monitor as rra
from tests.helpers.digit_runs import stored
from tests.helpers.remedies import Remedy, assert_says
from tests.helpers.snapshots import snapshot_of


@pytest.fixture
def run(tmp_path):
    """A new run of the given snapshots; its directory."""
    return lambda *snapshots, **options: stored(tmp_path / f"run{len(list(tmp_path.iterdir()))}", *snapshots, **options)


@pytest.fixture
def pair(run):
    return [run(snapshot_of(0), snapshot_of(1)), run(snapshot_of(0, seed=5), snapshot_of(1, seed=5))]


def compared(*groups, **options):
    return rra.compare_runs({f"group{at}": runs for at, runs in enumerate(groups)}, **options)


def nnls(*groups, **options):
    """The pairs between the first and the last group, which must have an NNLS."""
    found = compared(*groups, **options)
    return found.between("group0", f"group{len(groups) - 1}").mean()


def test_compare_remedies_are_followed(run, pair):
    first, second = pair
    for remedy in (
        Remedy(
            "expected a number of completed epochs, or 'last'",
            lambda: compared(pair, epoch="first"),
            lambda: compared(pair, epoch=0),
            lambda: compared(pair, epoch="last"),
        ),
        Remedy(
            "expected a list of directories, [{}]",
            lambda: compared(first),
            lambda: compared([first]),
        ),
        Remedy(
            "a run cannot be compared with itself. Name it once",
            lambda: compared([first, first]),
            lambda: compared([first]),
        ),
        Remedy(
            "probe is an empty list; name one, or None for the first that all runs have",
            lambda: compared(pair, probe=[]),
            lambda: compared(pair, probe=["train"]),
            lambda: compared(pair, probe=None),
        ),
        Remedy(
            "put these into two groups",
            lambda: compared([first, run(snapshot_of(0, k=5))]),
            lambda: compared([first], [run(snapshot_of(0, k=5))]),
        ),
        Remedy(
            "Name a probe alike in all of them",
            lambda: compared([first], [run(snapshot_of(0, probe="val"))]),
            lambda: compared([first], [run(snapshot_of(0, probe="train"))]),
        ),
        Remedy(
            "and a run is not paired with itself; add another seed",
            lambda: nnls([first]),
            lambda: nnls([first, second]),
        ),
        Remedy(
            "kept no graphs of probe {} at step {}, and NNLS needs them; keep them with keep_graphs='all' or a number",
            lambda: nnls([first], [run(snapshot_of(0), snapshot_of(1), keep_graphs="last")], epoch=0),
            lambda: nnls([first], [run(snapshot_of(0), snapshot_of(1), keep_graphs="all")], epoch=0),
            lambda: nnls([first], [run(snapshot_of(0), snapshot_of(1), keep_graphs=2)], epoch=0),
        ),
        Remedy(
            "settling compares at least two; measure at more epochs, with keep_graphs='all' or a number above 1",
            lambda: rra.settling(run(snapshot_of(0), snapshot_of(1), keep_graphs=1)),
            lambda: rra.settling(run(snapshot_of(0), snapshot_of(1), keep_graphs="all")),
            lambda: rra.settling(run(snapshot_of(0), snapshot_of(1), keep_graphs=2)),
        ),
    ):
        remedy.check()


@pytest.mark.parametrize(("small", "large"), [((30, 4), (60, 4)), ((15, 4), (30, 4)), ((30, 5), (60, 2))])
def test_compare_remedy_for_another_density_is_followed(run, small, large):
    def refused(sizes):
        found = compared(*([run(snapshot_of(0, n=n, k=k))] for n, k in sizes.items()))
        return found.between("group0", "group1").refused

    # Both orders: to (30, 5) the other would need k=1, which no monitor takes.
    for sizes in (dict([small, large]), dict([large, small])):
        reason = refused(sizes)["nncs"]
        assert_says("measure with k={} at n={}", reason)
        k, n = map(int, re.search(r"measure with k=(\d+) at n=(\d+)$", reason).groups())
        assert k >= 2
        assert not {"id", "nncs", "nnls_within_run"} & set(refused(sizes | {n: k}))


def test_compare_remedy_for_a_quantity_that_one_group_lacks_is_followed(run):
    own = rra.Quantity("mine", lambda graph, labels: 1.0)
    without = snapshot_of(0)
    measured = replace(without, quantities=(*without.quantities, own)).changed(mine=np.ones(len(without.layers)))
    refused = compared([run(measured)], [run(without)]).between("group0", "group1").refused
    assert_says("was measured without {}; measure it with quantities=[{}]", refused["mine"])
    assert "mine" not in compared([run(measured)], [run(measured)]).between("group0", "group1").refused
