import dataclasses
import json
import tracemalloc

import numpy as np
import pytest

import rra_monitor as rra
from rra_monitor.page.frame import probe_frame
from rra_monitor.page.payload import run_payload
from rra_monitor.page.series import stacked, stored_series
from tests.helpers.digit_runs import train
from tests.helpers.page_runs import array
from tests.helpers.snapshots import snapshot_of


@pytest.fixture(scope="module")
def run(digits, tmp_path_factory):
    return train(tmp_path_factory.mktemp("runs") / "a0", digits, 0, views=("full", "avg-global"))


class TestStoredSeries:
    def test_series_has_the_values_of_the_store(self, run):
        store = rra.RunStore(run)
        series = stored_series(store, "a0", "A")
        assert [frame.step for frame in series.frames] == list(store.steps("train"))
        for probe in ("train", "val"):
            found = series.probes[probe]
            for at, snapshot in enumerate(store.curves(probe)):
                for place, view in enumerate(found.views):
                    rows = snapshot.view(view)
                    columns = [found.layers.index(layer) for layer in rows.layers]
                    assert np.array_equal(found.curves["id"][at, place, columns], snapshot.id[rows.indices])
                    own = found.matrices["self"].values[at, place][np.ix_(columns, columns)]
                    assert np.array_equal(own, snapshot.intra(view))
                prev = store.matches(probe, snapshot.step).get("prev")
                assert found.matrices["prev"].views == found.views == ("full", "avg-global")
                for place, view in enumerate(found.views):
                    rows = snapshot.view(view).indices
                    values = found.matrices["prev"].values[at, place]
                    if prev:
                        assert np.array_equal(values, prev.nnls[np.ix_(rows, rows)])
                    else:
                        assert np.isnan(values).all()

    def test_payload_of_a_series_is_json_and_keeps_the_values(self, run):
        series = stored_series(rra.RunStore(run), "a0")
        plain = json.loads(json.dumps(run_payload(series), allow_nan=False))
        for name, probe in series.probes.items():
            for curve, values in probe.curves.items():
                assert np.allclose(array(plain["probes"][name]["curves"][curve]), values, rtol=1e-6, equal_nan=True)
            for kind, matrix in probe.matrices.items():
                found = array(plain["probes"][name]["matrices"][kind]["values"])
                assert np.allclose(found, matrix.values, atol=1e-5, equal_nan=True)

    def test_a_layer_that_comes_later_is_undefined_before(self, tmp_path):
        store = rra.RunStore(tmp_path)
        store.save(snapshot_of(step=1, layers=("input", "a")))
        store.save(snapshot_of(step=2, layers=("input", "a", "b")))
        found = stored_series(store, "grown").probes[store.probes()[0]]
        assert found.layers == ("input", "a", "b")
        assert np.isnan(found.curves["id"][0, 0, 2])
        assert not np.isnan(found.curves["id"][1, 0]).any()

    def test_the_newest_of_moments_with_other_layers_each_are_shown_in_bounded_memory(self, tmp_path):
        store = rra.RunStore(tmp_path)
        base = snapshot_of(0, layers=[f"l{layer}" for layer in range(20)])
        for step in range(60):
            names = {layer: f"s{step}{layer}" for layer in base.layers}
            graphs = {names[layer]: graph for layer, graph in base.graphs.items()}
            store.save(dataclasses.replace(base, step=step, epoch=step, layers=tuple(graphs), graphs=graphs))
        size = sum(file.stat().st_size for file in tmp_path.rglob("*.safetensors"))
        tracemalloc.start()
        with pytest.warns(UserWarning, match=r"the newest \d+ of 60 snapshots are shown; layers differ so much"):
            found = stored_series(store, "run")  # all would need 60 matrices of 1,200 by 1,200
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 10 * size + 200e6
        steps = [frame.step for frame in found.frames]
        assert 5 < len(steps) < 60
        assert steps == list(range(60))[-len(steps) :]
        last = store.load("train", 59, graphs=False)
        values = found.probes["train"].matrices["self"].values[-1, 0]
        assert np.array_equal(values[:20, :20], last.nnls)
        assert np.isnan(values[20:]).all()

    def test_a_snapshot_of_many_views_of_few_layers_is_left_out_by_name(self, tmp_path):
        views = ("full", *(f"avg{number}" for number in range(2, 101)))
        layers = tuple(f"l{number}" for number in range(300))
        graphs = snapshot_of(1, layers=("l0",)).graphs["l0"]
        several = {
            name: np.zeros(len(layers)) for name in ("id", "id_error", "nncs", "ties", "zeros", "recall", "hubness")
        }
        odd = dataclasses.replace(
            snapshot_of(1),
            layers=layers,
            curves=several,
            matrices={"nnls": np.eye(len(layers))},
            graphs=dict.fromkeys(layers, graphs),
            settings=dataclasses.replace(snapshot_of(1).settings, views=views),
            aliases={f"l0@{view}": "l0" for view in views[1:]},
        )
        with pytest.raises(ValueError, match=r"100 views of 300 layers, though 300 views were measured"):
            probe_frame(odd, {})
        store = rra.RunStore(tmp_path)
        store.save(snapshot_of(0))
        store.save(odd)
        with pytest.warns(UserWarning, match=rf"{tmp_path}, step 1 .*is left out: .*300 views were measured") as warned:
            found = stored_series(store, "run")
        assert [frame.step for frame in found.frames] == [0]
        assert len(warned) == 1

    def test_a_snapshot_of_many_views_of_one_layer_takes_little_time_and_memory(self):
        views = ("full", *(f"avg{number}" for number in range(2, 20_000)))
        one = snapshot_of(0, layers=("l0",))
        one = dataclasses.replace(
            one,
            settings=dataclasses.replace(one.settings, views=views),
            aliases={f"l0@{view}": "l0" for view in views[1:]},
        )
        found = stacked([probe_frame(one, {})], n=30, k=4, classes=3, chances={"nncs": 0.3, "nnls": 0.1})
        assert found.matrices["self"].values.shape == (1, 19_999, 1, 1)

    def test_one_snapshot_without_labels_is_a_run(self, tmp_path):
        store = rra.RunStore(tmp_path)
        store.save(snapshot_of(step=0, labelled=False))
        found = stored_series(store, "one")
        probe = run_payload(found)["probes"][store.probes()[0]]
        assert set(probe["chances"]) == {"nnls"}
        assert probe["classes"] is None
        assert "nncs" not in probe["curves"]
        assert len(found.frames) == 1

    def test_graphs_that_were_dropped_are_not_missed(self, tmp_path):
        store = rra.RunStore(tmp_path, keep_graphs="last")
        for step in range(3):
            store.save(snapshot_of(step=step))
        assert len(stored_series(store, "run").frames) == 3

    def test_a_record_that_was_cut_off_costs_its_findings_alone(self, run, tmp_path):
        store = rra.RunStore(tmp_path)
        store.save(snapshot_of(step=0))
        store.write_text("records.jsonl", '{"step": 0, "epoch": 0, "seconds": 1.0, "over')
        with pytest.warns(UserWarning, match="cut off or foreign"):
            found = stored_series(store, "half")
        assert np.isnan(found.frames[0].overhead)

    def test_a_record_that_lacks_something_costs_its_findings_alone(self, tmp_path):
        store = rra.RunStore(tmp_path)
        store.save(snapshot_of(step=0))
        store.write_text(
            "records.jsonl", '{"step": 0, "epoch": 0, "findings": [{"kind": "new", "layers": [], "more": 1}]}\n'
        )
        with pytest.warns(UserWarning, match="a line is cut off or foreign"):
            found = stored_series(store, "newer").frames[0]
        assert (found.step, found.epoch) == (0, 0)
        assert np.isnan(found.overhead)

    def test_a_store_without_snapshots_is_named(self, tmp_path):
        with pytest.raises(ValueError, match="holds no snapshot that can be read"):
            stored_series(rra.RunStore(tmp_path), "none")
