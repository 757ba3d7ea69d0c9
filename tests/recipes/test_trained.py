"""What `rra-monitor analyze --data run:RUN` reads: the images of a training, as it read them."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from rra_monitor.cli.sources import data_splits, samples
from rra_monitor.datasets import imagenet64
from rra_monitor.datasets.catalogue import DATA
from rra_monitor.datasets.images import normalised
from rra_monitor.datasets.read import read_splits
from rra_monitor.recipes.plan import training_plan
from rra_monitor.recipes.run_files import write_description
from rra_monitor.recipes.trained import data_of
from tests.helpers.image_trees import tree
from tests.helpers.recipe_runs import options
from tests.helpers.remedies import refusal


def described(folder, recipe, data, **chosen):
    """The folder of a training that has not begun; and its images."""
    given = options(folder, recipe, data=data and str(data), **chosen)
    plan = training_plan(given)
    splits = read_splits(DATA[plan.recipe.data], data, allow_pickle=given.allow_pickle)
    write_description(folder, plan, classes=splits.classes)
    return folder, splits


def small_imagenet(monkeypatch):
    """Images of 4 pixels, of which the subset takes 3 of each of 5 classes."""
    monkeypatch.setattr(imagenet64, "SUBSET_CLASSES", 5)
    monkeypatch.setattr(imagenet64, "SUBSET_IMAGES", 3)
    monkeypatch.setitem(DATA, "imagenet64-50", replace(DATA["imagenet64-50"], side=4, classes=5))


def write_batches(folder, pickled=False):
    """ImageNet64x64 in its ten training batches, with three images of each class, and the same of validation."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    every = rng.permutation(np.repeat(np.arange(1, 1001), 3))
    batches = {f"train_data_batch_{number + 1}": split for number, split in enumerate(np.split(every, 10))}
    for name, labels in {**batches, "val_data": every}.items():
        held = {"data": rng.integers(0, 256, (len(labels), 48), dtype=np.uint8), "labels": labels}
        if pickled:
            (folder / name).write_bytes(pickle.dumps(held))
        else:
            np.savez(folder / f"{name}.npz", **held)


def the_same(found, splits):
    """Whether two data sets hold the images and labels of the splits."""
    assert list(found) == ["train", "val"]
    for split, held in zip((splits.train, splits.val), found.values(), strict=True):
        images, labels = zip(*held, strict=True)
        assert list(labels) == split.labels.tolist()
        assert torch.equal(torch.stack(images), normalised(split.images / 255, splits.data.normalization))


def each(split):
    return [split[index] for index in range(len(split))]


@pytest.mark.parametrize("kind", ["digits", "cifar10", "images", "imagenet64-50"])
def test_the_data_of_a_run_are_what_it_was_trained_with(kind, tmp_path, monkeypatch):
    data = None
    if kind == "imagenet64-50":
        small_imagenet(monkeypatch)
        write_batches(data := tmp_path / "batches")
    elif kind != "digits":
        data = tree(tmp_path / "tree", side=32 if kind == "cifar10" else 80)
    folder, splits = described(tmp_path / "of mine", f"resnet20-{kind}", data)
    found = data_splits(f"run:{folder}")
    the_same({name: each(split) for name, split in found.items()}, splits)
    assert samples(f"run:{folder}", 1000, None, "val", 0)["val"].classes == len(splits.classes)


def test_pickled_batches_of_a_run_need_permission(tmp_path, monkeypatch):
    small_imagenet(monkeypatch)
    write_batches(data := tmp_path / "batches", pickled=True)
    folder, splits = described(tmp_path / "run", "resnet20-imagenet64-50", data, allow_pickle=True)
    for granted in (True, False):  # a run of npz batches in whose place pickles are now has none to repeat
        about = json.loads((folder / "run.json").read_text())
        about["options"]["allow_pickle"] = granted
        (folder / "run.json").write_text(json.dumps(about))
        with refusal("; for analyze that is --data pickled-run:{}:DIR"):
            data_splits(f"run:{folder}")
        found = data_splits(f"pickled-run:{folder}:{data}")
        the_same({name: each(split) for name, split in found.items()}, splits)


@pytest.mark.parametrize("read", [lambda run: data_splits(f"pickled-run:{run}"), lambda run: data_of(run, True)])
def test_a_run_does_not_choose_which_pickles_of_its_data_are_read(tmp_path, monkeypatch, read):
    small_imagenet(monkeypatch)
    write_batches(data := tmp_path / "batches", pickled=True)
    folder, _ = described(tmp_path / "run", "resnet20-imagenet64-50", data, allow_pickle=True)
    monkeypatch.setattr(pickle, "load", None)
    with pytest.raises(ValueError, match=r"pickled-run:RUN:DIR|pass data=DIR, too"):
        read(str(folder))


def test_data_that_are_gone_or_have_changed_are_named(tmp_path):
    data = tree(tmp_path / "tree", ("a", "b"))
    folder, _ = described(tmp_path / "run", "resnet20-images", data)
    tree(data, ("c",))
    with pytest.raises(ValueError, match=r"have changed: .*tree has 3 classes \(a, b, c\), expected 2 \(a, b\)"):
        data_splits(f"run:{folder}")
    data.rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"the data of .*run: .*tree is no directory"):
        data_splits(f"run:{folder}")
    with pytest.raises(ValueError, match=r"has no run\.json: it is no folder of `rra-monitor train`"):
        data_splits(f"run:{tmp_path}")
