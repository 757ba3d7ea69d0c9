import matplotlib
import pytest
from test_store import snapshot_of

import rra_monitor as rra
from rra_monitor.figures import curves_figure, nnls_figure


@pytest.mark.parametrize("labelled", [True, False])
def test_curves_show_every_layer_and_the_untrained_network(labelled):
    figure = curves_figure(snapshot_of(5, labelled=labelled), snapshot_of(0, labelled=labelled))
    assert len(figure.axes) == (2 if labelled else 1)
    assert [text.get_text() for text in figure.axes[-1].get_xticklabels()] == ["input", "a/b c", "fc"]
    assert {text.get_text() for text in figure.legends[0].get_texts()} >= {"epoch 0", "epoch 5"}


def test_heatmaps_share_a_fixed_scale_and_name_their_layers():
    snapshot, other = snapshot_of(5), snapshot_of(4, layers=("input", "fc"))
    matches = {"prev": rra.match(snapshot, snapshot_of(3), "prev"), "ref-a": rra.match(snapshot, other, "ref-a")}
    figure = nnls_figure(snapshot, matches)
    panels = figure.axes[:3]
    assert [axis.get_title() for axis in panels] == [
        "with itself, epoch 5",
        "with previous, epoch 3",
        "with a, epoch 4",
    ]
    assert all(axis.images[0].get_clim() == (0, 1) for axis in panels)
    assert [text.get_text() for text in panels[2].get_xticklabels()] == ["input", "fc"]
    assert [text.get_text() for text in panels[0].get_yticklabels()] == ["input", "a/b c", "fc"]


def test_nothing_global_is_touched():
    before = matplotlib.get_backend()
    curves_figure(snapshot_of(1)).canvas.draw()
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == []
    assert matplotlib.get_backend() == before
