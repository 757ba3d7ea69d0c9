import dataclasses

import numpy as np
import pytest

import rra_monitor as rra
from rra_monitor.compare import comparability
from rra_monitor.measure.quantities import standard
from tests.helpers.digit_runs import matrix, stored, train
from tests.helpers.snapshots import snapshot_of


class TestComparability:
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

    def test_another_estimator_refuses_the_id_alone(self, tmp_path):
        a, other = snapshot_of(0), snapshot_of(0)
        b = dataclasses.replace(
            other,
            settings=dataclasses.replace(other.settings, estimator="censored"),
            quantities=standard("censored"),
        )
        runs = {"A": [stored(tmp_path / "a", a)], "B": [stored(tmp_path / "b", b)]}
        refused = rra.compare_runs(runs).between("A", "B").refused
        assert set(refused) == {"id"}
        assert "is by 'ml' in A, by 'censored' in B; measure both with one estimator" in refused["id"]
        with pytest.raises(ValueError, match="estimator ml against censored"):
            rra.compare_runs({"both": [runs["A"][0], runs["B"][0]]})

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
