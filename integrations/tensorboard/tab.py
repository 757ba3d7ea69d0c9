"""The plugin behind the tab RRA: serves the files of the page and the runs that TensorBoard has loaded."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tensorboard import errors, plugin_util
from tensorboard.backend.http_util import Respond
from tensorboard.plugins import base_plugin
from werkzeug.wrappers import Request, Response

from rra_monitor.integrations.tensorboard import PLUGIN
from rra_monitor.integrations.tensorboard.broken import metadata
from rra_monitor.integrations.tensorboard.listing import Events, LoggedRun
from rra_monitor.integrations.tensorboard.notes import few
from rra_monitor.page.assets import PLOTLY, plotly_bundle, static_files

SCHEMA = 1
"""Version of the answers, which the page checks; it is that of the payload."""

TYPES = {".js": "text/javascript", ".css": "text/css"}

HOUR = 3600


class Tab(base_plugin.TBPlugin):  # type: ignore[misc]
    """Routes of the plugin.

    Args:
        context: context from TensorBoard.

    Raises:
        ValueError, OSError: a file that the page needs is not installed, with the remedy.
    """

    plugin_name = PLUGIN

    def __init__(self, context: Any) -> None:
        self._provider = context.data_provider
        self._files = static_files()
        self._plotly = plotly_bundle()

    def get_plugin_apps(self) -> dict[str, Any]:
        """One route for each file, so that no path of a request is looked up on disk, and the routes of the data."""
        assets = {
            f"/{name}": partial(_serve, path=path, kind=TYPES[path.suffix], expires=0)
            for name, path in self._files.items()
        }
        assets[f"/{PLOTLY}"] = partial(_serve, path=self._plotly, kind=TYPES[".js"], expires=HOUR)
        return {route: Request.application(app) for route, app in assets.items()} | {
            "/runs": Request.application(partial(_answer, self._runs)),
            "/run": Request.application(partial(_answer, self._run)),
        }

    def is_active(self) -> bool:
        """Always false: asked only if TensorBoard has no data of the plugin."""
        return False

    def frontend_metadata(self) -> Any:
        """The tab's name and its script."""
        return metadata()

    def _runs(self, request: Request) -> dict[str, Any]:
        runs = self._events(request).runs()
        left_out = [run for run in runs if not run.readable]
        messages = [f"{run.name}: {' '.join(few(run.notes or ['it has no snapshots.']))}" for run in left_out]
        return {
            "schema": SCHEMA,
            "runs": [{"name": run.name, "version": run.version} for run in runs if run.readable],
            "message": " ".join(few(messages)) or None,
        }

    def _run(self, request: Request) -> dict[str, Any]:
        # At the first request, not at TensorBoard's start.
        from rra_monitor.integrations.tensorboard.reading import run_series
        from rra_monitor.page.payload import run_payload

        events, name = self._events(request), request.args.get("name", "")
        run = _named(events.runs(), name)
        series, notes = run_series(run, partial(events.read, name))
        return {"schema": SCHEMA, **run_payload(series), "notes": few(notes)}

    def _events(self, request: Request) -> Events:
        environ = request.environ
        return Events(self._provider, plugin_util.context(environ), plugin_util.experiment_id(environ))


def _serve(request: Request, path: Path, kind: str, expires: int) -> Response:
    response: Response = Respond(request, path.read_bytes(), kind, expires=expires)
    return response


def _answer(answer: Callable[[Request], dict[str, Any]], request: Request) -> Response:
    """JSON, or a sentence on the error: the page shows either."""
    try:
        content, kind, code = json.dumps(answer(request), allow_nan=False), "application/json", 200
    except errors.PublicError:  # TensorBoard answers with its text and code
        raise
    except ValueError as error:
        content, kind, code = str(error), "text/plain", 422
    except Exception as error:
        content, kind, code = f"rra-monitor failed: {type(error).__name__}: {error}", "text/plain", 500
    response: Response = Respond(request, content, kind, code=code)
    return response


def _named(runs: list[LoggedRun], name: str) -> LoggedRun:
    for run in runs:
        if run.name == name:
            return run
    known = ", ".join(repr(run.name) for run in runs) or "none"
    raise errors.NotFoundError(f"TensorBoard has no run {name!r} with data of RRA; with some it has {known}")
