"""One training of a recipe, monitored, in a folder from which it can be resumed."""

import os
import shutil
import time
import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.utilities import rank_zero_only

from rra_monitor.datasets.catalogue import DATA
from rra_monitor.datasets.images import Normalised, Splits
from rra_monitor.datasets.read import read_splits
from rra_monitor.integrations.lightning import RRACallback
from rra_monitor.measure.settings import ESTIMATORS
from rra_monitor.recipes.choices import AUGMENTATIONS, SAMPLE_SEED
from rra_monitor.recipes.classifier import Classifier
from rra_monitor.recipes.data_module import Loading, RecipeData
from rra_monitor.recipes.epoch_table import EpochTable
from rra_monitor.recipes.last_snapshot import LastSnapshot
from rra_monitor.recipes.networks import built
from rra_monitor.recipes.options import TrainOptions
from rra_monitor.recipes.plan import TrainingPlan
from rra_monitor.recipes.precision import chosen_precision, in_single_precision
from rra_monitor.recipes.run_files import (
    CHECKPOINT,
    METRICS,
    RESULT,
    MetricsFile,
    differing_options,
    read_result,
    refuse_links_out,
    write_description,
    write_result,
)
from rra_monitor.runs.checkpoint import read_checkpoint, reason_of
from rra_monitor.runs.locate import CALLBACK_FOLDER
from rra_monitor.samples.sample import FixedSample
from rra_monitor.utils.paths import named_folder


def folder_of(options: TrainOptions) -> Path:
    """The folder of one seed."""
    name = f"{options.recipe}-short" if options.short else str(options.recipe)
    return (named_folder(options.out) if options.out else Path("runs", name)) / f"seed{options.seed}"


def read_data(plan: TrainingPlan) -> Splits:
    """The data of a training, read once for all seeds."""
    options = plan.options
    return read_splits(
        DATA[plan.recipe.data],
        None if options.data is None else Path(os.path.expanduser(options.data)),
        download=options.download,
        allow_pickle=options.allow_pickle,
        lazy=options.loader == "workers",
    )


