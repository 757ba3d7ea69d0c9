import pytest

import rra_monitor as rra
from tests.helpers.digit_runs import stored
from tests.helpers.snapshots import snapshot_of


class TestCompareRuns:
    def test_the_directory_of_the_logger_stands_for_the_run_in_it(self, tmp_path):
        stored(tmp_path / "seed0" / "rra", snapshot_of(0))
        assert rra.compare_runs({"A": [tmp_path / "seed0"]}).groups["A"].runs == (str(tmp_path / "seed0" / "rra"),)


class TestCompareRunsRefuses:
    @pytest.mark.parametrize("groups", ["runs/a", ["runs/a", "runs/b"]])
    def test_runs_without_names_of_groups(self, groups):
        with pytest.raises(TypeError, match=r"groups=.*; expected names and directories of runs, as \{'A': "):
            rra.compare_runs(groups)

    @pytest.mark.parametrize(
        ("groups", "text"),
        [
            ({}, "groups, which is empty"),
            ({"A": []}, "no runs to compare in 'A'"),
            ({"A": "runs/a"}, r"expected a list of directories, \['runs/a'\]"),
            ({"A": ["no/such"]}, "there is no run at no/such"),
        ],
    )
    def test_groups_without_runs_are_refused(self, groups, text):
        with pytest.raises(ValueError, match=text):
            rra.compare_runs(groups)

    def test_a_directory_without_snapshots_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match="holds no snapshots"):
            rra.compare_runs({"A": [tmp_path]})

    def test_a_run_named_twice_is_refused(self, runs):
        with pytest.raises(ValueError, match="twice"):
            rra.compare_runs({"A": [runs["A"][0], runs["A"][0] + "/"]})

    def test_an_epoch_that_a_run_lacks_is_named_with_those_it_has(self, runs):
        with pytest.raises(ValueError, match="no snapshot of probe 'train' at epoch 7; its epochs: 0, 1, 2"):
            rra.compare_runs(runs, epoch=7)

    @pytest.mark.parametrize("epoch", ["first", True, 1.5])
    def test_an_epoch_that_is_no_number_is_refused(self, runs, epoch):
        with pytest.raises(ValueError, match="expected a number of completed epochs, or 'last'"):
            rra.compare_runs(runs, epoch=epoch)

    def test_an_unknown_probe_or_group_is_refused(self, runs, found):
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


def test_graphs_that_are_removed_while_runs_are_compared_are_named(tmp_path, monkeypatch):
    paths = [stored(tmp_path / str(seed), snapshot_of(0, seed=seed)) for seed in (0, 1)]
    listed = {path: rra.RunStore(path).graph_steps("train") for path in map(str, paths)}
    for path in (tmp_path / "1").rglob("*.graphs.safetensors"):
        path.unlink()
    monkeypatch.setattr(rra.RunStore, "graph_steps", lambda store, probe: listed[store.path])
    with pytest.raises(ValueError, match=f"{tmp_path / '1'}: the graphs of probe 'train' at step 0 were removed"):
        rra.compare_runs({"A": paths})
