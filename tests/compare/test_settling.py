import numpy as np
import pytest

import rra_monitor as rra
from tests.helpers.digit_runs import LAYERS, last, overlap, stored
from tests.helpers.snapshots import snapshot_of


class TestSettling:
    def test_settling_is_the_nnls_of_each_layer_with_its_own_last_state(self, runs):
        path = runs["A"][0]
        found = rra.settling(path, "val")
        store, end = rra.RunStore(path), last(path, "val")
        assert (found.epochs, found.steps, found.layers) == ((0, 1, 2), (0, 8, 16), LAYERS)
        expected = [[overlap(store.load("val", at).graphs[x], end.graphs[x]) for x in LAYERS] for at in found.steps]
        np.testing.assert_allclose(found.nnls, expected, atol=1e-12)

    def test_settled_gives_the_epoch_from_which_a_layer_stays(self):
        curves = np.array([[1.0, 0.2, 0.9, 0.1], [1.0, 0.8, 0.7, 0.2], [1.0, 0.9, 0.9, 0.3], [1.0, 1.0, 1.0, 1.0]])
        found = rra.Settling("run", "train", ("input", "a", "b", "c"), (0, 5, 10, 15), (0, 1, 2, 3), curves, 0.05)
        assert found.settled() == {"input": 0, "a": 5, "b": 10, "c": None}
        with pytest.raises(ValueError, match=r"level=0.01; expected above chance, 0.05, to 1"):
            found.settled(0.01)

    def test_settling_needs_two_snapshots_with_graphs(self, tmp_path):
        path = stored(tmp_path, snapshot_of(0), snapshot_of(1), keep_graphs="last")
        with pytest.raises(ValueError, match="has 1 snapshots of probe 'train' with graphs"):
            rra.settling(path)


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