def train_one(
    plan: TrainingPlan,
    splits: Splits,
    folder: Path,
    callbacks: Sequence[L.Callback] = (),
    references: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Train one seed, from its start or from its last complete epoch; returns its final numbers.

    Args:
        plan: training to do.
        splits: data set.
        folder: folder of this seed.
        callbacks: further callbacks of the trainer.
        references: name to the directory of an earlier run, with which every snapshot is compared.

    Raises:
        ValueError: a folder with another training, or with one that is finished or needs --resume.
    """
    checkpoint = resumed_from(plan, folder)
    options, recipe = plan.options, plan.recipe
    L.seed_everything(options.seed, verbose=False)
    device = "cuda" if _on_gpu(options) else "cpu"
    precision = chosen_precision(options.precision, device)
    network = built(recipe.network, len(splits.classes), splits.data.channels)
    if options.compile:
        network.compile()
    module = Classifier(network, len(splits.classes), plan.optimisation)
    table = EpochTable(MetricsFile(folder / METRICS))
    loading = Loading(recipe.training.batch, options.seed, options.loader, options.workers)
    data = RecipeData(splits, [AUGMENTATIONS[name] for name in recipe.augmentations], loading)
    trainer = _trainer(
        options,
        max_epochs=recipe.training.epochs,
        precision=precision,
        logger=_logger(folder),
        callbacks=[
            # The table comes before the monitor, whose seconds it would count otherwise.
            table,
            *(_monitoring(plan, splits, folder, references) if options.monitor else []),
            *([RichProgressBar()] if options.progress else []),
            *callbacks,
            ModelCheckpoint(
                folder / CHECKPOINT.parent,
                CHECKPOINT.stem,
                save_on_train_epoch_end=True,
                enable_version_counter=False,
            ),
        ],
        enable_progress_bar=options.progress,
        enable_model_summary=False,
        # A whole number is one of batches, any other a fraction.
        limit_train_batches=options.limit,
        limit_val_batches=options.limit,
        num_sanity_val_steps=0,
        # Batches know their rank.
        use_distributed_sampler=False,
    )
    # After all that refuses an option.
    rank_zero_only(write_description)(
        folder,
        plan,
        classes=splits.classes,
        parameters=sum(weight.numel() for weight in network.parameters()),
        precision=precision,
    )
    started = time.perf_counter()
    with warnings.catch_warnings():
        # About its own use of torch, log intervals and resumable loaders, which are taken care of here.
        warnings.filterwarnings("ignore", module="lightning")
        trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
    if not table.numbers:
        raise ValueError(
            f"{folder} was trained to its end, and {CHECKPOINT} does not have its numbers; delete the folder and train "
            "again"
        )
    result = {
        "recipe": recipe.name,
        "seed": options.seed,
        "epochs": trainer.current_epoch,
        "steps": trainer.global_step,
        # Not the trainer's, which has none where only the end of a training was missing.
        **table.numbers,
        "seconds": time.perf_counter() - started,
    }
    if trainer.current_epoch >= recipe.training.epochs and trainer.is_global_zero:
        write_result(folder, result)
    return result


def begun(folder: Path) -> bool:
    """Whether a folder holds a training; a training that failed at its start leaves only a description."""
    return any((folder / name).exists() for name in (CHECKPOINT, CALLBACK_FOLDER, RESULT))


def resumed_from(plan: TrainingPlan, folder: Path) -> str | None:
    """The checkpoint from which to resume, None for a new training.

    Raises:
        ValueError: a folder with another training, with one that is finished or needs --resume, or with a damaged
            checkpoint.
    """
    checkpoint = folder / CHECKPOINT
    refuse_links_out(folder)
    if not begun(folder):
        return None
    if differing := differing_options(folder, plan):
        raise ValueError(
            f"{folder} holds another training: {'; '.join(differing)}. Give the same options, or another --out"
        )
    if read_result(folder) is not None:
        raise ValueError(f"{folder} holds this training already, finished; give another --out, or delete it")
    if not plan.options.resume:
        raise ValueError(f"{folder} holds an interrupted training; --resume goes on with it, or give another --out")
    if checkpoint.exists():
        _check_readable(checkpoint)
        return str(checkpoint)
    # Nothing to go on from: what was measured of the untrained network is measured again.
    shutil.rmtree(folder / CALLBACK_FOLDER, ignore_errors=True)
    return None


def _check_readable(checkpoint: Path) -> None:
    """Refuse a checkpoint that is truncated or damaged, or holds code."""
    try:
        read_checkpoint(checkpoint)
    except ValueError as error:
        reason = reason_of(error.__cause__ or error).partition(". ")[0]
        raise ValueError(
            f"{checkpoint} is damaged ({reason}). Restore it, or delete it: --resume then starts from the beginning"
        ) from error


def _trainer(options: TrainOptions, **arguments: Any) -> L.Trainer:
    """The trainer on the devices that the options name."""
    try:
        return L.Trainer(accelerator=options.accelerator, devices=options.devices, **arguments)
    except MisconfigurationException as error:
        raise ValueError(
            f"--accelerator {options.accelerator} --devices {options.devices} is not available: {error} Expected an "
            "accelerator of this machine and at least 1 of it; --accelerator auto --devices 1 takes what there is"
        ) from error


def _monitoring(
    plan: TrainingPlan, splits: Splits, folder: Path, references: Mapping[str, str] | None
) -> list[L.Callback]:
    samples = {
        name: FixedSample.from_dataset(Normalised(split, splits.data.normalization), n, SAMPLE_SEED, shrink=True)
        for name, split, n in zip(("train", "val"), (splits.train, splits.val), plan.probe_n, strict=True)
    }
    options, keep = plan.options, plan.options.keep_graphs
    monitor = RRACallback(
        samples,
        every_n_epochs=plan.every,
        every_n_steps=options.every_n_steps,
        max_overhead=options.max_overhead,
        references=references,
        dirpath=folder / CALLBACK_FOLDER,
        keep_graphs=int(keep) if keep.isdecimal() else keep,  # type: ignore[arg-type]
        views=[view.strip() for view in options.views.split(",")],
        k=options.k,
        estimator=options.estimator or ESTIMATORS[0],
        forward=in_single_precision,
    )
    return [monitor, LastSnapshot(monitor)]


def _logger(folder: Path) -> Any:
    """TensorBoard's logger if it is installed; the numbers are in the CSV file in any case."""
    if not find_spec("tensorboard"):
        return False
    from lightning.pytorch.loggers import TensorBoardLogger

    return TensorBoardLogger(folder.parent, name=folder.name, version="")


def _on_gpu(options: TrainOptions) -> bool:
    return torch.cuda.is_available() and options.accelerator in ("auto", "gpu", "cuda")
