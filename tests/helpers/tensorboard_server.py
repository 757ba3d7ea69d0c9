"""A real TensorBoard in a process of its own, and requests to it."""

import gzip
import json
import os
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

FAST, SLOW = (), ("--load_fast=false",)
PATIENCE = 120
"""Seconds after which something that should have happened will not."""


class Server:
    """Where a TensorBoard listens."""

    def __init__(self, url):
        self.url = url

    def get(self, path, headers=()):
        """Status, headers and body of an answer."""
        try:
            with urlopen(Request(self.url + path, headers=dict(headers)), timeout=PATIENCE) as answer:
                return answer.status, answer.headers, answer.read()
        except HTTPError as error:
            return error.code, error.headers, error.read()

    def json(self, path):
        status, _, body = self.get(path)
        assert status == 200, body
        return json.loads(body)

    def runs(self):
        return self.json("data/plugin/rra/runs")

    def names(self):
        return [run["name"] for run in self.runs()["runs"]]

    def run(self, name, enough=lambda run: True):
        """A run as the page gets it, once there is enough of it: loaders take their time."""
        return until(lambda: self.json(f"data/plugin/rra/run?name={quote(name, safe='')}"), enough)

    def settled(self):
        """When the answer on the runs stays the same over two of the loader's rounds."""
        before = None
        while before != (before := self.runs()):
            time.sleep(2.2)
        return self


class InProcess:
    """What the plugin answers on a folder, without a server."""

    def __init__(self, logdir):
        from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
        from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
        from tensorboard.plugins.base_plugin import TBContext
        from werkzeug.test import Client

        from rra_monitor.integrations.tensorboard.tab import Tab

        multiplexer = EventMultiplexer(tensor_size_guidance={"rra": 0})
        multiplexer.AddRunsFromDirectory(str(logdir))
        multiplexer.Reload()
        provider = MultiplexerDataProvider(multiplexer, str(logdir))
        routes = Tab(TBContext(data_provider=provider, logdir=str(logdir))).get_plugin_apps()
        self._runs, self._run = Client(routes["/runs"]), Client(routes["/run"])

    def runs(self):
        answer = self._runs.get("/runs")
        assert answer.status_code == 200, answer.text
        return answer.json

    def run(self, name):
        """Status, and the run or a sentence."""
        answer = self._run.get("/run", query_string={"name": name})
        return answer.status_code, answer.json if answer.status_code == 200 else answer.text


def until(ask, enough):
    """The first answer that is enough, or the last one."""
    end = time.monotonic() + PATIENCE
    while not enough(answer := ask()) and time.monotonic() < end:
        time.sleep(0.2)
    return answer


@contextmanager
def serving(logdir, *options, shadows=None):
    """TensorBoard on a free port of the loopback; modules in the folder `shadows` stand before installed ones."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir), "--host", "127.0.0.1", "--port", "0"]
    paths = [str(shadows)] if shadows else []
    process = subprocess.Popen(
        [*command, "--reload_interval", "1", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )
    said = []
    try:
        for line in process.stderr:
            said.append(line)
            if found := re.search(r"http://127\.0\.0\.1:\d+/", line):
                break
        else:
            raise RuntimeError(f"TensorBoard did not start:\n{''.join(said)}")
        reader = threading.Thread(target=lambda: said.extend(process.stderr), daemon=True)
        reader.start()
        yield Server(found[0])
    finally:
        process.terminate()
        process.wait(PATIENCE)


def accepts_gzip(server, path):
    """A body that was compressed on its way."""
    _, headers, body = server.get(path, {"Accept-Encoding": "gzip"})
    assert headers["Content-Encoding"] == "gzip"
    return gzip.decompress(body)
