import dataclasses
from itertools import pairwise

import matplotlib.figure
import matplotlib.text
import numpy as np
import pytest

import rra_monitor as rra
from rra_monitor.figures.ratios import ratios_figure
from rra_monitor.figures.snapshot import _ticks, curves_figure, montage, nnls_figure, resolution, views_figure
from tests.helpers.snapshots import snapshot_of


@pytest.mark.parametrize("labelled", [True, False])
def test_curves_figure_shows_every_layer_and_the_untrained_network(labelled):
    figure = curves_figure(snapshot_of(5, labelled=labelled), snapshot_of(0, labelled=labelled))
    assert len(figure.axes) == (2 if labelled else 1)
    assert [text.get_text() for text in figure.axes[-1].get_xticklabels()] == ["input", "a/b c", "fc"]
    assert {text.get_text() for text in figure.legends[0].get_texts()} >= {"epoch 0", "epoch 5"}


def test_nnls_figure_has_a_fixed_scale_and_names_its_layers():
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


@pytest.mark.parametrize("name", ["x" * 30_000, "$\\frac$ y$z$ a\x1b[2J\nb"])
def test_pictures_show_odd_names_in_bounded_room(name):
    snapshot = snapshot_of(5, layers=("input", name, "fc"))
    snapshot = dataclasses.replace(snapshot, probe=name)
    for figure in (curves_figure(snapshot), nnls_figure(snapshot, {}), ratios_figure(snapshot)):
        figure.draw_without_rendering()
        assert max(figure.get_size_inches()) < 20
        for text in figure.findobj(matplotlib.text.Text):
            assert len(text.get_text()) < 200
            assert all(line.isprintable() for line in text.get_text().split("\n"))
    assert montage(snapshot, {}).nbytes < 20_000_000


def test_pictures_of_very_many_layers_have_bounded_pixels_and_names():
    names = [f"layer{number}" for number in range(3000)]
    assert len(_ticks(names)[1]) <= 400
    assert _ticks(names[:100])[1] == names[:100]
    assert _ticks([])[1] == []
    for size in ((6, 5), (720, 720), (2400, 5), (5, 2400)):
        wide, high = (side * resolution(matplotlib.figure.Figure(figsize=size)) for side in size)
        assert wide * high <= 40_000_000
        assert max(wide, high) <= 60_000
    assert resolution(matplotlib.figure.Figure(figsize=(20, 20))) == 150


@pytest.fixture
def in_views():
    snapshot = snapshot_of(5, layers=("input", "input@avg2", "a", "a@avg-global", "fc"))
    settings = dataclasses.replace(snapshot.settings, views=("full", "avg2"))
    aliases = {"a@avg2": "a@avg-global", "fc@avg2": "fc"}
    return dataclasses.replace(snapshot, settings=settings, aliases=aliases)


def test_curves_figure_draws_views_as_lines_over_the_same_layers(in_views):
    axis = curves_figure(in_views, snapshot_of(0)).axes[-1]
    assert [text.get_text() for text in axis.get_xticklabels()] == ["input", "a", "fc"]
    (pooled,) = [line for line in axis.lines if line.get_label() == "avg2"]
    np.testing.assert_array_equal(pooled.get_ydata(), in_views.nncs[[1, 3, 4]])


def test_views_figure_has_views_with_themselves_and_the_full_one_with_them(in_views):
    matches = {"prev": rra.match(in_views, snapshot_of(3, layers=("input", "input@avg2", "fc")), "prev")}
    panels = nnls_figure(in_views, matches).axes
    assert [axis.images[0].get_array().shape for axis in panels[:2]] == [(3, 3), (3, 2)]
    intra, inter = views_figure(in_views).axes[:2]
    assert (intra.get_title(), inter.get_title()) == ("avg2 with avg2", "full (rows) with avg2")
    np.testing.assert_array_equal(intra.images[0].get_array(), in_views.intra("avg2"))
    np.testing.assert_array_equal(inter.images[0].get_array(), in_views.inter("avg2"))
    assert [text.get_text() for text in inter.get_yticklabels()] == ["input", "a", "fc"]


def test_the_montage_has_every_picture_above_the_next(in_views):
    matches = {"prev": rra.match(in_views, snapshot_of(3, layers=("input", "input@avg2", "fc")), "prev")}
    figures = [curves_figure(in_views), nnls_figure(in_views, matches), views_figure(in_views)]
    sizes = np.array([figure.get_size_inches() * figure.dpi for figure in figures])
    picture = montage(in_views, matches)
    assert picture.dtype == np.uint8
    assert picture.shape == pytest.approx((sizes[:, 1].sum(), sizes[:, 0].max(), 3), abs=3)
    bounds = np.round(np.cumsum([0, *sizes[:, 1]])).astype(int)
    for top, bottom in pairwise(bounds):
        assert (picture[top:bottom] < 128).any()


def test_figures_leave_pyplot_and_the_backend_alone():
    before = matplotlib.get_backend()
    curves_figure(snapshot_of(1)).canvas.draw()
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == []
    assert matplotlib.get_backend() == before


def test_a_second_estimate_is_drawn_where_near_duplicates_rule_the_first():
    sound = snapshot_of(5).changed(id_censored=np.array([9.0, 8.0, 7.0]), near_duplicates=np.zeros(3))
    ruled = sound.changed(near_duplicates=np.array([0.0, 0.02, 0.0]))
    drawn = [[line.get_ydata().tolist() for line in curves_figure(each).axes[0].lines] for each in (sound, ruled)]
    assert drawn[1] == [*drawn[0], [9.0, 8.0, 7.0]]
    assert "ID (censored)" in {text.get_text() for text in curves_figure(ruled).legends[0].get_texts()}
