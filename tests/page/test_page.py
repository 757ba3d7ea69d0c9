import dataclasses
import gzip
import html
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import rra_monitor as rra
from rra_monitor.page.assets import plotly_bundle, static_files
from rra_monitor.page.binary import packed
from rra_monitor.page.frame import probe_frame
from rra_monitor.page.payload import fractions, run_payload
from rra_monitor.page.report import write_report
from rra_monitor.page.series import stacked, stored_series
from rra_monitor.page.thinning import thinned
from tests.helpers.digit_runs import train
from tests.helpers.page_runs import ODD, array, made_up_run
from tests.helpers.snapshots import snapshot_of

COMMAND = str(Path(sys.executable).with_name("rra-monitor"))


@pytest.fixture(scope="module")
def run(digits, tmp_path_factory):
    return train(tmp_path_factory.mktemp("runs") / "a0", digits, 0, views=("full", "avg-global"))


class TestSeries:
    def test_its_values_are_the_stores(self, run):
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

    def test_its_payload_is_json_and_keeps_the_values(self, run):
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
            **several,
            layers=layers,
            nnls=np.eye(len(layers)),
            graphs=dict.fromkeys(layers, graphs),
            settings=dataclasses.replace(snapshot_of(1).settings, views=views),
            aliases={f"l0@{view}": "l0" for view in views[1:]},
        )
        with pytest.raises(ValueError, match=r"100 views of 300 layers, though 300 views were measured"):
            probe_frame(odd, {})
        store = rra.RunStore(tmp_path)
        store.save(snapshot_of(0))
        store.save(odd)
        with pytest.warns(UserWarning, match=".") as warned:
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
        found = stacked([probe_frame(one, {})], n=30, k=4, classes=3, nncs_chance=0.3, nnls_chance=0.1)
        assert found.matrices["self"].values.shape == (1, 19_999, 1, 1)

    def test_one_snapshot_without_labels_is_a_run(self, tmp_path):
        store = rra.RunStore(tmp_path)
        store.save(snapshot_of(step=0, labelled=False))
        found = stored_series(store, "one")
        probe = run_payload(found)["probes"][store.probes()[0]]
        assert probe["nncs_chance"] is None
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


class TestMoment:
    def test_a_comparison_has_the_views_that_both_sides_have(self):
        layers = ("input", "a", "a@avg2", "a@avg-global", "fc")
        snapshot = in_views(snapshot_of(1, layers=layers), "full", "avg2", "avg-global")
        other = snapshot_of(0, layers=("input", "a", "a@max2", "a@avg-global", "b", "b@avg-global"))
        match = rra.match(snapshot, other, "ref-other")
        found = probe_frame(snapshot, {"ref-other": match}).matrices["ref-other"]
        assert (found.rows, found.columns) == (("input", "a", "fc"), ("input", "a", "b"))
        assert found.views == ("full", "avg-global")
        assert np.array_equal(found.values[0], match.nnls[np.ix_([0, 1, 4], [0, 1, 4])])
        pooled = np.full((3, 3), np.nan)
        pooled[1, 1:] = match.nnls[3, [3, 5]]  # of input and fc there is no such view
        assert np.array_equal(found.values[1], pooled, equal_nan=True)

    def test_a_view_that_equals_another_one_is_found_there(self):
        layers = ("input", "a", "a@avg-global", "b", "b@avg8", "b@avg-global")
        first, second = (
            in_views(snapshot_of(step, layers=layers), "full", "avg-global", "avg8", **{"a@avg8": "a@avg-global"})
            for step in (0, 1)
        )
        match = rra.match(second, first, "prev")
        found = probe_frame(second, {"prev": match}).matrices["prev"]
        assert found.views == ("full", "avg-global", "avg8")
        assert np.array_equal(found.values[2, 1:, 1:], match.nnls[np.ix_([2, 4], [2, 4])])

    def test_a_comparison_of_full_views_alone_has_no_other(self):
        snapshot = in_views(snapshot_of(1, layers=("input", "a", "a@avg2")), "full", "avg2")
        match = rra.match(snapshot, snapshot_of(0, layers=("input", "a")), "prev")
        assert probe_frame(snapshot, {"prev": match}).matrices["prev"].views == ("full",)


def in_views(snapshot, *views, **aliases):
    return dataclasses.replace(snapshot, settings=dataclasses.replace(snapshot.settings, views=views), aliases=aliases)


