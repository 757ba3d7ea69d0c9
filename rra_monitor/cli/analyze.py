"""The command `rra-monitor analyze`: one network on one data set, without training."""

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from rra_monitor.capture.features import CallError
from rra_monitor.capture.names import displayed
from rra_monitor.cli.analysis_files import pictures, write_analysis
from rra_monitor.cli.launched import launched_ranks, shared_folder
from rra_monitor.cli.sources import folder_of_run, named_model, samples
from rra_monitor.conclusions.findings import findings
from rra_monitor.measure.collector import Collector
from rra_monitor.measure.match import check_comparable
from rra_monitor.measure.monitor import Monitor
from rra_monitor.measure.quantities import ON_REQUEST
from rra_monitor.measure.snapshot import Snapshot
from rra_monitor.runs.checkpoint import load_checkpoint
from rra_monitor.runs.locate import open_run
from rra_monitor.runs.store import RunStore
from rra_monitor.utils.paths import free_path, named_folder
from rra_monitor.utils.ranks import ALONE, Ranks
from rra_monitor.utils.terminal import cell, heading, passing_progress, print_line
from rra_monitor.utils.text import sentence, some
from rra_monitor.utils.trees import iter_tensors

SAMPLES = 2000

LARGEST_SEED = 1 << 63


def run_analyze(
    model: str | None,
    data: str | None,
    source: str | None,
    out: str | None,
    probe: str | None,
    seed: int,
    **chosen: Any,
) -> None:
    """Measure, or read a stored run; print a table for each sample, write the files, print their paths.

    Args:
        model: name of the network, see `named_model`.
        data: name of the data, see `samples`.
        source: stored run, in place of model and data.
        out: folder of the run and of the files.
        probe: split of the data, or of the run.
        seed: seed of the samples and of a network's initial weights.
        chosen: further options of `measured_analysis`, None if not chosen.

    Raises:
        ValueError: what does not fit, named.
        TypeError: a model that is not a network, or data that are not a data set.
    """
    console, notes, warned = Console(), list[str](), list[str]()
    chosen = {name: value for name, value in chosen.items() if value is not None}
    folder = named_folder(out) if out else None
    if not 0 <= seed < LARGEST_SEED:
        raise ValueError(f"--seed {seed}: expected 0 or more, less than {LARGEST_SEED}")
    if source is not None:
        given = {"MODEL": model, "--data": data} | {f"--{name}": value for name, value in chosen.items()}
        if others := [name for name, value in given.items() if value is not None]:
            raise ValueError(f"--from repeats what a run has stored, so {', '.join(others)} cannot be chosen; drop it")
        snapshots = stored_analysis(source, probe)
    elif model is None or data is None:
        raise ValueError(
            "name a model and its data, as in rra-monitor analyze torchvision:resnet18 --data DIR, or a stored run: "
            "rra-monitor analyze --from RUN"
        )
    else:
        with launched_ranks() as ranks:
            console.quiet = ranks.rank > 0
            folder = folder or ranks.values(lambda: free_path("rra-analysis"))[0]
            if (images := ranks.agreed(partial(folder_of_run, data))) is not None:
                print_line(console, f"Images, from where the run says: {images}", soft_wrap=True)
            with _warnings_as(warned):
                store = RunStore(folder)
                snapshots, notes = measured_analysis(model, data, store, ranks, probe=probe, seed=seed, **chosen)
        if ranks.rank:
            return
    for snapshot in snapshots:
        settings = snapshot.settings
        print_line(
            console,
            f"{snapshot.probe}: {settings.n} samples, {settings.k} neighbours, epoch {snapshot.epoch}",
            style="bold",
        )
        console.print(table(snapshot))
        print_line(console, _legend(snapshot))
    for finding in findings({snapshot.probe: snapshot for snapshot in snapshots}):
        print_line(console, f"• {finding.sentence}")
    for note in (*notes, *warned):
        print_line(console, f"• {note}")
    if folder is not None:
        files = write_analysis(snapshots, folder)
        if find_spec("matplotlib"):
            files += pictures(snapshots, folder)
        names = ", ".join(file.name for file in files)
        print_line(console, f"Files: {folder}/ ({names})", soft_wrap=True)
    if source is None:
        print_line(console, f"Again, without the network: rra-monitor analyze --from {folder}", soft_wrap=True)


