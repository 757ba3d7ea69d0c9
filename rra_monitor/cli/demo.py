"""The demo: a small real training, monitored, on data that ships with scikit-learn."""

import logging
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from rra_monitor.capture.names import FULL, displayed
from rra_monitor.conclusions.findings import findings
from rra_monitor.figures.snapshot import curves_figure, nnls_figure
from rra_monitor.measure.snapshot import Snapshot
from rra_monitor.metrics import nnls_chance
from rra_monitor.page.report import write_report
from rra_monitor.page.series import stored_series
from rra_monitor.recipes.options import TrainOptions
from rra_monitor.recipes.plan import training_plan
from rra_monitor.recipes.training import folder_of, read_data, train_one
from rra_monitor.runs.locate import CALLBACK_FOLDER
from rra_monitor.runs.recorder import Recorder
from rra_monitor.runs.store import RunStore
from rra_monitor.utils.paths import free_path
from rra_monitor.utils.terminal import print_line


class _Bar(L.Callback):
    """One line for a whole training."""

    def __init__(self, progress: Progress, seed: int) -> None:
        self._progress = progress
        self._task = progress.add_task(f"seed {seed}", total=None, status="measuring the untrained network")

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._progress.update(self._task, total=trainer.max_epochs)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        accuracy = float(trainer.callback_metrics["val_accuracy"])
        self._progress.update(self._task, advance=1, status=f"validation accuracy {accuracy:.1%}")


def demo_options(folder: Path, epochs: int, seed: int) -> TrainOptions:
    """The training of one seed: fast, without pooled views, and in the same precision on every machine."""
    return TrainOptions(
        recipe="resnet20-digits",
        out=str(folder),
        seed=seed,
        max_epochs=epochs,
        weight_decay=0.0,
        views=FULL,
        every=1,
        keep_graphs="all",
        accelerator="cpu",
        precision="32-true",
        progress=False,
    )


def run_demo(out: str | None, epochs: int) -> None:
    """Train two seeds, print the table, draw the pictures, print what to do next."""
    if epochs < 1:
        raise ValueError(f"--epochs {epochs}: expected at least 1")
    console = Console()
    folder = _folder(out)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    console.print(f"ResNet20 on scikit-learn's digits, {epochs} epochs; seed 0 becomes the reference of seed 1.")
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[status]}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress, warnings.catch_warnings():
        # About an idle GPU, log intervals and the like, which do not matter here.
        warnings.filterwarnings("ignore", module="lightning")
        first = _trained(demo_options(folder, epochs, 0), progress, {})
        second = _trained(demo_options(folder, epochs, 1), progress, {"seed0": first.path})
    start, end = (second.load("train", second.steps("train")[at]) for at in (0, -1))
    matches = Recorder(second, references={"seed0": first.path}).compare(end)
    similarity = matches["ref-seed0"].same_layer(end.layers)
    console.print(table(start, end, similarity))
    chance = nnls_chance(end.settings.n, end.settings.k)
    console.print("ID: dimensions that a layer uses. NNCS: fraction of neighbours of the same digit.")
    console.print(
        f"NNLS: mean Jaccard index of both seeds' sets of {end.settings.k} neighbours (by chance {chance:.3f})."
    )
    for finding in findings({"train": end}, {"train": start}):
        print_line(console, f"• {finding.sentence}")
    for name, figure in (("curves", curves_figure(end, start)), ("nnls", nnls_figure(end, matches))):
        figure.savefig(folder / f"{name}.png", dpi=110)
    print_line(console, f"Pictures: {folder / 'curves.png'} and {folder / 'nnls.png'}", soft_wrap=True)
    report = write_report([stored_series(first, "seed0"), stored_series(second, "seed1")], folder / "report.html")
    print_line(console, f"Report, for any browser: {report.path}", soft_wrap=True)
    print_line(console, f"Dashboard: tensorboard --logdir {folder}", soft_wrap=True, style="bold")
    console.print("Its tab RRA has everything.")


def _trained(options: TrainOptions, progress: Progress, references: dict[str, str]) -> RunStore:
    """One monitored training; returns its run's store."""
    plan, folder = training_plan(options), folder_of(options)
    train_one(plan, read_data(plan), folder, [_Bar(progress, options.seed)], references)
    return RunStore(folder / CALLBACK_FOLDER)


def table(start: Snapshot, end: Snapshot, similarity: np.ndarray[Any, np.dtype[np.float64]]) -> Table:
    """Layer by layer: ID and NNCS before and after training, and the similarity to the other seed."""
    found = Table(title="seed 1, untrained → trained", title_justify="left")
    found.add_column("layer")
    for name in ("ID", "NNCS", "NNLS to seed 0"):
        found.add_column(name, justify="right")
    assert start.nncs is not None
    assert end.nncs is not None
    for row, layer in enumerate(displayed(end.layers)):
        found.add_row(
            layer,
            f"{start.id[row]:.1f} → {end.id[row]:.1f}",
            f"{start.nncs[row]:.3f} → {end.nncs[row]:.3f}",
            f"{similarity[row]:.3f}",
        )
    return found


def _folder(out: str | None) -> Path:
    folder = Path(out) if out else free_path("rra-demo")
    if any(RunStore(folder / f"seed{seed}" / CALLBACK_FOLDER).probes() for seed in (0, 1)):
        raise ValueError(f"{folder} holds an earlier run; pass another --out, or delete that directory")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
