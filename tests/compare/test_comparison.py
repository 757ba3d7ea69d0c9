import dataclasses
import math
from itertools import permutations, product

import numpy as np
import pytest

import rra_monitor as rra
from rra_monitor.compare import comparability
from rra_monitor.compare import pairs as run_pairs
from rra_monitor.compare.tables import curve_rows
from tests.helpers.digit_runs import LAYERS, last, matrix, overlap, stored, train, two_recipes
from tests.helpers.snapshots import snapshot_of


@pytest.fixture(scope="module")
def runs(digits, tmp_path_factory):
    return two_recipes(tmp_path_factory.mktemp("runs"), digits)


@pytest.fixture(scope="module")
def found(runs):
    return rra.compare_runs(runs)


class TestCurves:
    def test_are_mean_and_deviation_over_the_runs_at_every_epoch(self, found, runs):
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

    def test_end_with_each_run_s_own_last_snapshot(self, digits, runs, tmp_path):
        longer = train(tmp_path / "longer", digits, 5, epochs=3)
        comparison = rra.compare_runs({"A": [runs["A"][0], longer]})
        group = comparison.groups["A"]
        assert group.epochs == (0, 1, 2)
        assert group.last_epochs == (2, 3)
        np.testing.assert_array_equal(group.id[1, -1], last(longer).id)
        assert any("end at different epochs (2, 3)" in note for note in comparison.notes)

    def test_of_disjoint_epochs_are_those_of_the_last_snapshots(self, tmp_path):
        paths = [stored(tmp_path / str(at), snapshot_of(at), snapshot_of(at + 4)) for at in (0, 1)]
        comparison = rra.compare_runs({"A": paths})
        assert comparison.groups["A"].epochs == ()
        assert comparison.groups["A"].id.shape == (2, 1, 3)
        assert any("no epoch in common" in note for note in comparison.notes)

    def test_of_unlabelled_runs_have_no_class_similarity(self, tmp_path):
        paths = [stored(tmp_path / str(seed), snapshot_of(0, labelled=False, seed=seed)) for seed in (0, 1)]
        comparison = rra.compare_runs({"A": paths})
        assert comparison.groups["A"].nncs is None
        assert comparison.between("A", "A").nnls.shape == (2, 3, 3)

    def test_average_the_runs_where_a_value_is_defined(self, tmp_path):
        undefined = dataclasses.replace(snapshot_of(0), id=np.array([2.0, np.nan, np.nan]))
        other = dataclasses.replace(snapshot_of(0), id=np.array([4.0, 3.0, np.nan]))
        comparison = rra.compare_runs({"A": [stored(tmp_path / "0", undefined), stored(tmp_path / "1", other)]})
        rows = [row for row in curve_rows(comparison) if row["quantity"] == "id" and row["epoch"] == "last"]
        np.testing.assert_equal([row["mean"] for row in rows], [3.0, 3.0, np.nan])
        np.testing.assert_equal([row["sd"] for row in rows], [np.sqrt(2), np.nan, np.nan])
        assert [row["runs"] for row in rows] == [2, 1, 0]

    def test_of_the_health_of_graphs_are_there_too_and_ties_are_said(self, tmp_path):
        shots = [snapshot_of(0, seed=seed) for seed in range(2)]
        shots = [
            dataclasses.replace(shot, ties=np.array([0.0, 0.9, at]), hubness=np.full(3, np.nan))
            for at, shot in enumerate(shots)
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


class TestPairs:
    def test_within_a_group_are_all_ordered_pairs_of_different_runs(self, found, runs):
        pairs = found.between("B", "B")
        assert set(pairs.runs) == set(permutations(runs["B"], 2))
        for at, (a, b) in enumerate(pairs.runs):
            np.testing.assert_allclose(pairs.nnls[at], matrix(a, b), atol=1e-12)
        np.testing.assert_allclose(pairs.mean(), np.mean([matrix(a, b) for a, b in permutations(runs["B"], 2)], axis=0))

    def test_across_two_groups_are_every_run_with_every_other(self, found, runs):
        pairs = found.between("A", "B")
        assert list(pairs.runs) == list(product(runs["A"], runs["B"]))
        expected = [matrix(a, b) for a, b in product(runs["A"], runs["B"])]
        np.testing.assert_allclose(pairs.mean(), np.mean(expected, axis=0))
        np.testing.assert_allclose(pairs.same_layer(), [np.diag(one) for one in expected])
        deviation = np.std([np.diag(one) for one in expected], axis=0, ddof=1)
        np.testing.assert_allclose(pairs.same_layer_deviation(), deviation, atol=1e-12)

    def test_asked_the_other_way_round_are_transposed(self, found):
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

    def test_of_eight_seeds_in_two_groups_are_56_56_and_64(self, tmp_path):
        groups = {
            name: [stored(tmp_path / f"{name}{at}", snapshot_of(0, layers=("fc",), seed=at + shift)) for at in range(8)]
            for name, shift in (("A", 0), ("B", 8))
        }
        comparison = rra.compare_runs(groups)
        assert [len(pairs.runs) for pairs in comparison.pairs.values()] == [56, 64, 56]

    def test_are_taken_at_an_epoch_on_request(self, runs):
        pairs = rra.compare_runs(runs, epoch=1).between("A", "B")
        first, second = (rra.RunStore(path).load("train", 8) for path in pairs.runs[0])
        assert pairs.nnls[0, 1, 3] == pytest.approx(overlap(first.graphs["1"], second.graphs["6"]))

    def test_are_the_same_when_few_graphs_fit_into_memory(self, found, runs, monkeypatch):
        monkeypatch.setattr(run_pairs, "HELD_BYTES", 1)
        again = rra.compare_runs(runs)
        for names, pairs in found.pairs.items():
            np.testing.assert_array_equal(again.pairs[names].nnls, pairs.nnls)

    def test_read_every_graph_once_where_they_fit(self, runs, monkeypatch):
        read = []
        load = rra.RunStore.load

        def counted(self, probe, step, graphs=True):
            read.extend([self.path] if graphs else [])
            return load(self, probe, step, graphs)

        monkeypatch.setattr(rra.RunStore, "load", counted)
        rra.compare_runs(runs)
        assert sorted(read) == sorted(runs["A"] + runs["B"])

    def test_of_one_run_are_none_and_said(self, runs):
        comparison = rra.compare_runs({"A": runs["A"][:1], "B": runs["B"]})
        assert any("A is one run" in note for note in comparison.notes)
        with pytest.raises(ValueError, match=r"no NNLS of 'A' with 'A'.*is the only run"):
            comparison.between("A", "A").mean()
        assert len(comparison.between("A", "B").runs) == 3

    def test_a_run_in_two_groups_is_not_paired_with_itself(self, runs):
        comparison = rra.compare_runs({"one": runs["A"], "all": runs["A"] + runs["B"]})
        assert len(comparison.between("one", "all").runs) == 2 * 5 - 2


class TestComparable:
    def test_networks_of_different_depth_have_a_rectangular_matrix_and_meet_by_name(self, digits, runs, tmp_path):
        deep = train(tmp_path / "deep", digits, 3, deep=True)
        pairs = rra.compare_runs({"A": runs["A"], "deep": [deep]}).between("A", "deep")
        assert pairs.layers_b == ("input", "1", "3", "8")
        assert not pairs.refused
        np.testing.assert_allclose(pairs.mean(), np.mean([matrix(a, deep) for a in runs["A"]], axis=0))
        assert np.isnan(pairs.same_layer()).any(axis=0).tolist() == [False, False, False, True]

    def test_layers_without_a_name_in_common_have_no_self_layer_diagonal(self, tmp_path):
        a = stored(tmp_path / "a", snapshot_of(0, layers=("x", "y")))
        b = stored(tmp_path / "b", snapshot_of(0, layers=("u", "v", "w"), seed=9))
        pairs = rra.compare_runs({"A": [a], "B": [b]}).between("A", "B")
        assert pairs.mean().shape == (2, 3)
        assert np.isnan(pairs.same_layer()).all()

    def test_the_module_around_a_network_does_not_keep_its_layers_apart(self, tmp_path):
        lone = stored(tmp_path / "a", snapshot_of(0, layers=("input", "layer1.0", "layer1.0@avg2", "fc")))
        inside = ("input", "network.layer1.0", "network.layer1.0@avg2", "network.fc")
        wrapped = stored(tmp_path / "b", snapshot_of(0, layers=inside, seed=9))
        comparison = rra.compare_runs({"alone": [lone], "trained": [wrapped]})
        pairs = comparison.between("trained", "alone")
        assert comparison.groups["trained"].layers == pairs.layers_a == pairs.layers_b
        np.testing.assert_allclose(pairs.same_layer()[0], np.diag(matrix(wrapped, lone)))
        assert rra.compare_runs({"trained": [wrapped]}).groups["trained"].layers == inside

    def test_training_and_validation_samples_of_one_density_share_curves_and_no_nnls(self, runs):
        comparison = rra.compare_runs(runs, probe=["train", "val"])
        assert list(comparison.groups) == ["A/train", "A/val", "B/train", "B/val"]
        pairs = comparison.between("A/train", "A/val")
        assert set(pairs.refused) == {"nnls"}
        with pytest.raises(ValueError, match="n=150 here, n=100 there"):
            pairs.mean()
        assert any("n, which is 150 in A/train and 100 in A/val" in note for note in comparison.notes)
        assert len(comparison.between("A/val", "B/val").runs) == 6

    def test_another_density_refuses_curves_with_both_values(self, tmp_path):
        a, b = stored(tmp_path / "a", snapshot_of(0)), stored(tmp_path / "b", snapshot_of(0, n=60, k=4))
        refused = rra.compare_runs({"A": [a], "B": [b]}).between("A", "B").refused
        assert set(refused) == {"id", "nncs", "nnls", "nnls_within_run"}
        for reason in (refused["id"], refused["nncs"], refused["nnls_within_run"]):
            assert "n=30, k=4 in A, n=60, k=4 in B" in reason
            assert "measure with k=8 at n=60" in reason

    def test_densities_within_a_tenth_are_compared_and_said(self, tmp_path):
        a, b = stored(tmp_path / "a", snapshot_of(0, n=126, k=12)), stored(tmp_path / "b", snapshot_of(0, n=30, k=3))
        comparison = rra.compare_runs({"A": [a], "B": [b]})
        assert set(comparison.between("A", "B").refused) == {"nnls"}
        assert any("differ by less than a tenth: n=126, k=12 in A, n=30, k=3 in B" in note for note in comparison.notes)

    def test_the_remedy_is_never_what_was_measured(self, tmp_path):
        settings = snapshot_of(0).settings
        for n in range(11, 40):
            for k in (2, 3, 7):
                here, there = (dataclasses.replace(settings, n=each, k=its) for each, its in ((10, 2), (n, k)))
                if not here.dense_as(there):
                    remedy = comparability._remedy(here, there)
                    assert f"k={k} at n={n}" not in remedy
                    assert "k=2 at n=10" not in remedy

    def test_another_k_at_one_n_leaves_the_id_comparable(self, tmp_path):
        a, b = stored(tmp_path / "a", snapshot_of(0)), stored(tmp_path / "b", snapshot_of(0, k=5))
        assert set(rra.compare_runs({"A": [a], "B": [b]}).between("A", "B").refused) == {
            "nncs",
            "nnls",
            "nnls_within_run",
        }

    def test_labels_in_one_group_alone_refuse_what_needs_them(self, tmp_path):
        a, b = stored(tmp_path / "a", snapshot_of(0)), stored(tmp_path / "b", snapshot_of(0, labelled=False))
        refused = rra.compare_runs({"A": [a], "B": [b]}).between("A", "B").refused
        assert refused["nncs"] == "NNCS needs labels, and B has none; give its sample labels"
        assert "id" not in refused

    def test_graphs_that_were_not_kept_refuse_nnls_and_keep_the_curves(self, tmp_path):
        bare = stored(tmp_path / "a", snapshot_of(0), snapshot_of(1), keep_graphs="last")
        whole = stored(tmp_path / "b", snapshot_of(0, seed=3), snapshot_of(1, seed=3))
        comparison = rra.compare_runs({"A": [bare], "B": [whole]}, epoch=0)
        assert "kept no graphs of probe 'train' at step 0" in comparison.between("A", "B").refused["nnls"]
        assert np.isfinite(comparison.groups["A"].id).all()

    def test_other_contents_under_equal_ids_are_said_once(self, tmp_path):
        shots = [snapshot_of(0, seed=seed) for seed in range(4)]
        other = dataclasses.replace(shots[0].settings, fingerprint="another")
        shots[2:] = [dataclasses.replace(shot, settings=other) for shot in shots[2:]]
        paths = [stored(tmp_path / str(at), shot) for at, shot in enumerate(shots)]
        notes = rra.compare_runs({"A": paths[:2], "B": paths[2:]}).notes
        assert sum("other contents" in note for note in notes) == 1

    @pytest.mark.parametrize(
        ("other", "text"),
        [
            ({"k": 5}, "k 4 against 5"),
            ({"n": 40}, "n 30 against 40"),
            ({"labelled": False}, "labels present against absent"),
            ({"layers": ("input", "other", "fc")}, "3 layers against 3, 'a/b c' against 'other'"),
            ({"layers": ("input", "a/b c")}, "3 layers against 2"),
        ],
    )
    def test_runs_of_one_group_must_be_measured_alike(self, tmp_path, other, text):
        paths = [stored(tmp_path / "a", snapshot_of(0)), stored(tmp_path / "b", snapshot_of(0, **other))]
        with pytest.raises(ValueError, match=text):
            rra.compare_runs({"A": paths})


class TestBadInput:
    @pytest.mark.parametrize(
        ("groups", "text"),
        [
            ({}, "groups, which is empty"),
            ({"A": []}, "no runs to compare in 'A'"),
            ({"A": "runs/a"}, r"expected a list of directories, \['runs/a'\]"),
            ({"A": ["no/such"]}, "there is no run at no/such"),
        ],
    )
    def test_groups_without_runs(self, groups, text):
        with pytest.raises(ValueError, match=text):
            rra.compare_runs(groups)

    def test_an_empty_directory(self, tmp_path):
        with pytest.raises(ValueError, match="holds no snapshots"):
            rra.compare_runs({"A": [tmp_path]})

    def test_a_run_named_twice(self, runs):
        with pytest.raises(ValueError, match="twice"):
            rra.compare_runs({"A": [runs["A"][0], runs["A"][0] + "/"]})

    def test_an_epoch_that_a_run_lacks_is_named_with_those_it_has(self, runs):
        with pytest.raises(ValueError, match="no snapshot of probe 'train' at epoch 7; its epochs: 0, 1, 2"):
            rra.compare_runs(runs, epoch=7)

    @pytest.mark.parametrize("epoch", ["first", True, 1.5])
    def test_an_epoch_that_is_none(self, runs, epoch):
        with pytest.raises(ValueError, match="expected a number of completed epochs, or 'last'"):
            rra.compare_runs(runs, epoch=epoch)

    def test_an_unknown_probe_or_group(self, runs, found):
        with pytest.raises(ValueError, match="no probe 'test'; its probes: train, val"):
            rra.compare_runs(runs, probe="test")
        with pytest.raises(ValueError, match="no group 'C'; the groups: A, B"):
            found.between("A", "C")

    def test_no_probe_in_common(self, tmp_path):
        paths = [stored(tmp_path / name, snapshot_of(0, probe=name)) for name in ("x", "y")]
        with pytest.raises(ValueError, match=r"no probe in common: .*x has x; .*y has y"):
            rra.compare_runs({"A": paths})

    def test_snapshots_measured_otherwise_than_the_last_are_left_out_with_a_warning(self, tmp_path):
        path = stored(tmp_path, snapshot_of(0, k=5), snapshot_of(1))
        with pytest.warns(UserWarning, match=r"1 of 2 snapshots .* \(k 5 against 4\)"):
            assert rra.compare_runs({"A": [path]}).groups["A"].epochs == (1,)


class TestSettling:
    def test_is_the_similarity_of_each_layer_to_its_own_last_state(self, runs):
        path = runs["A"][0]
        found = rra.settling(path, "val")
        store, end = rra.RunStore(path), last(path, "val")
        assert (found.epochs, found.steps, found.layers) == ((0, 1, 2), (0, 8, 16), LAYERS)
        expected = [[overlap(store.load("val", at).graphs[x], end.graphs[x]) for x in LAYERS] for at in found.steps]
        np.testing.assert_allclose(found.nnls, expected, atol=1e-12)

    def test_says_which_layers_settle_first(self):
        curves = np.array([[1.0, 0.2, 0.9, 0.1], [1.0, 0.8, 0.7, 0.2], [1.0, 0.9, 0.9, 0.3], [1.0, 1.0, 1.0, 1.0]])
        found = rra.Settling("run", "train", ("input", "a", "b", "c"), (0, 5, 10, 15), (0, 1, 2, 3), curves, 0.05)
        assert found.settled() == {"input": 0, "a": 5, "b": 10, "c": None}
        with pytest.raises(ValueError, match=r"level=0.01; expected above chance, 0.05, to 1"):
            found.settled(0.01)

    def test_needs_two_snapshots_with_graphs(self, tmp_path):
        path = stored(tmp_path, snapshot_of(0), snapshot_of(1), keep_graphs="last")
        with pytest.raises(ValueError, match="has 1 snapshots of probe 'train' with graphs"):
            rra.settling(path)


def test_graphs_that_are_removed_while_runs_are_compared_are_named(tmp_path, monkeypatch):
    paths = [stored(tmp_path / str(seed), snapshot_of(0, seed=seed)) for seed in (0, 1)]
    listed = {path: rra.RunStore(path).graph_steps("train") for path in map(str, paths)}
    for path in (tmp_path / "1").rglob("*.graphs.safetensors"):
        path.unlink()
    monkeypatch.setattr(rra.RunStore, "graph_steps", lambda store, probe: listed[store.path])
    with pytest.raises(ValueError, match=f"{tmp_path / '1'}: the graphs of probe 'train' at step 0 were removed"):
        rra.compare_runs({"A": paths})


def test_settling_leaves_out_graphs_that_can_not_be_read(tmp_path):
    path = stored(tmp_path / "run", *(snapshot_of(step) for step in range(4)))
    whole = rra.settling(path)
    (tmp_path / "run" / "snapshots" / "train" / "000000001.graphs.safetensors").write_bytes(b"cut off")
    with pytest.warns(
        UserWarning, match=r"000000001\.graphs\.safetensors is no complete file.*leaves that snapshot out"
    ):
        found = rra.settling(path)
    assert (found.steps, found.epochs) == ((0, 2, 3), (0, 2, 3))
    np.testing.assert_array_equal(found.nnls, whole.nnls[[0, 2, 3]])
