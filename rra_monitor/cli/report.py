"""The command `rra-monitor report`: runs as one HTML file."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from rra_monitor.cli.arguments import Named, groups_named, named
from rra_monitor.compare.comparison import Comparison
from rra_monitor.page.comparison import comparison_payload
from rra_monitor.page.report import Report, write_report
from rra_monitor.page.series import RunSeries, stored_series
from rra_monitor.runs.locate import runs_below
from rra_monitor.runs.opened import OpenedRun
from rra_monitor.utils.paths import free_path
from rra_monitor.utils.terminal import passing_progress, print_line


def run_report(runs: Sequence[str], group: Sequence[Sequence[str]], out: str | None) -> None:
    """Read the runs, write the file, print its path.

    Raises:
        ValueError: no runs, or a directory that is not a run, named.
    """
    console = Console()
    if not runs and not group:
        raise ValueError("name the directory of a run, or of several: rra-monitor report rra-demo")
    found: list[tuple[str | None, str]] = [(None, run) for given in runs for run in runs_below(given)]
    for name, paths in (groups_named(group) if group else {}).items():
        found += [(name, path) for path in paths]
    path = Path(out) if out else free_path("rra-report.html")
    if path.is_dir():
        raise ValueError(f"--out {out} is a directory; name a file, as in --out {path / 'report.html'}")
    say(console, write_report(read(named(found)), path))


def comparison_report(
    comparison: Comparison, runs: Iterable[tuple[str | None, str]], path: Path, opened: Mapping[str, OpenedRun]
) -> Report:
    """Write the report of compared runs, with their comparison.

    Args:
        comparison: comparison of the runs.
        runs: group (None for none) and directory of each run.
        path: path of the file.
        opened: path of each run's store to the run, which is read already.
    """
    return write_report(read(named(runs), opened), path, comparison_payload(comparison))


def say(console: Console, report: Report) -> None:
    """Print the path and size of a report, and what is left out."""
    for note in report.notes:
        print_line(console, f"• {note}")
    size = f"{report.size / 1e6:.1f} MB"
    print_line(console, f"Report: {report.path} ({size}, one file, works offline)", soft_wrap=True)


def read(runs: Sequence[Named], opened: Mapping[str, OpenedRun] | None = None) -> list[RunSeries]:
    """The runs from their stores, or as they were opened, with a progress bar."""
    known = opened or {}
    with passing_progress() as progress:
        steps = progress.track(runs, description="reading runs")
        return [stored_series(known.get(path) or OpenedRun.at(path), name, group) for name, group, path in steps]
