"""The demo: a small real training, monitored, on data that ships with scikit-learn."""

import logging
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from torch import nn
from torch.utils.data import DataLoader

from rra_monitor.capture.names import displayed
from rra_monitor.conclusions.findings import findings
from rra_monitor.datasets.digits import digits
from rra_monitor.figures.snapshot import curves_figure, nnls_figure
from rra_monitor.integrations.lightning import RRACallback
from rra_monitor.measure.snapshot import Snapshot
from rra_monitor.metrics import nnls_chance
from rra_monitor.nn import resnet20
from rra_monitor.page.report import write_report
from rra_monitor.page.series import stored_series
from rra_monitor.runs.recorder import Recorder
from rra_monitor.runs.store import RunStore
from rra_monitor.utils.paths import free_path
from rra_monitor.utils.terminal import print_line

BATCH = 64
SAMPLES = 1000
LEARNING_RATE = 0.05


class DigitClassifier(L.LightningModule):
    """ResNet20 with the thesis's widths on one channel; SGD with momentum and a cosine schedule."""

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self.network = resnet20(num_classes=10, in_channels=1)
        self.epochs = epochs

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (n, 10) of images (n, 1, h, w)."""
        return self.network(images)  # type: ignore[no-any-return]

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        """Cross-entropy of a batch."""
        images, labels = batch
        loss = nn.functional.cross_entropy(self(images), labels)
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: list[torch.Tensor], index: int) -> None:
        """Accuracy of a batch."""
        images, labels = batch
        self.log("val_accuracy", (self(images).argmax(1) == labels).float().mean())

    def configure_optimizers(self) -> Any:
        """SGD and its schedule."""
        optimiser = torch.optim.SGD(self.parameters(), lr=LEARNING_RATE, momentum=0.9)
        return [optimiser], [torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.epochs)]


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


def train(out: Path, seed: int, epochs: int, references: dict[str, str], callbacks: list[L.Callback]) -> RunStore:
    """One monitored training; returns its run's store."""
    training, validation = digits()
    L.seed_everything(seed, verbose=False)
    monitor = RRACallback(n=SAMPLES, references=references)
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=TensorBoardLogger(out, name=f"seed{seed}", version=""),
        callbacks=[monitor, *callbacks],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        log_every_n_steps=10,
    )
    trainer.fit(
        DigitClassifier(epochs),
        DataLoader(training, BATCH, shuffle=True),
        DataLoader(validation, len(validation)),
    )
    assert monitor.store is not None
    return monitor.store


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
        # About data loader workers and log intervals, which do not matter here.
        warnings.filterwarnings("ignore", module="lightning")
        first = train(folder, 0, epochs, {}, [_Bar(progress, 0)])
        second = train(folder, 1, epochs, {"seed0": first.path}, [_Bar(progress, 1)])
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
    if any(RunStore(folder / f"seed{seed}" / "rra").probes() for seed in (0, 1)):
        raise ValueError(f"{folder} holds an earlier run; pass another --out, or delete that directory")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
