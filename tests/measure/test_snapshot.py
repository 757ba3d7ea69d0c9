import numpy as np
import pytest
from torch import nn

import rra_monitor as rra
import rra_monitor.measure.monitor


class TestSnapshotViews:
    def test_a_view_of_every_layer_is_found_under_its_own_name_or_its_equals(self, of_resnet):
        snapshot, _ = of_resnet
        base, pooled = snapshot.view(), snapshot.view("avg8")
        assert base.layers == base.names == pooled.layers
        assert len(base.layers) == 13
        assert pooled.names[:2] == ("input@avg8", "stem@avg8")
        assert pooled.names[-3:] == ("layer3.2@avg-global", "pool", "fc")
        assert [snapshot.layers[index] for index in pooled.indices] == list(pooled.names)
        with pytest.raises(ValueError, match=r"view 'avg3' was not measured; this snapshot has full, avg2"):
            snapshot.view("avg3")

    def test_intra_and_inter_matrices_are_parts_of_the_matrix_of_all(self, of_resnet):
        snapshot, _ = of_resnet
        intra, inter = snapshot.intra("avg2"), snapshot.inter("avg2")
        assert intra.shape == inter.shape == (13, 13)
        np.testing.assert_allclose(intra, intra.T)
        np.testing.assert_array_equal(np.diag(intra), 1.0)
        graphs = snapshot.graphs
        assert inter[2, 5] == pytest.approx(rra.metrics.nnls(graphs["layer1.0"], graphs["layer2.0@avg2"]))
        assert inter[5, 2] == pytest.approx(rra.metrics.nnls(graphs["layer2.0"], graphs["layer1.0@avg2"]))
        np.testing.assert_array_equal(np.diag(inter)[-2:], 1.0)
        np.testing.assert_array_equal(snapshot.inter("full"), snapshot.intra("full"))

    def test_the_global_average_of_the_last_block_is_the_pool_layer(self, of_resnet):
        snapshot, _ = of_resnet
        row, column = map(snapshot.layers.index, ("layer3.2@avg-global", "pool"))
        assert snapshot.nnls[row, column] >= 0.999

    def test_the_difference_of_ids_is_zero_where_the_views_are_equal(self, of_resnet):
        snapshot, _ = of_resnet
        found = snapshot.id_difference("avg-global")
        assert found.shape == (13,)
        assert found[-2:].tolist() == [0.0, 0.0]
        names = snapshot.layers
        assert found[1] == snapshot.id[names.index("stem@avg-global")] - snapshot.id[names.index("stem")]
        assert (found[1:8] < 0).all()

    def test_layers_without_a_view_are_left_out_of_it(self, digits):
        class Tokens(nn.Module):
            def __init__(self):
                super().__init__()
                self.patches, self.mix = nn.Conv2d(1, 12, 2, 2), nn.Linear(12, 12)

            def forward(self, x):
                return self.mix(self.patches(x).flatten(2).transpose(1, 2)).mean(1)

        monitor = rra.Monitor({"p": rra.FixedSample.from_tensors(digits[0][:60])}, k=5, views=["full", "class-token"])
        snapshot = monitor.measure(Tokens(), step=0, epoch=0)["p"]
        assert snapshot.layers == ("input", "patches", "mix", "mix@class-token")
        assert snapshot.view("class-token").layers == ("mix",)
        assert snapshot.inter("class-token").shape == (3, 1)
        assert np.isnan(snapshot.id_difference("class-token")).tolist() == [True, True, False]
