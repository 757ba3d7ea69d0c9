import dataclasses
import os

import fsspec
import numpy as np
import pytest
from safetensors.numpy import save_file

import rra_monitor as rra
from rra_monitor.graph.knn import graph_bytes, index_type
from tests.helpers.snapshots import assert_equal, snapshot_of


@pytest.fixture(params=["disk", "memory"])
def path(request, tmp_path):
    if request.param == "disk":
        yield str(tmp_path / "runs" / "seed 0")
    else:
        yield "memory://runs/seed0"
        fsspec.filesystem("memory").rm("/runs", recursive=True)


class TestRunStoreRoundTrip:
    def test_the_audit_of_an_approximate_graph_reads_back(self, path):
        points = np.random.default_rng(0).normal(size=(400, 5)).astype(np.float32)
        graph = rra.knn_graph(points, 4, "nndescent", min_recall=0.0)
        snapshot = snapshot_of(0, n=400, k=4)
        store = rra.RunStore(path)
        store.save(dataclasses.replace(snapshot, graphs=snapshot.graphs | {"fc": graph}))
        graphs = store.load("train", 0).graphs
        assert graphs["input"].audit is None
        found = graphs["fc"].audit
        assert found.standard_error(graph) == graph.audit.standard_error(graph) > 0
        assert rra.metrics.induced_errors(graphs["fc"]) == rra.metrics.induced_errors(graph)

    def test_comparisons_read_back_equal_and_outlive_the_graphs(self, path):
        store = rra.RunStore(path, keep_graphs="last")
        first, second = snapshot_of(1), snapshot_of(2)
        store.save(first)
        other = snapshot_of(9, layers=("input", "fc"))
        stored = {"prev": rra.match(second, first, "prev"), "ref-a": rra.match(second, other, "ref-a")}
        store.save(second, stored)
        store.save(snapshot_of(3))
        found = rra.RunStore(path).matches("train", 2)
        assert list(found) == ["prev", "ref-a"]
        for name, match in stored.items():
            assert (found[name].name, found[name].epoch, found[name].step) == (name, match.epoch, match.step)
            assert found[name].layers == match.layers
            np.testing.assert_array_equal(found[name].nnls, match.nnls)
        assert store.matches("train", 1) == {}
        with pytest.raises(ValueError, match=r"no snapshot of probe 'train' at step 7; its steps: 1, 2, 3"):
            store.matches("train", 7)

    def test_what_was_not_measured_reads_back_as_none(self, path):
        rra.RunStore(path).save(snapshot_of(1))
        found = rra.RunStore(path).load("train", 1)
        assert (found.checked, found.failed, found.cka) == (None, None, None)

    @pytest.mark.parametrize("labelled", [True, False])
    def test_a_snapshot_reads_back_equal(self, path, labelled):
        snapshot = snapshot_of(12, labelled=labelled)
        rra.RunStore(path).save(snapshot)
        assert_equal(snapshot, rra.RunStore(path).load("train", 12))

    def test_views_and_what_equals_what_read_back_equal(self, path):
        snapshot = snapshot_of(3, layers=("input", "input@avg2", "a/b c", "a/b c@avg-global", "fc"))
        snapshot = dataclasses.replace(
            snapshot,
            settings=dataclasses.replace(snapshot.settings, views=("full", "avg2")),
            aliases={"a/b c@avg2": "a/b c@avg-global", "fc@avg2": "fc"},
        )
        rra.RunStore(path).save(snapshot)
        again = rra.RunStore(path).load("train", 3)
        assert_equal(snapshot, again)
        assert again.view("avg2").names == ("input@avg2", "a/b c@avg-global", "fc")
        np.testing.assert_array_equal(again.inter("avg2"), snapshot.inter("avg2"))

    def test_undefined_values_read_back_undefined(self, path):
        snapshot = snapshot_of(1).changed(id=np.array([1.0, np.nan, 3.0]))
        rra.RunStore(path).save(snapshot)
        np.testing.assert_array_equal(rra.RunStore(path).load("train", 1).id, [1.0, np.nan, 3.0])


