"""The report in a real browser."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import rra_monitor as rra
from rra_monitor.measure.quantities import standard
from rra_monitor.page.report import write_report
from tests.helpers.browser import cells, choose, drive, lines, look_around, wait_for, wait_for_count, wait_until_drawn
from tests.helpers.digit_runs import train
from tests.helpers.page_runs import MARKUP, ODD, made_up_run, marked_up
from tests.helpers.snapshots import snapshot_of

COMMAND = str(Path(sys.executable).with_name("rra-monitor"))


@pytest.fixture(scope="module")
def folder(digits, tmp_path_factory):
    """Two seeds each of two recipes, with a pooled view."""
    folder = tmp_path_factory.mktemp("runs")
    for seed, (name, rate) in enumerate({"a0": 0.05, "a1": 0.05, "b0": 0.2, "b1": 0.2}.items()):
        train(folder / name, digits, seed, epochs=3, rate=rate, views=("full", "avg-global"))
    return folder


def made(command, *arguments):
    ended = subprocess.run([COMMAND, command, *map(str, arguments)], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def opened(page, path):
    """The report when it is drawn; its runs stand in the document, so they are all there at once."""
    page.goto(path.as_uri())
    wait_until_drawn(page.main_frame)
    return page.main_frame


def caption(frame, key):
    return frame.locator(f"figure[data-key='{key}'] figcaption").inner_text()


def test_walk_through_two_runs_and_back_by_the_address(folder, tmp_path, browser_page):
    made("report", folder / "a0", folder / "b0", "--out", tmp_path / "r.html")
    opened(browser_page, tmp_path / "r.html")
    drive(browser_page)


def test_curves_and_matrices_are_those_of_the_store(folder, tmp_path, browser_page):
    made("report", folder / "a0", "--out", tmp_path / "r.html")
    frame = opened(browser_page, tmp_path / "r.html")
    store = rra.RunStore(folder / "a0")
    last = store.load("train", store.steps("train")[-1])
    rows = last.view()
    assert np.allclose(lines(frame, "curve id")[0], last.id[rows.indices], rtol=1e-6)
    wait_until_drawn(frame, "curve nncs")
    assert np.allclose(lines(frame, "curve nncs")[0], last.nncs[rows.indices], atol=1e-6)
    assert np.allclose(cells(frame, "matrix self"), last.intra("full"), atol=1e-5)
    assert np.allclose(cells(frame, "matrix inter"), last.inter("avg-global"), atol=1e-5)
    before = store.matches("train", last.step)["prev"].nnls
    assert np.allclose(cells(frame, "matrix prev"), before[np.ix_(rows.indices, rows.indices)], atol=1e-5)
    choose(frame, ".toolbar", "View", "avg-global")
    frame.locator("figure[data-key='matrix prev'] figcaption", has_text="view avg-global").wait_for()
    pooled = last.view("avg-global").indices
    assert np.allclose(cells(frame, "matrix prev"), before[np.ix_(pooled, pooled)], atol=1e-5)


def test_compared_groups_are_bands_and_pairs(folder, tmp_path, browser_page):
    out = tmp_path / "c.html"
    made("compare", "--group", f"A={folder}/a*", "--group", f"B={folder}/b*", "--out", out)
    frame = opened(browser_page, out)
    assert len(lines(frame, "curve id")) == 2
    stores = [rra.RunStore(folder / name) for name in ("a0", "a1")]
    ends = [store.load("train", store.steps("train")[-1]) for store in stores]
    mean = np.mean([end.id[end.view().indices] for end in ends], axis=0)
    assert np.allclose(lines(frame, "curve id")[0], mean, rtol=1e-6)
    found = rra.compare_runs({name: [folder / f"{name.lower()}0", folder / f"{name.lower()}1"] for name in "AB"})
    heading = frame.get_by_role("heading", name="Pairs of runs")
    assert heading.inner_text() == "Pairs of runs, probe train, last snapshots"
    pairs = found.between("A", "B")
    full = [place for place, layer in enumerate(pairs.layers_a) if "@" not in layer]
    assert 0 < len(full) < len(pairs.layers_a)
    assert np.allclose(cells(frame, "pairs A against B"), pairs.mean()[np.ix_(full, full)], atol=1e-5)
    wait_until_drawn(frame, "pairs same layer")
    within, across = lines(frame, "pairs same layer")[[0, 1]]
    assert np.allclose(across, pairs.same_layer()[:, full].mean(axis=0), rtol=1e-6)
    assert np.allclose(within, found.between("A", "A").same_layer()[:, full].mean(axis=0), rtol=1e-6)


def test_what_groups_can_not_be_compared_by_is_said(tmp_path, browser_page):
    groups = [{"name": name, "probe": probe, "runs": 1} for name, probe in (("A", "train"), ("B", "val"))]
    none = dict.fromkeys(("mean", "same_mean", "same_sd"))
    refused = {"NNCS": "labels.", "NNLS of the layers of one run": "k/n."}
    pairs = {"a": "A", "b": "B", "rows": ["x"], "columns": ["x"], "count": 0, "chance": 0.1, "refused": refused} | none
    comparison = {"moment": 3, "groups": groups, "notes": [], "pairs": [pairs]}
    write_report([made_up_run()], tmp_path / "r.html", comparison)
    frame = opened(browser_page, tmp_path / "r.html")
    assert frame.get_by_role("heading", name="Pairs").inner_text() == "Pairs of runs, probes train, val, epoch 3"
    assert frame.locator(".notes li").all_inner_texts() == [
        "A against B: NNCS not comparable: labels.",
        "A against B: NNLS of the layers of one run not comparable: k/n.",
    ]


def test_matrices_of_different_views_are_not_subtracted(tmp_path, browser_page):
    runs = [made_up_run("base", views=("full", "avg2")), made_up_run("fast", seed=1)]
    write_report(runs, tmp_path / "r.html")
    frame = opened(browser_page, tmp_path / "r.html")
    difference = frame.locator(".difference")
    wait_until_drawn(frame, "difference matrix")
    choose(frame, ".toolbar", "View", "avg2")
    difference.get_by_text("The matrix of fast has no view avg2: not subtracted.").wait_for()
    assert frame.locator("figure[data-key='difference matrix']").count() == 0
    choose(frame, ".difference", "B: run", "base")
    choose(frame, ".difference", "B: epoch", "0")
    wait_until_drawn(frame, "difference matrix")
    own = runs[0].probes["train"].matrices["self"].values
    assert np.allclose(cells(frame, "difference matrix"), own[2, 1] - own[0, 1], atol=1e-4)
    assert "view avg2" in caption(frame, "difference matrix")


def test_a_matrix_in_another_view_than_the_chosen_one_says_so(tmp_path, browser_page):
    write_report([made_up_run(views=("full", "avg2"), compared=("full",))], tmp_path / "r.html")
    frame = opened(browser_page, tmp_path / "r.html")
    assert "view" not in caption(frame, "matrix prev")
    choose(frame, ".toolbar", "View", "avg2")
    frame.locator("figure[data-key='matrix prev'] figcaption", has_text="view full").wait_for()
    assert "view avg2" in caption(frame, "matrix self")


@pytest.mark.parametrize(
    ("size", "top", "difference"),
    [
        ((200, 2), "", ""),
        ((200, 4), "of NNCS and NNLS compare shapes", "values of NNCS and NNLS are not comparable"),
        ((300, 3), "The ID depends on n", "the ID depends on n"),
        ((210, 2), "The ID depends on n", "the ID depends on n"),
        ((300, 2), "of ID, NNCS and NNLS compare shapes", "values of ID, NNCS and NNLS are not comparable"),
    ],
)
def test_what_can_not_be_compared_is_named(size, top, difference, tmp_path, browser_page):
    write_report([made_up_run("a"), made_up_run("b", seed=1, size=size)], tmp_path / "r.html")
    frame = opened(browser_page, tmp_path / "r.html")
    wait_until_drawn(frame, "difference matrix")
    said = [frame.locator(where).text_content() for where in (".remarks", ".difference > p")]
    for text, expected in zip(said, (top, difference), strict=True):
        assert expected in text
        assert bool(text) == bool(expected)
    if difference:
        assert f"A has n = 200, k = 2, B has n = {size[0]}, k = {size[1]}" in said[1]


def test_the_band_of_the_id_is_not_cut(tmp_path, browser_page):
    run = made_up_run(epochs=range(4))
    probe = run.probes["train"]
    errors = np.full_like(probe.curves["id"], 1)
    errors[1] = 40
    wide = dataclasses.replace(probe, curves={**probe.curves, "id_error": errors})
    write_report([dataclasses.replace(run, probes={"train": wide})], tmp_path / "r.html")
    frame = opened(browser_page, tmp_path / "r.html")
    low, high = frame.evaluate("() => document.querySelector(\"figure[data-key='curve id'] .plot\").layout.yaxis.range")
    assert low == 0
    assert high > np.nanmax(probe.curves["id"][1]) + 40


def test_odd_names_are_text(tmp_path, browser_page):
    write_report([made_up_run(ODD), made_up_run("'\"\\&amp;", seed=1)], tmp_path / "r.html")
    frame = opened(browser_page, tmp_path / "r.html")
    assert frame.locator("img").count() == 0
    assert frame.locator(".runs span").first.inner_text() == ODD
    ticks = frame.locator("figure[data-key='curve id'] .xtick text")
    ticks.filter(has_text="</scrip").first.wait_for()
    assert frame.locator(".findings li").first.inner_text() == f"train: the ID peaks at {ODD}."
    frame.locator("figure[data-key='curve nncs'] div.plot").hover()


def test_markup_in_every_name_stays_text_in_the_report(tmp_path, browser_page):
    write_report([marked_up(made_up_run(ODD, layers=MARKUP)), made_up_run("plain")], tmp_path / "r.html")
    frame = opened(browser_page, tmp_path / "r.html")
    look_around(frame)


def test_a_run_of_5000_moments_is_drawn(tmp_path, browser_page):
    report = write_report([made_up_run(epochs=range(5000))], tmp_path / "r.html")
    assert report.notes == ()
    frame = opened(browser_page, tmp_path / "r.html")
    assert frame.locator(".slider output").inner_text() == "Epoch 4999 of 4999"
    wait_until_drawn(frame, "development run")
    wait_until_drawn(frame, "difference matrix")
    frame.locator(".slider input").press("ArrowLeft")
    frame.get_by_text("Epoch 4998 of 4999").wait_for()


def test_layers_of_many_names_are_drawn(tmp_path, browser_page):
    runs = [
        made_up_run(name, (0,), tuple(f"{name}.{at}" for at in range(300)), seed=at) for at, name in enumerate("ab")
    ]
    write_report(runs, tmp_path / "r.html")
    frame = opened(browser_page, tmp_path / "r.html")
    assert lines(frame, "curve id").shape == (2, 600)
    wait_until_drawn(frame, "difference matrix")
    frame.get_by_text("Layers that both have: 0 of 300 in A and 300 in B.").wait_for()


def test_notes_of_comparability_stand_apart(tmp_path, browser_page):
    write_report([made_up_run()], tmp_path / "r.html")
    frame = opened(browser_page, tmp_path / "r.html")
    assert frame.locator(".findings li").count() == 1
    assert "not comparable with train" in frame.locator(".findings .note").inner_text()
    assert "3.0 % of the time" in frame.locator(".cost").inner_text()


def test_a_run_without_the_epoch_shows_the_one_before_and_says_so(tmp_path, browser_page):
    write_report(
        [made_up_run("every", range(5)), made_up_run("second", (0, 2, 4)), made_up_run("late", (3, 4))],
        tmp_path / "r.html",
    )
    frame = opened(browser_page, tmp_path / "r.html")
    for _ in range(3):
        frame.locator(".slider input").press("ArrowLeft")
    frame.get_by_text(
        "second has no epoch 1: its epoch 0 is shown. late begins after epoch 1 and is not shown."
    ).wait_for()
    wait_for_count(frame, "curve id", 2)


@pytest.mark.parametrize("changes", [{"epochs": (0,)}, {"labelled": False}, {"layers": ("input",)}])
def test_small_runs_are_runs(changes, tmp_path, browser_page):
    write_report([made_up_run(**changes)], tmp_path / "r.html")
    frame = opened(browser_page, tmp_path / "r.html")
    assert len(lines(frame, "curve id")) == 1
    assert frame.locator("figure[data-key='curve nncs']").count() == changes.get("labelled", True)


def test_play_goes_to_the_end_and_stops(tmp_path, browser_page):
    write_report([made_up_run(epochs=range(4))], tmp_path / "r.html")
    frame = opened(browser_page, tmp_path / "r.html")
    frame.evaluate(
        """() => {
          window.said = [];
          const shown = document.querySelector(".slider output");
          new MutationObserver(() => said.push(parseInt(shown.textContent.slice(6)))).observe(shown, {childList: true});
        }"""
    )
    frame.get_by_label("Play through the epochs").click()
    wait_for(
        frame, "() => window.said.length && document.querySelector('.slider output').textContent === 'Epoch 3 of 3'"
    )
    frame.get_by_label("Play through the epochs").wait_for()
    said = frame.evaluate("() => window.said")
    assert len(said) > 1  # a busy machine may draw some together
    assert said == sorted(said)


@pytest.mark.parametrize("width", [1200, 700])
@pytest.mark.parametrize("count", [13, 60])
def test_nothing_is_wider_than_the_page(width, count, tmp_path, browser_page):
    layers = ("input", *(f"backbone.stage{number // 10}.block{number % 10}.conv" for number in range(count - 1)))
    write_report([made_up_run("a" * 70, layers=layers)], tmp_path / "r.html")
    browser_page.set_viewport_size({"width": width, "height": 900})
    frame = opened(browser_page, tmp_path / "r.html")
    assert frame.evaluate("() => document.documentElement.scrollWidth") <= width
    columns = len(
        frame.evaluate("() => getComputedStyle(document.querySelector('.charts')).gridTemplateColumns").split()
    )
    assert columns == (2 if width == 1200 else 1)


def test_every_control_has_a_name_and_is_reached_by_tab(tmp_path, browser_page):
    write_report([made_up_run()], tmp_path / "r.html")
    frame = opened(browser_page, tmp_path / "r.html")
    unnamed = frame.evaluate(
        """() => [...document.querySelectorAll('input, select, button')].filter((node) =>
        !(node.labels?.length || node.getAttribute('aria-label') || node.textContent.trim())).length"""
    )
    assert unnamed == 0
    reached = set()
    for _ in range(30):
        browser_page.keyboard.press("Tab")
        reached.add(frame.evaluate("() => document.activeElement.tagName + document.activeElement.className"))
    assert {"SELECT", "INPUT", "BUTTONplay", "BUTTONtheme"} <= reached


def test_a_second_estimate_is_drawn_where_near_duplicates_rule_the_id(tmp_path, browser_page):
    sound = snapshot_of(0).changed(id_censored=np.array([9.0, 8.0, 7.0]), near_duplicates=np.zeros(3))
    ruled = sound.changed(near_duplicates=np.array([0.0, 0.02, 0.0]))
    robust = dataclasses.replace(
        sound, settings=dataclasses.replace(sound.settings, estimator="censored"), quantities=standard("censored")
    )
    for name, each in {"sound": sound, "ruled": ruled, "robust": robust}.items():
        rra.RunStore(tmp_path / name).save(each)
    made("report", *(tmp_path / name for name in ("sound", "ruled")), "--out", tmp_path / "r.html")
    frame = opened(browser_page, tmp_path / "r.html")
    assert np.allclose(lines(frame, "curve id"), [sound.id, ruled.id, [9, 8, 7]], rtol=1e-6)
    assert "ID (censored)" in frame.locator("section[aria-label='Curves over the layers'] .legend").inner_text()
    made("report", *(tmp_path / name for name in ("sound", "robust")), "--out", tmp_path / "r.html")
    frame = opened(browser_page, tmp_path / "r.html")
    assert len(lines(frame, "curve id")) == 2
    frame.get_by_text("ID by ml; n = 30, k = 4, ID by censored): of ID compare shapes, not values.").wait_for()
