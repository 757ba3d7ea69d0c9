"""A real browser for tests of the page, and one walk through it that the report and TensorBoard's tab both pass."""

import os
import re
import shutil
import time
from urllib.parse import unquote_plus, urlsplit

import numpy as np
import pytest

LOCAL_SCHEMES = ("file", "data", "blob", "about")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
WAIT = 120_000
"""Milliseconds after which something that should have happened will not, on a busy machine either."""

SAID = "status of 422"
"""The browser's note on an answer in words, about a run that cannot be read; the page shows them."""


def executable():
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def _missing(reason):
    if os.environ.get("RRA_REQUIRE_BROWSER") == "1":
        pytest.fail(f"{reason}, and RRA_REQUIRE_BROWSER=1", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def chromium():
    """The system's Chromium, headless."""
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        _missing("playwright is not installed")
    if executable() is None:
        _missing("no chromium on the PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def browser_page(chromium):
    """A page that must not complain, and must not ask anything of another machine."""
    context = chromium.new_context(viewport={"width": 1200, "height": 900}, color_scheme="light")
    page = context.new_page()
    page.set_default_timeout(WAIT)
    faults = []
    page.on(
        "console", lambda said: faults.append(said.text) if said.type == "error" and SAID not in said.text else None
    )
    page.on("pageerror", lambda error: faults.append(str(error)))
    context.on("request", lambda request: None if is_local(request.url) else faults.append(f"asked for {request.url}"))
    yield page
    context.close()
    assert not faults


def is_local(url):
    parts = urlsplit(url)
    return parts.scheme in LOCAL_SCHEMES or parts.hostname in LOOPBACK


def drive(page, frame=lambda page: page.main_frame):
    """Two runs, the slider, probe and view, A minus B, groups and filter, and all of it again from the URL.

    Args:
        page: that shows two runs of at least three epochs with two probes, `train` and `val`, and a pooled view.
        frame: the page to the frame in which ours stands.
    """
    here = frame(page)
    wait_for_count(here, "curve id", 2)
    names = [box.get_attribute("value") for box in here.locator(".runs input").all()]
    assert len(names) == 2

    end = lines(here, "curve id")
    here.locator(".slider input").focus()
    label = here.locator(".slider output")
    last = label.inner_text()
    page.keyboard.press("ArrowLeft")
    wait_for(here, "last => document.querySelector('.slider output').textContent !== last", last)
    wait_for_change(here, "curve id", end)
    before = lines(here, "curve id")
    assert not np.allclose(before, end)

    choose(here, ".toolbar", "Probe", "val")
    wait_for_change(here, "curve id", before)
    validation = lines(here, "curve id")
    view = here.locator(".toolbar label", has_text="View").locator("select")
    pooled = [value for value in options_of(view) if value != "full"]
    assert pooled, "the walk needs runs with a pooled view"
    choose(here, ".toolbar", "View", pooled[0])
    wait_for_change(here, "curve id", validation)

    found = [matrix(here, "matrix self", name) for name in names]
    choose(here, ".difference", "A: run", names[1])
    choose(here, ".difference", "B: run", names[0])
    difference = cells(here, "difference matrix")
    expected = found[1] - found[0]
    assert np.allclose(difference, expected, atol=1e-4, equal_nan=True)
    assert np.nanmax(np.abs(expected)) > 0.001
    plot = "document.querySelector(\"figure[data-key='difference matrix'] .plot\")"
    assert here.evaluate(f"() => {plot}.data[0].zmin + {plot}.data[0].zmax") == 0

    here.locator(".theme").click()
    wait_for(here, "() => document.documentElement.dataset.theme === 'dark'")
    wait_for_address(page, "theme=dark")
    wait_until_drawn(here)
    shown, values = shown_choices(here), lines(here, "curve id")
    page.reload()
    here = frame(page)
    wait_for_count(here, "curve id", 2)
    eventually(page, lambda: shown_choices(here), lambda found: found == shown)
    eventually(page, lambda: lines(here, "curve id"), lambda found: np.allclose(found, values, equal_nan=True))

    here.get_by_label("Show runs that match").fill(f"^{re.escape(names[0])}$")
    wait_for(here, "() => document.querySelectorAll('.runs input').length === 1")
    wait_for_count(here, "curve id", 1)
    here.get_by_label("Show runs that match").fill("(")
    here.get_by_text("Not a regular expression").wait_for()
    here.get_by_label("Show runs that match").fill("")
    wait_for_count(here, "curve id", 2)
    runs = lines(here, "curve id")
    both = "^.(.*)"  # all but the letter that tells them apart
    assert len({re.search(both, name)[1] for name in names}) == 1
    here.get_by_label("Group by").fill(both)
    here.get_by_label("Mean and range of each group").check()  # redraws, as a rule before what was typed is taken
    wait_for_count(here, "curve id", 1)
    assert np.allclose(lines(here, "curve id")[0], runs.mean(axis=0), equal_nan=True)
    bands = here.evaluate(f"key => ({BANDS})(key)", "curve id")
    assert len(bands) == 1
    low, high = runs.min(axis=0), runs.max(axis=0)
    assert np.allclose(bands[0], [*high, *low[::-1], np.nan], equal_nan=True)
    assert here.get_by_label("Group by").input_value() == both
    wait_for_address(page, f"groups={both}")
    assert here.get_by_label("Group by").input_value() == both


def look_around(frame):
    """Choose every probe, view and metric, scroll through all figures, hover over some: names stay text."""
    wait_until_drawn(frame)
    for label in ("Probe", "View", "Metric"):
        select = frame.locator(".toolbar label", has_text=label).locator("select")
        values = options_of(select)
        assert values
        for value in values:
            select.select_option(value)
            wait_until_drawn(frame)
            assert select.input_value() == value
    for figure in frame.locator("figure").all():
        figure.scroll_into_view_if_needed()
    wait_until_drawn(frame)
    plot = "document.querySelector(\"figure[data-key='curve id'] .plot\")"
    frame.evaluate(f"() => Plotly.Fx.hover({plot}, [{{ curveNumber: {plot}.data.length - 1, pointNumber: 0 }}])")
    frame.locator("figure[data-key='curve id'] .hovertext").first.wait_for()
    wait_until_drawn(frame, "matrix self")
    frame.locator("figure[data-key='matrix self'] .nsewdrag").hover(position={"x": 3, "y": 3})
    frame.locator("figure[data-key='matrix self'] .hovertext").first.wait_for()
    assert frame.page.evaluate("() => window.pwned") is None
    assert frame.evaluate("() => window.pwned") is None
    assert frame.locator("body img, svg[onload], a[href*='example'], #rra script").count() == 0


def eventually(page, ask, enough):
    """The first answer that is enough. The page goes on meanwhile, which it does not where Python sleeps."""
    end = time.monotonic() + WAIT / 1000
    while not enough(found := ask()):
        assert time.monotonic() < end, found
        page.wait_for_timeout(50)
    return found


def wait_for_address(page, text):
    """The address is written a moment after the last change; TensorBoard's holds ours within its own."""
    eventually(page, lambda: unquote_plus(unquote_plus(page.url)), lambda address: text in address)


def wait_until_drawn(frame, key="curve id"):
    """Scroll to a figure, and wait until it shows what was chosen last."""
    figure = f"figure[data-key='{key}']"
    frame.locator(figure).first.scroll_into_view_if_needed()
    frame.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    wait_for(
        frame,
        "figure => { const node = document.querySelector(figure); return node?.figure.fresh && node.figure.inSight }",
        figure,
    )


def wait_for(frame, expression, argument=None):
    frame.wait_for_function(expression, arg=argument, timeout=WAIT)


def choose(frame, where, label, value):
    frame.locator(f"{where} label", has_text=label).locator("select").select_option(value)


def options_of(select):
    return select.locator("option").evaluate_all("nodes => nodes.map((node) => node.value)")


def lines(frame, key):
    """(runs, layers) values of a chart's lines, without its bands and chance levels."""
    found = frame.evaluate(f"key => ({LINES})(key)", key)
    return np.array([[np.nan if value is None else value for value in line] for line in found])


LINES = """key => document.querySelector(`figure[data-key="${key}"] .plot`)?.data
  ?.filter((trace) => trace.connectgaps === false).map((trace) => Array.from(trace.y))"""


BANDS = """key => document.querySelector(`figure[data-key="${key}"] .plot`).data
  .filter((trace) => trace.fill === 'toself').map((trace) => Array.from(trace.y, (value) => value ?? NaN))"""


def cells(frame, key):
    """(rows, columns) values of a heatmap."""
    wait_until_drawn(frame, key)
    found = frame.evaluate('key => document.querySelector(`figure[data-key="${key}"] .plot`).data[0].z', key)
    return np.array([[np.nan if value is None else value for value in row] for row in found], dtype=float)


def matrix(frame, key, run):
    """The cells of one of the matrices of a run."""
    select = frame.locator("section[aria-label='Layer similarity'] select")
    select.select_option(run)
    return cells(frame, key)


def wait_for_change(frame, key, before):
    text = [[None if np.isnan(value) else value for value in line] for line in before]
    wait_for(frame, f"([key, before]) => JSON.stringify(({LINES})(key)) !== JSON.stringify(before)", [key, text])


def wait_for_count(frame, key, count):
    wait_until_drawn(frame, key)
    wait_for(frame, f"([key, count]) => ({LINES})(key)?.length === count", [key, count])


def shown_choices(frame):
    """What all selectors, the slider and the theme say."""
    return frame.evaluate(
        """() => [[...document.querySelectorAll('select')].map((box) => box.value),
        document.querySelector('.slider output').textContent, document.documentElement.dataset.theme]"""
    )
