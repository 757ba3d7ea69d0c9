"""The command `rra-monitor report`: runs as one HTML file."""

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from rra_monitor.compare_command import groups_named, run_names
from rra_monitor.comparison import Comparison
from rra_monitor.groups import CALLBACK_FOLDER, open_run
from rra_monitor.page.compared import comparison_payload
from rra_monitor.page.report import Report, write_report
from rra_monitor.page.series import RunSeries, stored_series
from rra_monitor.terminal import print_line

Named = tuple[str, str | None, str]
"""A run's name, its group and its directory."""


def run_report(runs: Sequence[str], group: Sequence[Sequence[str]], out: str | None) -> None:
    """Read the runs, write the file, say where it is.

    Raises:
        ValueError: no runs, a directory that is none, named.
    """
    console = Console()
    if not runs and not group:
        raise ValueError("name the directory of a run, or of several: rra-monitor report rra-demo")
    found: list[tuple[str | None, str]] = [(None, run) for given in runs for run in runs_below(given)]
    for name, paths in (groups_named(group) if group else {}).items():
        found += [(name, path) for path in paths]
    path = Path(out) if out else free_file("rra-report.html")
    if path.is_dir():
        raise ValueError(f"--out {out} is a directory; name a file, as in --out {path / 'report.html'}")
    say(console, write_report(read(named(found)), path))


def comparison_report(comparison: Comparison, runs: Iterable[tuple[str | None, str]], path: Path) -> Report:
    """Write the report of compared runs, with what comparing them found.

    Args:
        comparison: of the runs.
        runs: group, None for none, and directory of each.
        path: of the file.
    """
    return write_report(read(named(runs)), path, comparison_payload(comparison))


def say(console: Console, report: Report) -> None:
    """Print where a report is, how large, and what is left out."""
    for note in report.notes:
        print_line(console, f"• {note}")
    size = f"{report.size / 1e6:.1f} MB"
    print_line(console, f"Report: {report.path} ({size}, one file, works offline)", soft_wrap=True)


def named(found: Iterable[tuple[str | None, str]]) -> list[Named]:
    """Short names for runs of groups; a run of two groups is named after each.

    >>> named([("A", "out/seed0/rra"), ("B", "out/seed1/rra")])
    [('seed0', 'A', 'out/seed0/rra'), ('seed1', 'B', 'out/seed1/rra')]
    """
    found = list(dict.fromkeys(found))
    paths = [path for _, path in found]
    names = {path: name for name, path in run_names(list(dict.fromkeys(paths))).items()}
    if len(names) == 1:
        parts = paths[0].rstrip("/").split("/")
        names = {paths[0]: parts[-2] if parts[-1] == CALLBACK_FOLDER and len(parts) > 1 else parts[-1]}
    several = {path for path in paths if paths.count(path) > 1}
    return [(f"{group}/{names[path]}" if path in several else names[path], group, path) for group, path in found]


def runs_below(path: str) -> list[str]:
    """The directory itself if it is a run's, or else the runs in it: `rra-demo` has `rra-demo/seed0` and `…/seed1`.

    Raises:
        ValueError: neither.
    """
    try:
        open_run(path)
    except ValueError:
        below = [] if "://" in path else sorted(glob.glob(f"{glob.escape(path.rstrip('/'))}/*/"))
        found = [one.rstrip("/") for one in below if _is_run(one)]
        if not found:
            raise
        return found
    return [path]


def read(runs: Sequence[Named]) -> list[RunSeries]:
    """The runs from their stores, with a progress bar."""
    console = Console(stderr=True)
    with Progress(transient=True, console=console, disable=not console.is_terminal) as progress:
        steps = progress.track(runs, description="reading runs")
        return [stored_series(open_run(path), name, group) for name, group, path in steps]


def free_file(name: str) -> Path:
    """A file of that name, or the first of name-1, name-2, … that is not there yet."""
    path, number = Path(name), 0
    while path.exists():
        number += 1
        path = Path(name).with_stem(f"{Path(name).stem}-{number}")
    return path


def _is_run(path: str) -> bool:
    places = (path, os.path.join(path, CALLBACK_FOLDER))
    return any(os.path.isdir(os.path.join(place, "snapshots")) for place in places)
