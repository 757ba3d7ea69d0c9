"""A run that an earlier version stored."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import rra_monitor as rra
from rra_monitor.page.series import stored_series
from tests.helpers.snapshots import assert_equal
from tests.helpers.stored_files import parts

EARLIER = Path(__file__).parent / "golden" / "run"
"""A run as it was written before files had a checksum, see golden/make_run.py."""


class TestRunStoreOfAnEarlierVersion:
    @pytest.mark.parametrize("probe", ["train", "val"])
    def test_a_run_of_an_earlier_version_reads_back_equal(self, probe):
        """Its files, read by the library of the format, against what the store makes of them."""
        store = rra.RunStore(EARLIER)
        assert store.probes() == ("train", "val")
        assert store.steps(probe) == store.graph_steps(probe) == (0, 10)
        for epoch, step in enumerate((0, 10)):
            found, matches = store.load(probe, step), store.matches(probe, step)
            curves, about = parts(EARLIER / "snapshots" / probe / f"{step:09d}.curves.safetensors")
            graphs, _ = parts(EARLIER / "snapshots" / probe / f"{step:09d}.graphs.safetensors")
            sample, _ = parts(EARLIER / "samples" / f"{about['sample']}.safetensors")
            assert "checksum" not in about
            assert (found.step, found.epoch, found.seconds) == (step, epoch, about["seconds"])
            assert list(found.layers) == about["layers"]
            assert found.aliases == about["aliases"]
            for name in ("id", "id_error", "nncs", "nnls", "ties", "zeros", "recall", "hubness", "cka"):
                assert (getattr(found, name) is None) == (name not in curves)
                if name in curves:
                    np.testing.assert_array_equal(getattr(found, name), curves[name])
            assert (found.settings.n, found.settings.k) == (about["n"], about["k"]) == (20, 2)
            assert found.settings.fingerprint == about["fingerprint"]
            np.testing.assert_array_equal(found.settings.ids, sample["ids"])
            if probe == "train":
                np.testing.assert_array_equal(found.settings.labels, sample["labels"])
            for position, (layer, graph) in enumerate(found.graphs.items()):
                assert (layer, graph.backend) == (about["layers"][position], about["backends"][position])
                np.testing.assert_array_equal(graph.indices, graphs[f"{position}.indices"])
                np.testing.assert_array_equal(graph.distances, graphs[f"{position}.distances"])
                audit = graph.audit
                assert (audit is None) == (f"{position}.audit.rows" not in graphs)
                if audit is not None:
                    np.testing.assert_array_equal(audit.rows, graphs[f"{position}.audit.rows"])
                    np.testing.assert_array_equal(audit.indices, graphs[f"{position}.audit.indices"])
                    np.testing.assert_array_equal(audit.distances, graphs[f"{position}.audit.distances"])
            assert list(matches) == list(about["matches"]) == (["prev"] if step else [])
            for name, match in matches.items():
                np.testing.assert_array_equal(match.nnls, curves[f"match.{name}"])

    def test_a_run_of_an_earlier_version_is_carried_on(self, tmp_path):
        run = shutil.copytree(EARLIER, tmp_path / "run")
        store = rra.RunStore(run, keep_graphs=2)
        found = store.load("train", 10)
        assert found.graphs["4"].audit is not None
        store.save(
            dataclasses.replace(found, step=20, epoch=2), {"prev": rra.match(found, store.load("train", 0), "prev")}
        )
        assert store.steps("train") == (0, 10, 20)
        assert store.graph_steps("train") == (10, 20)
        assert_equal(dataclasses.replace(found, step=20, epoch=2), store.load("train", 20), audits=False)
        series = stored_series(store, "run")
        assert [frame.epoch for frame in series.frames] == [0, 1, 2]
        assert series.frames[1].overhead == store_overhead(run)


def store_overhead(run):
    return json.loads((run / "records.jsonl").read_text().splitlines()[1])["overhead"]
