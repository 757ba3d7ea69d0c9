"""The report: the page and its runs in one HTML file, which needs no network."""

import base64
import datetime
import gzip
import html
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rra_monitor
from rra_monitor.page.assets import plotly_bundle, static_files
from rra_monitor.page.binary import packed_payload
from rra_monitor.page.payload import SCHEMA, run_payload
from rra_monitor.page.series import RunSeries
from rra_monitor.page.thinning import thinned

LIMIT = 8_000_000
"""Largest report in bytes; beyond it frames are left out. Mail servers accept at least 10 MB."""

ENTRY = "report.js"
SERVED_ONLY = ("tensorboard.js", "source-served.js")

# Nothing but what is in the file itself may be loaded, whatever the data say.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' data:; style-src 'unsafe-inline'; img-src data: blob:"
)


@dataclass(frozen=True)
class Report:
    """A report that was written.

    Attributes:
        path: path of the file.
        size: size of the file in bytes.
        notes: remarks for the reader, for example about snapshots left out.
    """

    path: Path
    size: int
    notes: tuple[str, ...]


def write_report(
    runs: Sequence[RunSeries], path: Path, comparison: dict[str, Any] | None = None, limit: int = LIMIT
) -> Report:
    """Write runs as one HTML file that works offline, of `limit` bytes at most.

    If not all frames fit, runs are thinned evenly, the longest first; each keeps its first and last.

    Args:
        runs: runs with different names.
        path: path of the file.
        comparison: result of `comparison_payload`.
        limit: largest size of the file in bytes.

    Raises:
        ValueError: no runs, two with one name, plotly is not installed, or the runs are too large for the limit even
            with two frames each.
    """
    names = [run.name for run in runs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None or not names:
        raise ValueError(
            f"two runs are named {twice!r}; name them apart" if names else "no runs to report on; name some"
        )
    text, notes = _fitting(runs, comparison, limit)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)
    return Report(path, len(text), notes)


def _fitting(runs: Sequence[RunSeries], comparison: dict[str, Any] | None, limit: int) -> tuple[bytes, tuple[str, ...]]:
    shell = len(_document([], b""))
    most = max(len(run.frames) for run in runs)
    count = most
    while True:
        kept = [thinned(run, count) for run in runs]
        notes = tuple(_note(run, part) for run, part in zip(runs, kept, strict=True) if part is not run)
        payload = {"schema": SCHEMA, "runs": [run_payload(run) for run in kept], "comparison": comparison}
        text = _document([run.name for run in runs], packed_payload(payload | {"notes": list(notes)}))
        if len(text) <= limit:
            return text, notes
        if count <= 2:
            raise ValueError(
                f"the report would have {len(text) / 1e6:.1f} MB with two snapshots of each of the {len(runs)} runs, "
                f"more than {limit / 1e6:.1f} MB; give fewer runs"
            )
        share = max(0.0, limit - shell) / (len(text) - shell)
        count = max(2, min(count - 1, int(count * share * 0.98)))


def _note(run: RunSeries, part: RunSeries) -> str:
    kept = f"{len(part.frames)} of {len(run.frames)} snapshots are in this file"
    return f"{run.name}: {kept}, evenly chosen, to keep it small."


def _document(names: Sequence[str], data: bytes) -> bytes:
    files = {name: path.read_text(encoding="utf-8") for name, path in static_files().items()}
    modules = {name: text for name, text in files.items() if name.endswith(".js") and name not in SERVED_ONLY}
    imports = {f"rra/{name}": _data_url(_bare(text)) for name, text in modules.items()}
    title = f"RRA report: {', '.join(names[:3])}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    made = f"{len(names)} run{'' if len(names) == 1 else 's'}, written {datetime.date.today().isoformat()} by "
    made += f"rra-monitor {rra_monitor.__version__}"
    plotly = base64.b64encode(gzip.compress(plotly_bundle().read_bytes(), 9, mtime=0)).decode()
    # Base64 has no '<', so neither data nor code can end its element.
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{html.escape(POLICY)}">
<title>{_escaped(title)}</title>
<link rel="icon" href="data:,">
<style>
{files["page.css"]}
</style>
<script type="importmap">{json.dumps({"imports": imports})}</script>
</head>
<body>
<div class="masthead"><h1>Representational response</h1><p>{_escaped(made)}</p></div>
<div id="rra"><p class="empty">This report needs JavaScript and a browser of 2023 or later.</p></div>
<script type="application/octet-stream" id="rra-plotly">{plotly}</script>
<script type="application/octet-stream" id="rra-data">{base64.b64encode(data).decode()}</script>
<script type="module">import "rra/{ENTRY}";</script>
</body>
</html>
""".encode()


def _bare(module: str) -> str:
    """A module that imports by the document's import map, since a module within a document has no address."""
    return re.sub(r'(\bfrom\s+|\bimport\s+)"\./([\w-]+\.js)"', r'\1"rra/\2"', module)


def _data_url(module: str) -> str:
    return "data:text/javascript;base64," + base64.b64encode(module.encode()).decode()


def _escaped(text: str) -> str:
    return html.escape(text.encode("utf-8", "replace").decode())
