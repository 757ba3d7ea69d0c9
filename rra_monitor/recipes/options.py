"""The options of `rra-monitor train`. Imports nothing heavy, since --help reads them."""

from dataclasses import dataclass, field
from typing import Any, Literal

VIEWS = "full,avg2,avg4,avg8,avg-global"
"""The average-pooled views of chapter 6."""


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class TrainOptions:
    """The options of a training; None stands for the recipe's value."""

    recipe: str | None = _option(None, "name of a recipe; `rra-monitor recipes` lists them")
    data: str | None = _option(None, "directory of the data set, not needed for digits")
    out: str | None = _option(None, "folder of the runs, one per seed in it; runs/RECIPE by default")
    seed: int = _option(0, "seed of weights, order and augmentation")
    seeds: str | None = _option(None, "several seeds one after another, as 0-7 or 0,3,5; finished ones are skipped")
    resume: bool = _option(False, "continue an interrupted training, to the weights of one without interruption")

    max_epochs: int | None = _option(None, "epochs of training; the schedule is scaled to them")
    limit: int | float | None = _option(
        None, "batches of an epoch, in training and in validation: a number, or a fraction up to 1.0"
    )
    short: bool = _option(False, "8 epochs under one cycle, with probes of 2,000: about 15 minutes on two CPU cores")
    batch_size: int | None = _option(None, "images of a step, over all devices")
    learning_rate: float | None = _option(None, "base rate, or the peak of one cycle")
    weight_decay: float | None = _option(None, "weight decay of all weights")
    augment: str | None = _option(None, "names with commas (translate, flip, rotate, colour, greyscale, blur), or none")

    attention: Literal["stac", "se", "bam", "none"] | None = _option(None, "attention in the residual blocks")
    placement: Literal["standard", "post"] | None = _option(None, "place of attention: before the addition or after it")
    window: str | None = _option(
        None, "window of STAC: pixels or global, for all stages or one each with commas, none for no STAC: 8,none,4"
    )

    monitor: bool = _option(
        True, "watch every layer on a sample of training and one of validation images; --no-monitor"
    )
    n: int | None = _option(None, "samples of each probe; those of the thesis by default, 2000 with --short")
    k: int | None = _option(None, "neighbours of each sample; n / (10 · classes) by default, as in the thesis")
    views: str = _option(VIEWS, "views of every layer, with commas")
    every: int | None = _option(
        None, "epochs between snapshots; a tenth of all epochs by default, at least 1, none with --every-n-steps alone"
    )
    every_n_steps: int | None = _option(None, "optimiser steps between snapshots")
    max_overhead: float | None = _option(
        None, "largest fraction of the time for the monitor, 0.05 for 5 %; snapshots become rarer where it takes more"
    )
    estimator: Literal["ml", "regression", "censored"] | None = _option(
        None, "estimator of the ID: ml by default, as in the thesis; near-duplicates do not lower the others"
    )
    keep_graphs: str = _option("last", "which graphs stay on disk: all, last, or the number of newest snapshots")

    loader: Literal["device", "workers"] = _option(
        "device", "keep the images on the device and augment them there, or leave both to worker processes"
    )
    workers: int = _option(2, "processes of --loader workers")
    download: bool = _option(False, "fetch CIFAR-10 into --data if it is not there")
    allow_pickle: bool = _option(False, "read pickled batches of ImageNet64x64, which runs the code they contain")

    accelerator: str = _option("auto", "accelerator as in Lightning: auto, cpu, gpu, …")
    devices: int = _option(1, "number of devices")
    precision: str = _option("auto", "precision as in Lightning: 32-true, bf16-mixed, …; auto takes the faster one")
    compile: bool = _option(False, "torch.compile the network: a minute first, then 6 % less per step on a CPU")
    progress: bool = _option(True, "show a bar; --no-progress")


FLAGS = {name: getattr(TrainOptions, name) for name, kind in TrainOptions.__annotations__.items() if kind is bool}
"""Options that are on or off, with their defaults."""

PLACE = frozenset({"data", "out", "seeds", "resume", "workers", "download", "allow_pickle", "progress", "keep_graphs"})
"""Options that may differ between a training and its resumption."""
