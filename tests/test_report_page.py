"""The report in a real browser."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from browser import cells, drive, lines, wait_for, wait_until_drawn
from digit_runs import train
from page_runs import ODD, made_up_run

import rra_monitor as rra
from rra_monitor.page.report import write_report

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
    page.goto(path.as_uri())
    wait_until_drawn(page.main_frame)
    return page.main_frame


def test_the_walk(folder, tmp_path, browser_page):
    made("report", folder / "a0", folder / "b0", "--out", tmp_path / "r.html")
    opened(browser_page, tmp_path / "r.html")
    drive(browser_page)


def test_it_shows_the_values_of_the_store(folder, tmp_path, browser_page):
    made("report", folder / "a0", "--out", tmp_path / "r.html")
    frame = opened(browser_page, tmp_path / "r.html")
    store = rra.RunStore(folder / "a0")
    last = store.load("train", store.steps("train")[-1])
    rows = last.view()
    assert np.allclose(lines(frame, "curve id")[0], last.id[rows.indices], rtol=1e-6)
    assert np.allclose(lines(frame, "curve nncs")[0], last.nncs[rows.indices], atol=1e-6)
    frame.locator("figure[data-key='matrix self']").scroll_into_view_if_needed()
    wait_for(frame, "() => document.querySelector(\"figure[data-key='matrix inter'] .plot\").data?.length")
    assert np.allclose(cells(frame, "matrix self"), last.intra("full"), atol=1e-5)
    assert np.allclose(cells(frame, "matrix inter"), last.inter("avg-global"), atol=1e-5)


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
    frame.locator("figure[data-key='pairs A against B']").scroll_into_view_if_needed()
    wait_for(frame, "() => document.querySelector(\"figure[data-key='pairs A against B'] .plot\").data?.length")
    assert np.allclose(cells(frame, "pairs A against B"), found.between("A", "B").mean(), atol=1e-5)


def test_odd_names_are_text(tmp_path, browser_page):
    write_report([made_up_run(ODD), made_up_run("'\"\\&amp;", seed=1)], tmp_path / "r.html")
    frame = opened(browser_page, tmp_path / "r.html")
    assert frame.locator("img").count() == 0
    assert frame.locator(".runs span").first.inner_text() == ODD
    ticks = frame.locator("figure[data-key='curve id'] .xtick text").all_text_contents()
    assert any(text.startswith("</scrip") for text in ticks)
    assert frame.locator(".findings li").first.inner_text() == f"train: the ID peaks at {ODD}."
    frame.locator("figure[data-key='curve nncs'] .plot").hover()


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
    assert len(lines(frame, "curve id")) == 2


@pytest.mark.parametrize("changes", [{"epochs": (0,)}, {"labelled": False}, {"layers": ("input",)}])
def test_small_runs_are_runs(changes, tmp_path, browser_page):
    write_report([made_up_run(**changes)], tmp_path / "r.html")
    frame = opened(browser_page, tmp_path / "r.html")
    assert len(lines(frame, "curve id")) == 1
    assert frame.locator("figure[data-key='curve nncs']").count() == changes.get("labelled", True)


def test_play_goes_to_the_end_and_stops(tmp_path, browser_page):
    write_report([made_up_run(epochs=range(4))], tmp_path / "r.html")
    frame = opened(browser_page, tmp_path / "r.html")
    frame.get_by_label("Play through the epochs").click()
    wait_for(frame, "() => document.querySelector('.slider output').textContent.startsWith('Epoch 1 ')")
    wait_for(frame, "() => document.querySelector('.slider output').textContent.startsWith('Epoch 3 ')")
    frame.get_by_label("Play through the epochs").wait_for()


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
