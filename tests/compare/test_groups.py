import math
from itertools import product

import numpy as np
import pytest

import rra_monitor as rra
from rra_monitor.compare.tables import curve_rows
from tests.helpers.digit_runs import LAYERS, last, stored, train
from tests.helpers.snapshots import snapshot_of


class TestGroup:
    def test_curves_are_mean_and_deviation_over_the_runs_at_every_epoch(self, found, runs):
        stores = [rra.RunStore(path) for path in runs["B"]]
        group = found.groups["B"]
        assert group.epochs == (0, 1, 2)
        assert group.moments == (0, 1, 2, "last")
        assert group.layers == LAYERS
        rows = {(row["epoch"], row["layer"], row["quantity"]): row for row in curve_rows(found) if row["group"] == "B"}
        for epoch, layer, quantity in product((0, 1, 2), range(4), ("id", "nncs")):
            values = [getattr(store.load("train", 8 * epoch), quantity)[layer] for store in stores]
            row = rows[epoch, LAYERS[layer], quantity]
            assert row["mean"] == pytest.approx(sum(values) / 3)
            assert row["sd"] == pytest.approx(math.sqrt(sum((v - sum(values) / 3) ** 2 for v in values) / 2))
            assert row["runs"] == 3

    def test_curves_end_with_each_runs_own_last_snapshot(self, digits, runs, tmp_path):
        longer = train(tmp_path / "longer", digits, 5, epochs=3)
        comparison = rra.compare_runs({"A": [runs["A"][0], longer]})
        group = comparison.groups["A"]
        assert group.epochs == (0, 1, 2)
        assert group.last_epochs == (2, 3)
        np.testing.assert_array_equal(group.id[1, -1], last(longer).id)
        assert any("end at different epochs (2, 3)" in note for note in comparison.notes)

    def test_curves_of_disjoint_epochs_are_those_of_the_last_snapshots(self, tmp_path):
        paths = [stored(tmp_path / str(at), snapshot_of(at), snapshot_of(at + 4)) for at in (0, 1)]
        comparison = rra.compare_runs({"A": paths})
        assert comparison.groups["A"].epochs == ()
        assert comparison.groups["A"].id.shape == (2, 1, 3)
        assert any("no epoch in common" in note for note in comparison.notes)

    def test_unlabelled_runs_have_no_nncs(self, tmp_path):
        paths = [stored(tmp_path / str(seed), snapshot_of(0, labelled=False, seed=seed)) for seed in (0, 1)]
        comparison = rra.compare_runs({"A": paths})
        assert comparison.groups["A"].nncs is None
        assert comparison.between("A", "A").nnls.shape == (2, 3, 3)

    def test_curves_average_the_runs_where_a_value_is_defined(self, tmp_path):
        undefined = snapshot_of(0).changed(id=np.array([2.0, np.nan, np.nan]))
        other = snapshot_of(0).changed(id=np.array([4.0, 3.0, np.nan]))
        comparison = rra.compare_runs({"A": [stored(tmp_path / "0", undefined), stored(tmp_path / "1", other)]})
        rows = [row for row in curve_rows(comparison) if row["quantity"] == "id" and row["epoch"] == "last"]
        np.testing.assert_equal([row["mean"] for row in rows], [3.0, 3.0, np.nan])
        np.testing.assert_equal([row["sd"] for row in rows], [np.sqrt(2), np.nan, np.nan])
        assert [row["runs"] for row in rows] == [2, 1, 0]

    def test_curves_have_the_health_of_graphs_and_ties_are_noted(self, tmp_path):
        shots = [snapshot_of(0, seed=seed) for seed in range(2)]
        shots = [
            shot.changed(ties=np.array([0.0, 0.9, at]), hubness=np.full(3, np.nan)) for at, shot in enumerate(shots)
        ]
        comparison = rra.compare_runs({"A": [stored(tmp_path / str(at), shot) for at, shot in enumerate(shots)]})
        rows = {(row["quantity"], row["layer"]): row for row in curve_rows(comparison) if row["epoch"] == "last"}
        layers = comparison.groups["A"].layers
        assert rows["ties", layers[2]]["mean"] == 0.5
        assert rows["ties", layers[2]]["sd"] == pytest.approx(math.sqrt(0.5))
        assert rows["hubness", layers[0]]["runs"] == 0
        (note,) = [note for note in comparison.notes if "tied k-th" in note]
        assert f"{layers[1]} (90%)" in note
        assert layers[2] not in note
