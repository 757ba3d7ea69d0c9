"""The command `rra-monitor compare`: tables on the terminal, CSV and JSON in a folder, or a report."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from rra_monitor.capture.names import FULL, displayed, merged_layers, split_view
from rra_monitor.cli.arguments import groups_named, run_names
from rra_monitor.cli.report import comparison_report, say
from rra_monitor.compare.comparability import main_quantities, symbols
from rra_monitor.compare.comparison import Comparison, compared, opened_groups
from rra_monitor.compare.groups import Group, Run
from rra_monitor.compare.settling import Settling, settling_of
from rra_monitor.compare.statistics import Floats, deviation, mean
from rra_monitor.compare.tables import write_tables
from rra_monitor.utils.paths import free_path, named_folder
from rra_monitor.utils.terminal import cell, heading, print_line
from rra_monitor.utils.text import visible

COLUMN = 16
"""Width of a column in characters."""

EPOCHS_SHOWN = 6


def run_compare(
    runs: Sequence[str], group: Sequence[Sequence[str]], probe: str | None, epoch: int | None, out: str | None
) -> None:
    """Compare, print the tables, write the files, print their paths.

    Raises:
        ValueError: what cannot be compared, named.
    """
    console = Console()
    page = Path(out) if out and out.endswith(".html") else None
    folder = named_folder(out) if out and not page else None  # before any work
    if bool(runs) == bool(group):
        raise ValueError(
            f"name either runs or groups of runs, got {'both' if runs else 'neither'}: rra-monitor compare runs/a0 "
            "runs/b0, or rra-monitor compare --group A='runs/a*' --group B='runs/b*'"
        )
    groups = groups_named(group) if group else {name: [run] for name, run in run_names(runs).items()}
    probes = None if probe is None else [name.strip() for name in probe.split(",")]
    members = opened_groups(groups, probes)
    found = compared(members, "last" if epoch is None else epoch)
    settled, notes = _settlings(list(chain.from_iterable(members.values())))
    for table in (*_curve_tables(found, console.width), *_pair_tables(found, console.width)):
        console.print(table)
    for table in _settling_tables(found, settled):
        console.print(table)
    for note in (*found.notes, *notes, *_unshared(found, settled), *_refusals(found)):
        print_line(console, f"• {note}")
    if page:
        several = [(name if group else None, run) for name, paths in groups.items() for run in paths]
        opened = {run.opened.given: run.opened for run in chain.from_iterable(members.values())}
        say(console, comparison_report(found, several, page, opened))
        return
    folder = folder or free_path("rra-compare")
    files = write_tables(found, folder, settled)
    print_line(console, f"Files: {folder}/ ({', '.join(file.name for file in files)})", soft_wrap=True)


def _settlings(runs: Sequence[Run]) -> tuple[list[Settling], list[str]]:
    """How each run settled, and the reasons why some have no result."""
    found, notes = [], []
    for run in {(run.path, run.probe): run for run in runs}.values():
        try:
            found.append(settling_of(run))
        except ValueError as error:
            notes.append(f"No settling: {error}.")
    return found, notes


def _curve_tables(comparison: Comparison, width: int) -> list[Table]:
    """Each main quantity at the end, one column for each group."""
    tables = []
    for quantity in main_quantities(comparison.groups.values()):
        groups = [group for group in comparison.groups.values() if quantity.name in group.curves]
        columns = {}
        for group in groups:
            values = group.curves[quantity.name][:, -1]
            cells = _cells(mean(values), deviation(values), quantity.digits)
            head = f"{visible(group.name)}\n{_counted(len(values), 'run')}"
            columns[head] = dict(zip(displayed(group.layers), cells, strict=True))
        chances = [group.chances[quantity.name] for group in groups if quantity.name in group.chances]
        levels = " to ".join(sorted({f"{chance:.3f}" for chance in (min(chances), max(chances))})) if chances else ""
        title = f"{quantity.phrase}, last snapshots" + (f"; chance {levels}" if levels else "")
        tables += _tables(title, _shown(comparison), columns, width)
    return tables


def _pair_tables(comparison: Comparison, width: int) -> list[Table]:
    """NNLS of the layers with the same name, one column for each pair of groups."""
    columns, chances = {}, set()
    for pairs in comparison.pairs.values():
        if not pairs.comparable or not set(pairs.layers_a) & set(pairs.layers_b):
            continue
        cells = _cells(mean(pairs.same_layer()), pairs.same_layer_deviation(), 3)
        head = f"within {pairs.a}" if pairs.a == pairs.b else f"{pairs.a} ~ {pairs.b}"
        columns[f"{visible(head)}\n{_counted(len(pairs.runs), 'pair')}"] = dict(
            zip(displayed(pairs.layers_a), cells, strict=True)
        )
        chances.add(f"{pairs.chance:.3f}")
    when = "last snapshots" if comparison.moment == "last" else f"epoch {comparison.moment}"
    title = f"layers of one name in two runs (NNLS), {when}; chance {', '.join(sorted(chances))}"
    return _tables(title, _shown(comparison), columns, width)


def _settling_tables(comparison: Comparison, settled: Sequence[Settling]) -> list[Table]:
    """NNLS of each layer with its own last state, mean and standard deviation over a group's runs, at a few epochs."""
    tables = []
    for group in comparison.groups.values():
        mine, shared = _of_group(group, settled)
        if len(shared) < 2:
            continue
        places = np.unique(np.linspace(0, len(shared) - 1, min(EPOCHS_SHOWN, len(shared))).round().astype(int))
        columns = {}
        for epoch in (shared[place] for place in places):
            values = np.array([found.nnls[found.epochs.index(epoch)] for found in mine])
            cells = _cells(mean(values), deviation(values), 3)
            columns[f"epoch {epoch}"] = dict(zip(displayed(group.layers), cells, strict=True))
        title = f"{group.name}: each layer against its own last state (NNLS); chance {group.nnls_chance:.3f}"
        tables += _tables(title, _shown(comparison, [group.name]), columns, 10_000)
    return tables


