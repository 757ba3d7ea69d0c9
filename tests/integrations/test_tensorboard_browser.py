"""The tab RRA of a real TensorBoard in a real browser."""

import dataclasses
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger

import rra_monitor as rra
from rra_monitor.conclusions.evidence import Finding
from rra_monitor.integrations.lightning import RRACallback
from rra_monitor.integrations.tensorboard.packed import packed_tensors
from tests.helpers.browser import drive, eventually, lines, look_around, wait_for, wait_for_count, wait_until_drawn
from tests.helpers.page_runs import MARKUP, ODD, array
from tests.helpers.tensorboard_records import claiming, made_up_record, write_records, write_tensor, write_tensors
from tests.helpers.tensorboard_server import FAST, SLOW, serving, until
from tests.helpers.training import Classifier, fit


class Faster(Classifier):
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.2)


@pytest.fixture(scope="module")
def logdir(digits, tmp_path_factory):
    """Two trainings in two views."""
    path = tmp_path_factory.mktemp("trainings") / "logs"
    path.mkdir()
    for name, module in {"a": Classifier(), "b": Faster()}.items():
        callback = RRACallback(views=["full", "avg-global"], dirpath=path.parent / f"store-{name}")
        logger = TensorBoardLogger(path, name=name, version="v")
        fit(digits, path, [callback], logger=[logger], epochs=3, module=module)
    return path


def tab(page):
    """The frame of the plugin's page."""
    return eventually(page, lambda: next((f for f in page.frames if "plugin_entry" in f.url), None), bool)


@contextmanager
def shown(page, logdir, *options, **more):
    """A server, left by the page before it stops: the page would go on asking."""
    with serving(logdir, *options, **more) as server:
        try:
            yield server
        finally:
            page.goto("about:blank")


def read_whole(server):
    """Wait until TensorBoard has read both trainings; it may meet them in the middle."""
    until(server.names, lambda names: names == ["a/v", "b/v"])
    for name in ("a/v", "b/v"):
        server.run(name, lambda run: len(run["frames"]) == 4)


def opened(page, server):
    page.goto(f"{server.url}#rra")
    return tab(page)


@pytest.mark.parametrize("loader", [FAST, SLOW], ids=["fast", "slow"])
def test_walk_through_two_runs_and_back_by_the_address(logdir, loader, browser_page):
    with shown(browser_page, logdir, *loader) as server:
        read_whole(server)
        opened(browser_page, server)
        drive(browser_page, tab)


def test_curves_and_matrices_are_those_of_the_store(logdir, browser_page):
    with shown(browser_page, logdir) as server:
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
        served = server.run("a/v", lambda run: len(run["frames"]) == 4)
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
    with shown(browser_page, tmp_path) as server:
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
    with shown(browser_page, tmp_path) as server:
        until(server.runs, lambda runs: runs["runs"] and "newer" in (runs["message"] or ""))
        frame = opened(browser_page, server)
        wait_until_drawn(frame)
        assert frame.locator(".runs span").first.inner_text() == "odd/x & 'y' <b>"
        assert frame.locator("img").count() == 0
        said = frame.locator(".message").inner_text()
        assert "newer: rra/moment is left out: schema '<img src=x>', expected 1" in said
        assert f"foreign: {name} is left out" in said


def test_markup_in_every_name_stays_text_in_the_tab(tmp_path, browser_page):
    record = made_up_record(0, [f"ref-{name}" for name in MARKUP], probes=("train", *MARKUP), layers=("input", *MARKUP))
    finding = Finding(MARKUP[0], MARKUP[1], MARKUP, "".join(MARKUP), 1.0, {MARKUP[0]: 1.0})
    write_records(tmp_path / "run", [dataclasses.replace(record, findings=(finding,))])
    with shown(browser_page, tmp_path) as server:
        until(server.names, bool)
        frame = opened(browser_page, server)
        look_around(frame)
        assert frame.locator(".findings li").inner_text().endswith("".join(MARKUP))


def test_bad_runs_are_named_and_the_good_one_is_drawn(tmp_path, browser_page):
    write_records(tmp_path / "good", [made_up_record(0), made_up_record(1)])
    write_tensor(tmp_path / "nested", "rra/moment", b"[" * 100_000, np.zeros(3))
    content = next(each.content for each in packed_tensors(made_up_record(0)) if each.tag.startswith("rra/curves"))
    moment = ("rra/moment", b'{"schema": 1, "kind": "moment"}', np.zeros(3))
    odd = content.replace(b'"chances": {', b'"chances": {"odd": "x", ')
    assert odd != content
    write_tensors(tmp_path / "chance", [("rra/curves", odd, np.zeros(3)), moment])
    write_tensors(tmp_path / "huge", [("rra/curves", content, claiming(1 << 30)), moment])
    with shown(browser_page, tmp_path) as server:
        until(server.runs, lambda runs: len(runs["runs"]) == 3 and "nested" in (runs["message"] or ""))
        frame = opened(browser_page, server)
        wait_for_count(frame, "curve id", 1)
        assert frame.locator(".message").inner_text().startswith("nested: rra/moment is left out: not written by")
        for name, reason in {"chance": "chance of odd is 'x'", "huge": "shape [1073741824], expected one that"}.items():
            frame.locator(".runs li", has_text=name).locator(".warning", has_text=reason).wait_for()
        np.testing.assert_allclose(lines(frame, "curve id")[0], made_up_record(1).snapshots["train"].id, rtol=1e-6)


def test_a_tab_that_can_not_load_says_why(tmp_path, browser_page):
    (tmp_path / "shadows").mkdir()
    (tmp_path / "shadows" / "sitecustomize.py").write_text("import sys; sys.modules['plotly'] = None")
    with shown(browser_page, tmp_path, shadows=tmp_path / "shadows") as server:
        opened(browser_page, server).get_by_text("pip install 'rra-monitor[report,tensorboard]'").wait_for()