class TestRunStoreSteps:
    def test_probes_and_steps_are_listed_in_order(self, path):
        store = rra.RunStore(path)
        assert (store.probes(), store.steps("train")) == ((), ())
        for step in (30, 4, 1_000_000_000):
            store.save(snapshot_of(step))
        store.save(snapshot_of(4, probe="val"))
        assert store.probes() == ("train", "val")
        assert store.steps("train") == (4, 30, 1_000_000_000)

    def test_saving_a_step_again_replaces_it(self, path):
        store = rra.RunStore(path)
        store.save(snapshot_of(5))
        newer = snapshot_of(5, epoch=9, seed=100)
        store.save(newer)
        assert store.steps("train") == (5,)
        assert_equal(newer, store.load("train", 5))

    def test_later_snapshots_are_set_aside(self, path):
        store = rra.RunStore(path)
        for step in (1, 2, 3):
            store.save(snapshot_of(step))
        assert store.set_aside(after=1) == 2
        assert store.steps("train") == store.graph_steps("train") == (1,)

    def test_curves_are_read_without_opening_graphs(self, tmp_path):
        store = rra.RunStore(tmp_path)
        store.save(snapshot_of(3))
        (graphs,) = tmp_path.rglob("*.graphs.safetensors")
        graphs.write_bytes(b"not read")
        assert store.load("train", 3, graphs=False).graphs == {}
        with pytest.raises(ValueError, match=r"graphs.safetensors is no complete file"):
            store.load("train", 3)

    def test_the_previous_snapshot_has_a_smaller_step_and_graphs(self, path):
        store = rra.RunStore(path)
        for step in (2, 5, 9):
            store.save(snapshot_of(step))
        assert store.previous("train", 2) is None
        assert store.previous("train", 9).step == 5
        assert store.previous("train", 100).step == 9
        assert store.epochs("train") == {2: 2, 5: 5, 9: 9}

    def test_an_unknown_step_lists_those_there(self, tmp_path):
        store = rra.RunStore(tmp_path)
        store.save(snapshot_of(4))
        with pytest.raises(ValueError, match="no snapshot of probe 'train' at step 5; its steps: 4"):
            store.load("train", 5)
        with pytest.raises(ValueError, match="its steps: none"):
            store.load("val", 4)


class TestRunStoreKeepGraphs:
    @pytest.mark.parametrize(("keep", "left"), [("all", (0, 1, 2, 3)), ("last", (3,)), (2, (2, 3))])
    def test_keep_graphs_bounds_graphs_and_never_curves(self, path, keep, left):
        store = rra.RunStore(path, keep_graphs=keep)
        for step in range(4):
            store.save(snapshot_of(step))
        assert store.graph_steps("train") == left
        assert store.steps("train") == (0, 1, 2, 3)
        oldest = store.load("train", 0)
        assert np.isfinite(oldest.id).all()
        assert (not oldest.graphs) == (keep != "all")

    def test_graphs_are_pruned_before_the_newest_step_and_never_the_newest_itself(self, path):
        rra.RunStore(path).save(snapshot_of(100))
        store = rra.RunStore(path, keep_graphs="last")
        for step in (60, 70):
            store.save(snapshot_of(step))
        assert store.graph_steps("train") == (70, 100)

    def test_graphs_that_lost_their_curves_are_removed_instead_of_whole_ones(self, tmp_path):
        store = rra.RunStore(tmp_path, keep_graphs="last")
        store.save(snapshot_of(1))
        store.save(snapshot_of(2))
        (tmp_path / "snapshots" / "train" / "000000002.curves.safetensors").unlink()
        store.save(snapshot_of(1))
        assert store.graph_steps("train") == (1,)
        assert len(list(tmp_path.rglob("*.graphs.safetensors"))) == 1

    @pytest.mark.parametrize("keep", ["none", 0, -1, True, 1.5])
    def test_keep_graphs_takes_words_and_positive_numbers(self, tmp_path, keep):
        with pytest.raises(ValueError, match="expected 'all', 'last' or a number"):
            rra.RunStore(tmp_path, keep_graphs=keep)

    @pytest.mark.parametrize(
        ("n", "kind"), [(256, np.uint8), (257, np.uint16), (65_536, np.uint16), (65_537, np.uint32)]
    )
    def test_indices_take_the_smallest_type_that_holds_them(self, n, kind):
        assert index_type(n) is kind
        assert np.iinfo(kind).max >= n - 1

    def test_the_stated_size_is_the_size_on_disk(self, tmp_path):
        rra.RunStore(tmp_path).save(snapshot_of(1, n=300, k=20))
        (path,) = tmp_path.rglob("*.graphs.safetensors")
        assert path.stat().st_size == pytest.approx(graph_bytes(300, 20, 3), rel=0.05)


