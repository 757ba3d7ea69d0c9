import numpy as np
import pytest

import rra_monitor as rra
from tests.helpers.snapshots import snapshot_of


class TestScalars:
    def test_scalars_follow_the_key_scheme(self, record):
        keys = set(rra.scalars(record))
        layers = ("input", "a/b-c", "fc")
        expected = {
            f"rra/train/{name}/{layer}" for name in ("id", "nncs", "nnls_prev", "nnls_ref-seed0") for layer in layers
        }
        expected |= {f"rra/train/{name}" for name in ("id_peak", "id_last", "nncs_last", "nnls_prev_mean")}
        expected |= {"rra/epoch", "rra/seconds", "rra/overhead"}
        assert keys == expected - {"rra/train/id/a/b-c"}  # undefined

    def test_scalars_have_the_lowest_recall_where_a_graph_is_an_approximation(self, tmp_path):
        exact = snapshot_of(10)
        near = exact.changed(recall=np.where(np.arange(len(exact.layers)) == 1, 0.97, 1.0))
        recorder = rra.Recorder(rra.RunStore(tmp_path))
        assert "rra/train/recall" not in rra.scalars(recorder.record({"train": exact}))
        assert rra.scalars(recorder.record({"train": near}))["rra/train/recall"] == 0.97

    def test_summaries_are_taken_from_the_curves(self, record):
        values, snapshot = rra.scalars(record), record.snapshots["train"]
        assert values["rra/train/id_peak"] == 4.0
        assert values["rra/train/id_last"] == 4.0
        assert values["rra/train/nncs_last"] == snapshot.nncs[-1]
        same = record.matches["train"]["prev"].same_layer(snapshot.layers)
        assert values["rra/train/nnls_prev_mean"] == pytest.approx(same[1:].mean())
