"""How long does a graph of nearest neighbours take, against the machine's own matrix product and against peers?

    python benchmarks/knn --data DIR                      # about ten minutes on two cores
    python benchmarks/knn --data DIR --n 10000 --sizes 1000 2000 5000 10000 20000 50000 --limit-seconds 300
    python benchmarks/knn --data DIR --grid               # does backend="auto" choose well?

Features are real: CIFAR-10's pixels and feature maps of a ResNet20. Every backend of rra_monitor and every peer that is
installed runs in a process of its own, one at a time; in each repeat everything runs once, one after the other. Tables
have medians of seconds, the median ratio within a repeat to half a float32 product of the same shape (n² d / 2
multiply-adds, what exact neighbours need at least without a trick), the peak of memory beyond the features, and recall
against the exact graph of the same run over 2,000 samples, where neighbours within 1e-5 relative count alike.

DADApy pins numpy below 2 and lives in an environment of its own:

    python -m venv .venv-dadapy && .venv-dadapy/bin/pip install dadapy "numpy<2"
    python benchmarks/knn --data DIR --dadapy .venv-dadapy/bin/python
"""

import argparse
import dataclasses
import importlib.util
import itertools
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from cells import Cell, Measurement, measure, workers
from features import LAYERS, write_features
from methods import AUTO, EXACT, HALF_PRODUCT, METHODS, PEERS
from plot import draw
from report import grid_sheet, methods_sheet, sizes_sheet
from results import RESULTS, processor, provenance, write_section
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from rra_monitor.graph.build import BACKENDS

SIZES = (1000, 2000, 5000, 10_000, 20_000)
GRID_SIZES = (2000, 10_000, 50_000)

EXPLAINED = (
    "Half a product (n² d / 2 multiply-adds) is what exact neighbours need at least without a trick. Memory is the "
    "peak beyond the features and the process at rest. Recall is against rra exact over 2,000 samples, ties forgiven."
)


def main() -> None:
    options = parse()
    console = Console(width=None if sys.stdout.isatty() else 120)
    sizes = options.sizes or (GRID_SIZES if options.grid else SIZES)
    by_d = [Cell(layer, options.n, options.k) for layer in options.layers]
    by_n = [Cell(options.size_layer, n, options.k) for n in sizes]
    grid = [Cell(*shape) for shape in itertools.product(options.layers, sizes, options.ks)]
    with tempfile.TemporaryDirectory() as scratch:
        measured = run(options, grid if options.grid else list(dict.fromkeys(by_d + by_n)), Path(scratch), console)
    if options.grid:
        sheet, verdict = grid_sheet(measured)
        sheets = [sheet]
    else:
        sheets = [methods_sheet(of(by_d, measured)), sizes_sheet(of(by_n, measured))]
        verdict = f"{options.repeats} repeats at n = {options.n:,}. {EXPLAINED}"
    for sheet in sheets:
        sheet.print(console)
    console.print(verdict)
    keep(options, measured, [*(sheet.markdown() for sheet in sheets), verdict])
    if not options.grid:
        machine = f"{processor()}, {options.threads} threads"
        draw(of(by_n, measured), of(by_d, measured), machine, out(options) / "knn.png")


def run(options: argparse.Namespace, cells: Sequence[Cell], scratch: Path, console: Console) -> list[Measurement]:
    """All cells, cheap ones first, so that the dear ones can be predicted."""
    cells = sorted(cells, key=lambda cell: (cell.work, cell.k))
    largest: dict[str, int] = {}
    for cell in cells:
        largest[cell.layer] = max(cell.n, largest.get(cell.layer, 0))
    console.print("Features: " + ", ".join(f"{layer} of {n:,} samples" for layer, n in largest.items()))
    files = write_features(options.features or scratch, options.data, largest, options.train_batches)
    names = methods(options)
    measured: list[Measurement] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        workers(names, options.dadapy, options.threads) as started,
        Progress(*columns, TimeRemainingColumn(), console=console) as progress,
    ):
        task = progress.add_task("", total=len(cells) * len(names) * options.repeats)
        for position, cell in enumerate(cells, start=1):
            place = f"{cell.layer}, n={cell.n:,}, k={cell.k}"

            def on_run(method: str, place: str = place) -> None:
                progress.update(task, description=f"{place}: {method}".ljust(48), advance=1)

            enough = float("inf") if not options.grid and cell.n == options.n else options.enough
            file = files[cell.layer]
            found = measure(cell, file, started, options.repeats, options.limit_seconds, enough, measured, on_run)
            for one in found:
                if one.skipped:
                    progress.console.print(f"skipped: {one.method} on {place}: {one.skipped}", highlight=False)
            measured += found
            progress.update(task, completed=position * len(names) * options.repeats)
    return measured