class TestRunStoreDamage:
    def test_graphs_of_another_writing_are_not_taken_for_these(self, tmp_path):
        store = rra.RunStore(tmp_path)
        store.save(snapshot_of(1))
        graphs = tmp_path / "snapshots" / "train" / "000000001.graphs.safetensors"
        earlier = graphs.read_bytes()
        store.save(snapshot_of(1, seed=7))
        graphs.write_bytes(earlier)
        with pytest.raises(ValueError, match="not written with the curves beside it"):
            store.load("train", 1)

    def test_a_replacement_that_fails_keeps_the_old(self, tmp_path, monkeypatch):
        store = rra.RunStore(tmp_path)
        store.save(snapshot_of(1))
        monkeypatch.setattr(os, "replace", lambda source, target: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            store.save(snapshot_of(1, seed=7))
        assert_equal(snapshot_of(1), store.load("train", 1))

    def test_unreadable_snapshots_are_passed_over_with_a_warning(self, tmp_path):
        store = rra.RunStore(tmp_path)
        for step in (1, 2, 3):
            store.save(snapshot_of(step))
        (tmp_path / "snapshots" / "train" / "000000002.curves.safetensors").write_bytes(b"cut off")
        with pytest.warns(UserWarning, match="000000002.curves.safetensors is no complete file"):
            assert [snapshot.step for snapshot in store.curves("train")] == [1, 3]
        with pytest.warns(UserWarning, match="no complete file"):
            assert store.previous("train", 3).step == 1
        with pytest.warns(UserWarning, match="no complete file"):
            assert store.epochs("train") == {1: 1, 3: 3}

    def test_a_sample_that_was_cut_off_is_mended_by_the_next_process(self, tmp_path):
        rra.RunStore(tmp_path).save(snapshot_of(1))
        (sample,) = (tmp_path / "samples").iterdir()
        sample.write_bytes(b"cut off")
        rra.RunStore(tmp_path).save(snapshot_of(2))
        assert_equal(snapshot_of(1), rra.RunStore(tmp_path).load("train", 1))

    @pytest.mark.parametrize("damage", ["truncated", "empty", "foreign", "later", "renamed"])
    def test_a_damaged_file_is_named_and_the_others_stay_readable(self, tmp_path, damage):
        store = rra.RunStore(tmp_path)
        store.save(snapshot_of(1))
        store.save(snapshot_of(2))
        path = tmp_path / "snapshots" / "train" / "000000002.curves.safetensors"
        whole = path.read_bytes()
        if damage == "truncated":
            path.write_bytes(whole[:-10])
        elif damage == "empty":
            path.write_bytes(b"")
        elif damage == "foreign":
            save_file({"weights": np.zeros(3)}, path)
        elif damage == "later":
            path.write_bytes(whole.replace(b'\\"schema\\": 1', b'\\"schema\\": 9'))
        else:
            path.write_bytes((tmp_path / "snapshots" / "train" / "000000002.graphs.safetensors").read_bytes())
        words = {"later": "has schema 9, this version reads up to 1", "renamed": "holds graphs, expected curves"}
        with pytest.raises(ValueError, match=f"000000002.curves.safetensors .*{words.get(damage, 'no complete file')}"):
            store.load("train", 2)
        assert_equal(snapshot_of(1), store.load("train", 1))

    def test_a_crash_while_writing_leaves_no_snapshot(self, tmp_path, monkeypatch):
        store = rra.RunStore(tmp_path)
        store.save(snapshot_of(1))

        def power_cut(source, target):
            raise OSError("no space left on device")

        monkeypatch.setattr(os, "replace", power_cut)
        with pytest.raises(OSError, match="no space"):
            store.save(snapshot_of(2))
        monkeypatch.undo()
        assert store.steps("train") == (1,)
        assert not list(tmp_path.rglob("*.tmp"))


def test_store_keeps_a_users_quantities_and_refuses_values_out_of_their_range(tmp_path):
    own = rra.Quantity("mine", lambda graph, labels: 0.5, title="My own", low=0, high=1, chance=0.1)
    pairs = rra.Quantity("both", lambda graphs: 0, of="graph pairs", better="lower")
    base = snapshot_of(1)
    snapshot = dataclasses.replace(base, quantities=(*base.quantities, own, pairs))
    both = np.arange(9.0).reshape(3, 3)
    store = rra.RunStore(tmp_path)
    store.save(snapshot.changed(mine=np.array([0.1, np.nan, 1.0]), both=both))
    back = rra.RunStore(tmp_path).load("train", 1)
    np.testing.assert_array_equal(back.curves["mine"], [0.1, np.nan, 1.0])
    np.testing.assert_array_equal(back.matrices["both"], both)
    assert back.chances()["mine"] == 0.1
    assert [(one.name, one.title, one.better, one.compute) for one in back.quantities[-2:]] == [
        ("mine", "My own", None, None),
        ("both", "Both", "lower", None),
    ]
    with pytest.raises(ValueError, match=r"its array 'mine' holds 1.5, expected finite values, 0 to 1 or NaN"):
        store.save(snapshot.changed(mine=np.array([0.1, 0.2, 1.5]), both=both))