class TestPacking:
    def test_nothing_is_rounded_and_json_stays_json(self):
        run = made_up_run()
        symmetric = fractions(np.array([[[[1, 0.2], [0.2, np.nan]]]] * 3))
        payload = run_payload(run) | {"more": [symmetric]}
        data = gzip.decompress(packed(payload))
        length = int.from_bytes(data[:4], "little")
        header, blob = json.loads(data[4 : 4 + length]), data[4 + length :]
        assert header["name"] == payload["name"]
        about = header["more"][0]
        assert about["symmetric"]
        assert about["length"] == 3 * 3 * 2
        curve = header["probes"]["train"]["curves"]["id"]
        planes = np.frombuffer(blob[curve["at"] : curve["at"] + curve["length"]], np.uint8).reshape(4, -1)
        whole = np.ascontiguousarray(planes.T).view("<u4").reshape(curve["shape"])
        values = np.cumsum(whole, axis=0, dtype=np.uint32).view("<f4")
        assert np.array_equal(values, run.probes["train"].curves["id"].astype("<f4"), equal_nan=True)


class TestReport:
    def test_names_can_not_leave_their_place(self, tmp_path):
        report = write_report([made_up_run(ODD)], tmp_path / "r.html")
        text = report.path.read_text()
        assert "<img" not in text
        assert text.count("</script>") == 4
        assert 'src="' not in text.replace(html.escape(ODD), "")
        assert report.size == len(report.path.read_bytes())

    def test_what_is_too_large_loses_moments_evenly_and_says_so(self, tmp_path):
        layers = ("input", *(f"layer{number}" for number in range(30)))
        runs = [made_up_run(name, range(120), layers, seed=seed) for seed, name in enumerate("ab")]
        whole = write_report(runs, tmp_path / "whole.html")
        limit = write_report([made_up_run()], tmp_path / "small.html").size + 200_000
        report = write_report(runs, tmp_path / "thin.html", limit=limit)
        assert not whole.notes
        assert report.size <= limit < whole.size
        assert report.size > 0.8 * limit
        assert len(report.notes) == 2
        assert "of 120 snapshots" in report.notes[0]

    def test_thinning_keeps_the_ends(self):
        run = thinned(made_up_run(epochs=range(100)), 7)
        assert [frame.epoch for frame in run.frames] == [0, 16, 33, 50, 66, 82, 99]
        assert run.probes["train"].curves["id"].shape[0] == 7

    def test_what_can_not_fit_is_refused(self, tmp_path):
        with pytest.raises(
            ValueError, match=r"MB with two snapshots of each of the 1 runs, more than 0\.1 MB; give fewer"
        ):
            write_report([made_up_run()], tmp_path / "r.html", limit=100_000)

    def test_names_of_runs_differ(self, tmp_path):
        with pytest.raises(ValueError, match="two runs are named 'run'"):
            write_report([made_up_run(), made_up_run()], tmp_path / "r.html")

    def test_every_module_that_is_imported_is_there(self):
        files = static_files()
        for name, path in files.items():
            for line in path.read_text().splitlines():
                if name.endswith(".js") and " from " in line and line.startswith(("import", "export", "}")):
                    assert line.split('"')[1].removeprefix("./") in files, f"{name}: {line}"

    def test_plotly_comes_from_its_package(self):
        assert b"plotly.js" in plotly_bundle().read_bytes()[:200]

    def test_no_plotly_names_the_extra(self, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(ValueError, match=r"rra-monitor\[report"):
            plotly_bundle()


class TestCommand:
    def test_a_directory_of_runs_is_taken_whole(self, run, tmp_path):
        out = tmp_path / "r.html"
        ended = subprocess.run(
            [COMMAND, "report", str(Path(run).parent), "--out", str(out)], capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stderr
        assert "MB, one file, works offline" in ended.stdout
        assert "RRA report: a0<" in out.read_text()

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            ([], "name the directory of a run"),
            (["no/such"], "there is no run at no/such"),
            (["--group", "runs"], "expected NAME=GLOB"),
            (["--group", "A=no/*"], "matches no directory"),
        ],
    )
    def test_its_errors_are_one_sentence(self, arguments, text, tmp_path):
        ended = subprocess.run([COMMAND, "report", *arguments], capture_output=True, text=True, cwd=tmp_path)
        assert ended.returncode != 0
        assert text in ended.stderr
        assert "Traceback" not in ended.stderr
        assert not os.listdir(tmp_path)
