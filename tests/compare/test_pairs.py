from itertools import permutations, product

import numpy as np
import pytest

import rra_monitor as rra
from rra_monitor.compare import pairs as run_pairs
from tests.helpers.digit_runs import matrix, overlap, stored
from tests.helpers.snapshots import snapshot_of


class TestPairs:
    def test_pairs_within_a_group_are_all_ordered_pairs_of_different_runs(self, found, runs):
        pairs = found.between("B", "B")
        assert set(pairs.runs) == set(permutations(runs["B"], 2))
        for at, (a, b) in enumerate(pairs.runs):
            np.testing.assert_allclose(pairs.nnls[at], matrix(a, b), atol=1e-12)
        np.testing.assert_allclose(pairs.mean(), np.mean([matrix(a, b) for a, b in permutations(runs["B"], 2)], axis=0))

    def test_pairs_across_two_groups_are_every_run_with_every_other(self, found, runs):
        pairs = found.between("A", "B")
        assert list(pairs.runs) == list(product(runs["A"], runs["B"]))
        expected = [matrix(a, b) for a, b in product(runs["A"], runs["B"])]
        np.testing.assert_allclose(pairs.mean(), np.mean(expected, axis=0))
        np.testing.assert_allclose(pairs.same_layer(), [np.diag(one) for one in expected])
        deviation = np.std([np.diag(one) for one in expected], axis=0, ddof=1)
        np.testing.assert_allclose(pairs.same_layer_deviation(), deviation, atol=1e-12)

    def test_pairs_asked_for_in_the_other_order_are_transposed(self, found):
        forth, back = found.between("A", "B"), found.between("B", "A")
        np.testing.assert_array_equal(back.mean(), forth.mean().T)
        assert back.runs[0] == forth.runs[0][::-1]

    def test_the_input_is_the_same_in_all_networks(self, found):
        assert all(pairs.mean()[0, 0] == 1.0 for pairs in found.pairs.values())

    def test_a_pair_and_its_reverse_count_once_in_the_deviation(self, found):
        within = found.between("B", "B")
        thrice = [np.diag(within.nnls[at]) for at, (a, b) in enumerate(within.runs) if a < b]
        np.testing.assert_allclose(within.same_layer_deviation(), np.std(thrice, axis=0, ddof=1), atol=1e-12)
        assert np.isnan(found.between("A", "A").same_layer_deviation()).all()

    def test_two_groups_that_share_runs_count_a_pair_once_too(self, runs):
        shared = rra.compare_runs({"A": runs["A"], "again": runs["A"]}).between("A", "again")
        assert len(shared.runs) == 2
        assert np.isnan(shared.same_layer_deviation()).all()

    def test_pairs_of_eight_seeds_in_two_groups_are_56_56_and_64(self, tmp_path):
        groups = {
            name: [stored(tmp_path / f"{name}{at}", snapshot_of(0, layers=("fc",), seed=at + shift)) for at in range(8)]
            for name, shift in (("A", 0), ("B", 8))
        }
        comparison = rra.compare_runs(groups)
        assert [len(pairs.runs) for pairs in comparison.pairs.values()] == [56, 64, 56]

    def test_pairs_are_taken_at_the_epoch_asked_for(self, runs):
        pairs = rra.compare_runs(runs, epoch=1).between("A", "B")
        first, second = (rra.RunStore(path).load("train", 8) for path in pairs.runs[0])
        assert pairs.nnls[0, 1, 3] == pytest.approx(overlap(first.graphs["1"], second.graphs["6"]))

    def test_pairs_are_the_same_when_few_graphs_fit_into_memory(self, found, runs, monkeypatch):
        monkeypatch.setattr(run_pairs, "HELD_BYTES", 1)
        again = rra.compare_runs(runs)
        for names, pairs in found.pairs.items():
            np.testing.assert_array_equal(again.pairs[names].nnls, pairs.nnls)

    def test_pairs_read_every_graph_once_where_they_fit_into_memory(self, runs, monkeypatch):
        read = []
        with_graphs = rra.RunStore.with_graphs

        def counted(self, snapshot):
            read.append(self.path)
            return with_graphs(self, snapshot)

        monkeypatch.setattr(rra.RunStore, "with_graphs", counted)
        rra.compare_runs(runs)
        assert sorted(read) == sorted(runs["A"] + runs["B"])

    def test_a_group_of_one_run_has_no_pairs_and_a_note(self, runs):
        comparison = rra.compare_runs({"A": runs["A"][:1], "B": runs["B"]})
        assert any("A is one run" in note for note in comparison.notes)
        with pytest.raises(ValueError, match=r"no NNLS of 'A' with 'A'.*is the only run"):
            comparison.between("A", "A").mean()
        assert len(comparison.between("A", "B").runs) == 3

    def test_a_run_in_two_groups_is_not_paired_with_itself(self, runs):
        comparison = rra.compare_runs({"one": runs["A"], "all": runs["A"] + runs["B"]})
        assert len(comparison.between("one", "all").runs) == 2 * 5 - 2