def measured_analysis(
    model: str,
    data: str,
    store: RunStore,
    ranks: Ranks = ALONE,
    *,
    checkpoint: str | None = None,
    arguments: str | None = None,
    size: int | None = None,
    probe: str | None = None,
    seed: int = 0,
    n: int = SAMPLES,
    **options: Any,
) -> tuple[list[Snapshot], list[str]]:
    """A snapshot of each split of the data, stored by the first rank; and remarks for the reader, one sentence each."""
    notes = []
    # The data first: without them the model need not be built.
    more = [one for one in ON_REQUEST if not one.of_pairs]
    with shared_folder(ranks) as folder:
        # The first rank draws before the others, which take a large sample from its file.
        draw = partial(samples, data, n, size, probe, seed, folder)
        first = ranks.first(draw)
        probes = ranks.agreed(lambda: first or draw())
    monitor = Monitor(probes, quantities=more, **options)
    if bare := [name for name, sample in monitor.probes.items() if sample.labels is None]:
        notes.append(
            f"No NNCS of {', '.join(bare)}: the data have no integer classes. Other targets need a function that says "
            "how far two of them agree, see docs/metrics.md."
        )
    torch.manual_seed(seed)
    network = ranks.agreed(lambda: named_model(model, arguments))
    step = epoch = 0
    if checkpoint is None:
        notes.append("No --checkpoint: the weights are those that MODEL comes with.")
    else:
        step, epoch, left_out = ranks.agreed(partial(load_checkpoint, network, checkpoint))
        if left_out:
            notes.append(f"Left out of the checkpoint, being no part of MODEL: {some(left_out)}.")
    network.to("cuda" if torch.cuda.is_available() else "cpu")
    ranks.first(lambda: refuse_mixing(store, monitor, step))
    try:
        with _bar(ranks) as on_graph:
            found = monitor.measure(network, step=step, epoch=epoch, group=ranks.group, on_graph=on_graph)
            snapshots = list(found.values())
    except CallError as error:
        batch = next(iter(monitor.probes.values())).read([0])
        shapes = [tuple(part.shape[1:]) for part in iter_tensors(batch)]
        raise ValueError(
            f"MODEL does not run on the data, whose items have the shape {', '.join(map(str, shapes))}: "
            f"{error.__cause__ or error}. "
            "See --arguments and --size, or name a function of yours that wraps the network"
        ) from error
    for snapshot in snapshots if ranks.rank == 0 else ():
        store.save(snapshot)
    return snapshots, notes


def stored_analysis(source: str, probe: str | None = None) -> list[Snapshot]:
    """The last snapshot of each probe of a run, with every metric computed again from the stored graphs.

    Raises:
        ValueError: no run, no such probe, no graphs kept.
    """
    store = open_run(source)
    if probe is not None and probe not in store.probes():
        raise ValueError(f"{store.path} has no probe {probe!r}; it has {', '.join(store.probes())}")
    found = []
    for name in store.probes() if probe is None else [probe]:
        if not (steps := store.graph_steps(name)):
            raise ValueError(f"{store.path} kept no graphs of probe {name!r}; run it with keep_graphs='all' or 'last'")
        snapshot = store.load(name, steps[-1])
        if not snapshot.graphs:
            raise ValueError(f"{store.path}: the graphs of probe {name!r} at step {steps[-1]} are gone")
        # By the name that the run has it under: files are named after it.
        found.append(replace(computed_anew(snapshot), probe=name))
    return found