def methods(options: argparse.Namespace) -> list[str]:
    """What there is, in the order of METHODS."""
    here = [HALF_PRODUCT, *(f"rra {backend}" for backend in BACKENDS)]
    here += [name for name in PEERS if name != "DADApy" and importlib.util.find_spec(PEERS[name].module)]
    here += ["DADApy"] if options.dadapy else []
    if options.grid:
        here = [name for name in here if name.startswith("rra ")]
    return [name for name in METHODS if name in here and name not in options.skip]


def of(cells: Sequence[Cell], measured: Sequence[Measurement]) -> list[Measurement]:
    return [one for one in measured if one.cell in cells]


def keep(options: argparse.Namespace, measured: Sequence[Measurement], parts: Sequence[str]) -> None:
    """The raw figures as JSON; the section of RESULTS.md if asked for."""
    section, title = "knn", "How long does a graph take?"
    if options.grid:  # a table for each maker of processors
        maker = processor().split("(")[0].split()[0]
        section, title = f"knn-grid-{maker.lower()}", f"Does auto choose well? {maker}"
    versions = {METHODS[one.method].package: one.version for one in measured if one.version}
    where = provenance(options.threads, versions)
    file = out(options) / f"{section}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    raw = {"where": where, "measured": [dataclasses.asdict(one) for one in measured]}
    file.write_text(json.dumps(raw, indent=1) + "\n")
    if options.write:
        picture = [] if options.grid else ["![Cost against n and against d](knn.png)"]
        write_section(section, "\n\n".join([f"## {title}", where, *parts, *picture]))


def out(options: argparse.Namespace) -> Path:
    return options.out or (RESULTS.parent if options.write else Path("runs/benchmarks"))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    layers = ", ".join(f"{layer} ({d:,})" for layer, d in LAYERS.items())
    add = parser.add_argument
    add("--data", type=Path, required=True, help="CIFAR-10: train/<class>/*.jpg or cifar-10-batches-py/")
    add("--n", type=int, default=5000, help="samples of the table of methods (default: %(default)s)")
    add("--k", type=int, default=100, help="neighbours, but for --grid (default: %(default)s)")
    add("--repeats", type=int, default=3, help="of the table of methods; at most, elsewhere (default: %(default)s)")
    add("--layers", nargs="+", choices=LAYERS, default=list(LAYERS), metavar="LAYER", help=f"among {layers}; all")
    add("--sizes", nargs="+", type=int, metavar="N", help=f"of the curve, {SIZES}, or of the grid, {GRID_SIZES}")
    add("--size-layer", choices=LAYERS, default="input", help="what the curve over sizes is of (default: %(default)s)")
    add("--skip", nargs="+", choices=METHODS, default=[], metavar="METHOD", help=f"among {', '.join(METHODS)}")
    add("--dadapy", metavar="PYTHON", help="an interpreter that has DADApy, which takes part then")
    add("--threads", type=int, default=2, help="of every method (default: %(default)s)")
    add("--train-batches", type=int, default=0, help="train the ResNet20 this long before (default: untrained)")
    add("--limit-seconds", type=float, default=60, help="skip runs predicted to take longer (default: %(default)s)")
    add("--enough", type=float, default=20, help="seconds: curve and grid repeat no longer cell (default: %(default)s)")
    add("--features", type=Path, metavar="DIR", help="keep the features there, and take them from there the next time")
    add("--grid", action="store_true", help="backends only, over --layers x --sizes x --ks: does auto choose well?")
    add("--ks", nargs="+", type=int, default=[10, 30, 100, 150], metavar="K", help="of the grid (default: %(default)s)")
    add("--out", type=Path, help="for the .json and .png (default: runs/benchmarks, or benchmarks/ with --write)")
    add("--write", action="store_true", help="replace the section of benchmarks/RESULTS.md")
    options = parser.parse_args()
    if options.grid and {EXACT, AUTO} & set(options.skip):
        parser.error("--grid compares auto with exact; skip neither")
    return options


if __name__ == "__main__":
    main()
