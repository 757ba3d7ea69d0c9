"""The tab RRA of a real TensorBoard in a real browser."""

import numpy as np
import pytest
import torch
from browser import drive, eventually, lines, wait_for, wait_for_count, wait_until_drawn
from lightning.pytorch.loggers import TensorBoardLogger
from page_runs import ODD, array
from tensorboard_records import made_up_record, write_records, write_tensor
from tensorboard_server import FAST, SLOW, serving, until
from training import Classifier, fit

import rra_monitor as rra
from rra_monitor.integrations.lightning import RRACallback


class Faster(Classifier):
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.2)


@pytest.fixture(scope="module")
def logdir(digits, tmp_path_factory):
    """Two trainings in two views."""
    path = tmp_path_factory.mktemp("logs")
    for name, module in {"a": Classifier(), "b": Faster()}.items():
        callback = RRACallback(views=["full", "avg-global"], dirpath=path.parent / f"store-{name}")
        logger = TensorBoardLogger(path, name=name, version="v")
        fit(digits, path, [callback], logger=[logger], epochs=3, module=module)
    return path


def tab(page):
    """The frame of the plugin's page."""
    return eventually(page, lambda: next((f for f in page.frames if "plugin_entry" in f.url), None), bool)


def read_whole(server):
    """Wait until TensorBoard has read both trainings; it may meet them in the middle."""
    until(server.names, lambda names: names == ["a/v", "b/v"])
    for name in ("a/v", "b/v"):
        server.run(name, lambda run: len(run["moments"]) == 4)


def opened(page, server):
    page.goto(f"{server.url}#rra")
    return tab(page)


@pytest.mark.parametrize("loader", [FAST, SLOW], ids=["fast", "slow"])
def test_the_walk(logdir, loader, browser_page):
    with serving(logdir, *loader) as server:
        read_whole(server)
        opened(browser_page, server)
        drive(browser_page, tab)


def test_it_shows_the_values_of_the_store(logdir, browser_page):
    with serving(logdir) as server:
        read_whole(server)
        frame = opened(browser_page, server)
        wait_for_count(frame, "curve id", 2)
        for name, line in zip("ab", lines(frame, "curve id"), strict=True):
            store = rra.RunStore(logdir.parent / f"store-{name}")
            last = store.load("train", store.steps("train")[-1])
            np.testing.assert_allclose(line, last.id[last.view().indices], rtol=1e-6)


def test_comparisons_are_served_in_every_view(logdir):
    with serving(logdir) as server:
        until(server.names, lambda names: names == ["a/v", "b/v"])
        served = server.run("a/v", lambda run: len(run["moments"]) == 4)
    store = rra.RunStore(logdir.parent / "store-a")
    for name, probe in served["probes"].items():
        found = probe["matrices"]["prev"]
        assert found["views"] == ["full", "avg-global"]
        values = array(found["values"])
        for at, step in enumerate(store.steps(name)):
            match = store.matches(name, step).get("prev")
            for place, view in enumerate(found["views"]):
                rows = store.load(name, step).view(view).indices
                expected = np.full_like(values[at, place], np.nan) if match is None else match.nnls[np.ix_(rows, rows)]
                np.testing.assert_allclose(values[at, place], expected, atol=1e-5)


def test_what_is_logged_while_it_is_open_appears(tmp_path, browser_page):
    with serving(tmp_path) as server:
        frame = opened(browser_page, server)
        frame.get_by_text("RRACallback").wait_for()  # how to produce runs
        write_records(tmp_path / "run", [made_up_record(0)])
        wait_until_drawn(frame)
        before = lines(frame, "curve id")
        np.testing.assert_allclose(before[0], made_up_record(0).snapshots["train"].id, rtol=1e-6)
        write_records(tmp_path / "run", [made_up_record(1)])
        write_records(tmp_path / "second", [made_up_record(1, layers=("input", "other"))])
        wait_for_count(frame, "curve id", 2)
        wait_for(frame, "() => document.querySelector('.slider output').textContent.includes('1 of 1')")


def test_odd_names_and_unreadable_runs_are_text(tmp_path, browser_page):
    name = "<img src=x onerror=alert(1)> & 'q'"
    write_records(tmp_path / "odd" / "x & 'y' <b>", [made_up_record(0, layers=("input", ODD))])
    write_tensor(tmp_path / "newer", "rra/moment", b'{"schema": "<img src=x>", "kind": "moment"}', np.zeros(3))
    write_tensor(tmp_path / "foreign", name, b"{}", np.zeros(3))
    with serving(tmp_path) as server:
        until(server.runs, lambda runs: runs["runs"] and "newer" in (runs["message"] or ""))
        frame = opened(browser_page, server)
        wait_until_drawn(frame)
        assert frame.locator(".runs span").first.inner_text() == "odd/x & 'y' <b>"
        assert frame.locator("img").count() == 0
        said = frame.locator(".message").inner_text()
        assert "newer: rra/moment is left out: schema '<img src=x>', expected 1" in said
        assert f"foreign: {name} is left out" in said


def test_a_tab_that_can_not_load_says_why(tmp_path, browser_page):
    (tmp_path / "shadows").mkdir()
    (tmp_path / "shadows" / "sitecustomize.py").write_text("import sys; sys.modules['plotly'] = None")
    with serving(tmp_path, shadows=tmp_path / "shadows") as server:
        opened(browser_page, server).get_by_text("pip install 'rra-monitor[report,tensorboard]'").wait_for()