def computed_anew(snapshot: Snapshot) -> Snapshot:
    """The snapshot with every curve computed from its graphs and labels; what needs more than these stays as it is."""
    able = [one for one in snapshot.quantities if one.compute is not None and one.of in ("graph", "graph pairs")]
    # In the snapshot's order; an ID without a value is said in the table.
    collector = Collector(able, snapshot.settings.labels)
    for layer in snapshot.layers:
        collector.add(layer, snapshot.graphs[layer])
    return snapshot.changed(**collector.curves(), **collector.matrices())


def refuse_mixing(store: RunStore, monitor: Monitor, step: int) -> None:
    """Refuse to add to a folder a step that it holds, or a snapshot of other samples.

    Several checkpoints of one training may share a folder: each is a snapshot of one run.

    Raises:
        ValueError: the folder holds this step, or snapshots of other samples, n, k or estimator.
    """
    for probe in store.probes():
        if probe in monitor.probes:
            steps = store.steps(probe)
            if step in steps:
                raise ValueError(
                    f"{store.path} holds step {step} of probe {probe!r} already; give another --out, or delete it"
                )
            earlier = store.load(probe, steps[-1], graphs=False).settings
            asked = monitor.options.estimator
            if asked != earlier.estimator:
                raise ValueError(
                    f"{store.path} holds IDs by {earlier.estimator!r}, these would be by {asked!r}; give another --out "
                    f"or --estimator {earlier.estimator}"
                )
            what = f"what {store.path} holds (give another --out)"
            for remark in check_comparable(monitor.settings(probe), earlier, what):
                warnings.warn(remark, stacklevel=2)


def table(snapshot: Snapshot) -> Table:
    """The quantities of every layer, but for those that only check the graphs, and second estimates without need."""
    asks = {one.name for one, curve in snapshot.measured() if (curve > 0).any()}
    shown = [
        (quantity, curve)
        for quantity, curve in snapshot.measured()
        if quantity.rank != "check" and (not quantity.beside or quantity.beside_where in asks)
    ]
    found = Table()
    found.add_column("layer")
    for quantity, _ in shown:
        found.add_column(heading(quantity.symbol.replace(" (", "\n(")), justify="right")
    for at, layer in enumerate(displayed(snapshot.layers)):
        found.add_row(cell(layer), *(_cell(float(curve[at]), quantity.digits) for quantity, curve in shown))
    return found


def _legend(snapshot: Snapshot) -> str:
    chance = snapshot.nncs_chance
    classes = "" if chance is None else f"NNCS: fraction of neighbours of the same class (by chance {chance:.3f}). "
    more = "".join(
        one.title + (f": {one.unit}" if one.unit else "") + ". "
        for one, _ in snapshot.measured()
        if one.rank == "main" and not one.always and not one.defined
    )
    return (
        f"ID: dimensions that a layer uses, with the standard error over draws of the samples. {classes}{more}Ties: "
        "fraction of samples whose neighbourhood ends arbitrarily; near 1 the layer has collapsed. Hubness: above "
        "about 1 some samples are neighbours of very many."
    )


def _cell(value: float, digits: int) -> str:
    return "undefined" if math.isnan(value) else f"{value:.{digits}f}"


@contextmanager
def _bar(ranks: Ranks) -> Iterator[Callable[[str, int, int], None] | None]:
    """A progress bar for `Monitor.measure`, on the first rank."""
    if ranks.rank:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with passing_progress(*columns) as progress:
        task = progress.add_task("looking at the network", total=None)
        yield lambda probe, built, total: progress.update(
            task, description=f"graphs of {probe}", completed=built, total=total
        )


@contextmanager
def _warnings_as(sentences: list[str]) -> Iterator[None]:
    """Warnings, collected as sentences below the tables."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        yield
    sentences += dict.fromkeys(sentence(found.message) for found in caught if found.category is UserWarning)
