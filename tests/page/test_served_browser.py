"""The front end over a server, as TensorBoard's tab has it, without TensorBoard."""

import json
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from rra_monitor.page.assets import plotly_bundle, static_files
from rra_monitor.page.payload import run_payload
from tests.helpers.browser import lines, wait_for, wait_for_count, wait_until_drawn
from tests.helpers.page_runs import ODD, made_up_run

POLICY = (
    "default-src 'self'; font-src 'self' data:; img-src 'self' data: blob:; object-src 'none'; "
    "style-src 'self' 'unsafe-inline' data:; connect-src 'self' data:; script-src 'self' 'unsafe-eval'"
)
"""TensorBoard's."""

BOOT = b'import { render } from "./tensorboard.js"; render();'


class Handler(BaseHTTPRequestHandler):
    def __init__(self, answers, *arguments):
        self.answers = answers
        super().__init__(*arguments)

    def do_GET(self):
        address = urlsplit(self.path)
        name = address.path.rpartition("/")[2]
        kind = {"js": "text/javascript", "css": "text/css", "": "text/html"}.get(
            name.rpartition(".")[2], "application/json"
        )
        body = self.answers(name, parse_qs(address.query))
        self.send_response(200)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Security-Policy", POLICY)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


class Served:
    """Runs by name, and what else the server says."""

    def __init__(self):
        self.runs, self.message, self.schema = {}, None, 1

    def answers(self, name, query):
        files = static_files() | {"plotly.min.js": plotly_bundle()}
        if name in files:
            return files[name].read_bytes()
        if name == "runs":
            runs = [{"name": name, "version": str(len(run.frames))} for name, run in self.runs.items()]
            return json.dumps({"schema": self.schema, "runs": runs, "message": self.message}).encode()
        if name == "run":
            return json.dumps({"schema": self.schema} | run_payload(self.runs[query["name"][0]])).encode()
        page = b'<!doctype html><link rel="icon" href="data:,"><script type="module" src="boot.js"></script>'
        return BOOT if name == "boot.js" else page


@pytest.fixture
def served():
    served = Served()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, served.answers))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    served.address = f"http://127.0.0.1:{server.server_port}/data/plugin/rra/"
    yield served
    server.shutdown()


def test_an_empty_source_teaches_and_a_run_appears_and_grows_while_one_looks(served, browser_page):
    browser_page.goto(served.address)
    frame = browser_page.main_frame
    frame.get_by_text("RRACallback").wait_for()
    assert "rra-monitor demo" in frame.locator(".empty").last.inner_text()
    served.runs[ODD] = made_up_run(ODD, epochs=(0, 1))
    wait_until_drawn(frame)
    assert frame.locator(".slider output").inner_text() == "Epoch 1 of 1"
    served.runs[ODD] = made_up_run(ODD, epochs=(0, 1, 2))
    served.runs["other"] = made_up_run("other", epochs=(0, 1, 2))
    wait_for_count(frame, "curve id", 2)
    wait_for(frame, "() => document.querySelector('.slider output').textContent === 'Epoch 2 of 2'")
    assert lines(frame, "curve id").shape == (2, 3)


def test_what_could_not_be_read_is_said(served, browser_page):
    served.message = "The events of run <x> have schema 9, this version reads 1."
    browser_page.goto(served.address)
    browser_page.get_by_text(served.message).wait_for()


def test_data_of_another_version_are_refused_in_words(served, browser_page):
    served.schema = 2
    browser_page.goto(served.address)
    browser_page.get_by_text("This data has schema 2, this page reads schema 1").wait_for()
