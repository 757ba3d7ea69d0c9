"""Trainings of a recipe that are small enough for a test."""

import sys
from pathlib import Path

import torch

from rra_monitor.cli.main import main
from rra_monitor.datasets.catalogue import DATA
from rra_monitor.datasets.images import InMemory, Splits
from rra_monitor.recipes.options import TrainOptions
from rra_monitor.recipes.plan import planned
from rra_monitor.recipes.training import folder_of, read_data, train_one

SMALL = {"max_epochs": 3, "limit": 4, "n": 60, "views": "full,avg-global", "progress": False, "batch_size": 32}


def options(out, recipe="resnet20-digits", **chosen):
    return TrainOptions(recipe=recipe, out=str(out), **{**SMALL, **chosen})


def trained(given, callbacks=(), parts=None):
    """Train by the options; returns the folder."""
    plan = planned(given)
    folder = folder_of(given)
    train_one(given, plan, parts or read_data(given, plan), folder, callbacks)
    return folder


def noise(recipe, images=12):
    """Random images in the shape of a recipe's data."""
    data = DATA[recipe.data]
    classes = data.classes or 7
    generator = torch.Generator().manual_seed(0)
    shape = (images, data.channels, data.side, data.side)
    halves = [
        InMemory(
            torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator),
            torch.randint(0, classes, (images,), generator=generator),
        )
        for _ in range(2)
    ]
    return Splits(data, tuple(map(str, range(classes))), *halves)


def weights(folder):
    return torch.load(Path(folder) / "checkpoints" / "last.ckpt", weights_only=True)


def run(*words):
    """The command rra-monitor, in this process."""
    before, sys.argv = sys.argv, ["rra-monitor", *map(str, words)]
    try:
        main()
    finally:
        sys.argv = before
