"""Trainings of a recipe that are small enough for a test."""

import csv
import json
import sys
from pathlib import Path

import pytest
import torch

from rra_monitor.cli.main import main
from rra_monitor.datasets.catalogue import DATA
from rra_monitor.datasets.images import InMemory, Splits
from rra_monitor.recipes.options import TrainOptions
from rra_monitor.recipes.plan import training_plan
from rra_monitor.recipes.run_files import write_description
from rra_monitor.recipes.training import folder_of, read_data, train_one

SMALL = {"max_epochs": 3, "limit": 4, "n": 60, "views": "full,avg-global", "progress": False, "batch_size": 32}


def options(out, recipe="resnet20-digits", **chosen):
    return TrainOptions(recipe=recipe, out=str(out), **{**SMALL, **chosen})


def trained(given, callbacks=(), splits=None):
    """Train by the options; returns the folder."""
    plan = training_plan(given)
    folder = folder_of(given)
    train_one(plan, splits or read_data(plan), folder, callbacks)
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


def alike(first, second):
    """Two nested structures of tensors and plain values, to the last bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(alike(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(alike, first, second))
    return first == second


def rows(folder):
    with (folder / "metrics.csv").open(newline="") as stream:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(stream)]


@pytest.fixture
def described(tmp_path):
    """The folder of a training that has not begun, and a way to change its description."""
    given = options(tmp_path, "resnet20-digits-stac")
    folder = tmp_path / "seed0"
    write_description(folder, training_plan(given), classes=[str(digit) for digit in range(10)])

    def change(way, value):
        about = json.loads((folder / "run.json").read_text())
        *above, last = way.split(".")
        within = about
        for key in above:
            within = within[key]
        within[last] = value
        (folder / "run.json").write_text(json.dumps(about))

    return folder, change