def _of_group(group: Group, settled: Sequence[Settling]) -> tuple[list[Settling], list[int]]:
    """How the runs of a group settled, and the epochs that all of them have."""
    mine = [found for found in settled if found.run in group.runs and found.probe == group.probe]
    return mine, sorted(set.intersection(*(set(found.epochs) for found in mine))) if mine else []


def _unshared(comparison: Comparison, settled: Sequence[Settling]) -> list[str]:
    """The reasons why some groups have no table of settling."""
    shares = {group.name: _of_group(group, settled) for group in comparison.groups.values()}
    return [
        f"No settling of {name} as a whole: its runs have fewer than two epochs with graphs in common; each run by "
        "itself stands in the files."
        for name, (mine, shared) in shares.items()
        if mine and len(shared) < 2
    ]


def _tables(title: str, layers: Sequence[str], columns: dict[str, dict[str, str]], width: int) -> list[Table]:
    """One table, or several, each with as many columns as fit."""
    fit = max(1, (width - 2 - max(map(len, layers), default=0)) // COLUMN)
    heads = list(columns)
    tables = []
    for first in range(0, len(heads), fit):
        table = Table(title=heading(title), title_justify="left")
        table.add_column("layer")
        for head in heads[first : first + fit]:
            table.add_column(heading(head), justify="right")
        for layer in layers:
            table.add_row(cell(layer), *(columns[head].get(layer, "") for head in heads[first : first + fit]))
        tables.append(table)
    return tables


def _shown(comparison: Comparison, names: Sequence[str] | None = None) -> list[str]:
    """Layers of the groups without their pooled views, which are in the files."""
    chosen = comparison.groups if names is None else names
    layers = merged_layers([displayed(comparison.groups[name].layers) for name in chosen])
    return [layer for layer in layers if split_view(layer)[1] == FULL]


def _cells(average: Floats, spread: Floats, digits: int) -> list[str]:
    texts = []
    for value, sd in zip(average, spread, strict=True):
        text = "undefined" if np.isnan(value) else f"{value:.{digits}f}"
        texts.append(text if np.isnan(value) or np.isnan(sd) else f"{text} ± {sd:.{digits}f}")
    return texts


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")


def _refusals(comparison: Comparison) -> list[str]:
    found = []
    shown = symbols(comparison.groups.values())
    for (a, b), pairs in comparison.pairs.items():
        for quantity, reason in pairs.refused.items():
            if a != b or len(comparison.groups[a].runs) > 1:  # one run alone is in the notes
                found.append(f"{a} and {b}: {shown.get(quantity, quantity)} not comparable: {reason.rstrip('.')}.")
    return found
