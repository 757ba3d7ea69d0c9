"""The remedies that `rra-monitor train` and what reads its runs name, each of them followed."""

import json
import os
import shutil
from dataclasses import replace

import pytest
import torch

from rra_monitor.cli.train import train_seeds
from rra_monitor.datasets.catalogue import DATA
from rra_monitor.datasets.read import read_splits
from rra_monitor.recipes.batches import BatchPlan
from rra_monitor.recipes.catalogue import RECIPES
from rra_monitor.recipes.options import TrainOptions
from rra_monitor.recipes.plan import training_plan
from rra_monitor.recipes.run_files import MetricsFile, read_description, read_result, write_description
from rra_monitor.recipes.trained import data_of, network_of
from rra_monitor.recipes.training import folder_of, resumed_from
from rra_monitor.recipes.windows import max_cs
from tests.helpers.image_trees import tree
from tests.helpers.recipe_runs import options, run, trained, weights
from tests.helpers.remedies import Remedy
from tests.helpers.snapshots import snapshot_of


def planned(recipe="resnet20-digits", **chosen):
    return lambda: training_plan(TrainOptions(recipe=recipe, **chosen))


def windows_of(*layers, sides=None):
    """The windows that the NNCS of such layers suggests, on maps of such sides."""
    snapshot = snapshot_of(0, layers=layers)
    views = tuple(dict.fromkeys(layer.partition("@")[2] or "full" for layer in layers))
    return max_cs(replace(snapshot, settings=replace(snapshot.settings, views=views)), sides)


REMEDIES = [
    Remedy(
        "name a recipe, as in rra-monitor train resnet20-digits; `rra-monitor recipes` lists all",
        planned(None),
        planned("resnet20-digits"),
        lambda: run("recipes"),
    ),
    Remedy(
        ". `rra-monitor recipes` lists all",
        planned("resnet20-digit"),
        planned("resnet20-digits"),
        lambda: run("recipes"),
    ),
    Remedy(
        "{} need 3 channels, and {} have {}; drop them",
        planned(augment="flip,colour"),
        planned(augment="flip"),
    ),
    Remedy(
        "windows, the network {} stages; give one, or one each",
        planned(window="4,4"),
        planned(window="4"),
        planned(window="4,4,2"),
    ),
    Remedy(
        "--attention none has no --window and no --placement; drop them",
        planned(attention="none", window="4", placement="post"),
        planned(attention="none"),
    ),
    Remedy(
        "the network has no attention; add --attention stac --window 4, for example",
        planned(placement="post"),
        planned(placement="post", attention="stac", window="4"),
        planned("resnet20-cifar10", placement="post", attention="stac", window="4"),
        planned("resnet20-imagenet64-50", placement="post", attention="stac", window="4"),
    ),
    Remedy(
        "{} images for {} devices; give --devices {} or fewer",
        lambda: BatchPlan(3, 2, world=4),
        lambda: BatchPlan(3, 2, world=3),
        lambda: BatchPlan(3, 2, world=1),
    ),
    Remedy(
        "window to choose from; measure more of them, as in --views full,avg2,avg4,avg8,avg-global",
        lambda: windows_of("layer1.0", "layer1.0@avg2", "layer2.0"),
        lambda: windows_of(
            *(f"layer{stage}.0{view}" for stage in (1, 2) for view in ("", "@avg2", "@avg4", "@avg8", "@avg-global"))
        ),
    ),
    Remedy(
        "which is therefore larger than {} x {}; give the side of the images with --side",
        lambda: windows_of("layer1.0", "layer1.0@avg4", "layer1.0@avg-global", sides=(4,)),
        lambda: windows_of("layer1.0", "layer1.0@avg4", "layer1.0@avg-global", sides=(32,)),
    ),
    Remedy(
        "analyze one network alone, see --layers",
        lambda: windows_of(*(f"{of}.layer1.0{view}" for of in ("one", "other") for view in ("", "@avg2"))),
        lambda: windows_of("one.layer1.0", "one.layer1.0@avg2"),
    ),
]


@pytest.mark.parametrize("remedy", REMEDIES, ids=str)
def test_recipe_remedy_is_followed(remedy):
    remedy.check()


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Options of the smallest training."""
    return options(tmp_path_factory.mktemp("given"), monitor=False, max_epochs=1, limit=1)


@pytest.fixture(scope="module")
def finished(given):
    """Such a training."""
    return trained(given)


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of it."""
    return shutil.copytree(finished, tmp_path / "out" / "seed0")


@pytest.fixture
def again(given, copy):
    """A look whether a training may begin in its folder: the smallest in that of the copy, or with other options."""

    def begin(**chosen):
        asked = replace(given, **{"out": str(copy.parent), **chosen})
        return resumed_from(training_plan(asked), folder_of(asked))

    return begin


def test_train_remedies_for_a_folder_that_is_taken_are_followed(again, given, copy, tmp_path):
    for remedy in (
        Remedy(
            "{} holds another training: {}. Give the same options, or another --out",
            lambda: again(max_epochs=2, resume=True),
            lambda: [(copy / "result.json").rename(tmp_path / "result.json"), again(resume=True)],
            lambda: again(max_epochs=2, out=str(tmp_path / "another")),
        ),
        Remedy(
            "{} holds an interrupted training; --resume goes on with it, or give another --out",
            again,
            lambda: again(resume=True),
            lambda: again(out=str(tmp_path / "another")),
        ),
        Remedy(
            "holds another training: {}; give another --out",
            lambda: train_seeds(replace(given, seeds="0", out=str(copy.parent), max_epochs=2)),
            lambda: train_seeds(replace(given, seeds="0", out=str(tmp_path / "another"))),
        ),
        Remedy(
            "{} holds this training already, finished; give another --out, or delete it",
            lambda: [(tmp_path / "result.json").rename(copy / "result.json"), again()],
            lambda: again(out=str(tmp_path / "a third")),
            lambda: [shutil.rmtree(copy), again()],
        ),
    ):
        remedy.check()


def test_train_remedy_for_a_checkpoint_without_numbers_is_followed(given, copy):
    asked = replace(given, out=str(copy.parent), resume=True)
    held = weights(copy)
    del held["callbacks"]["EpochTable"]
    torch.save(held, copy / "checkpoints" / "last.ckpt")
    (copy / "result.json").unlink()
    Remedy(
        "does not have its numbers; delete the folder and train again",
        lambda: trained(asked),
        lambda: [shutil.rmtree(copy), trained(asked)],
    ).check()


def test_train_remedy_for_an_accelerator_that_is_not_there_is_followed(given, tmp_path):
    asked = replace(given, out=str(tmp_path))
    Remedy(
        "is not available: {} Expected an accelerator of this machine and at least 1 of it; --accelerator auto "
        "--devices 1 takes what there is",
        lambda: trained(replace(asked, devices=0)),
        lambda: trained(replace(asked, accelerator="auto", devices=1)),
    ).check()


def test_remedies_for_damaged_files_of_a_run_are_followed(again, copy, finished):
    result, about, table = (copy / name for name in ("result.json", "run.json", "metrics.csv"))
    kept = {file: file.read_bytes() for file in (result, about, table)}
    unknown = json.dumps(json.loads(kept[about]) | {"classes": 3})

    def restored(file):
        file.unlink()
        file.write_bytes(kept[file])

    def afresh():
        shutil.rmtree(copy)
        again()
        shutil.copytree(finished, copy)

    for remedy in (
        Remedy(
            "expected a number); delete the run's folder, or restore the file",
            lambda: [result.write_text("{}"), read_result(copy)],
            lambda: [restored(result), read_result(copy)],
            afresh,
        ),
        Remedy(
            "{} is damaged ({}); delete the run's folder, or restore the file",
            lambda: [result.write_text("{"), read_result(copy)],
            lambda: [restored(result), read_result(copy)],
            afresh,
        ),
        Remedy(
            "Restore the file, or delete the run's folder and train again",
            lambda: [about.write_text(unknown), read_description(copy)],
            lambda: [restored(about), read_description(copy)],
            afresh,
        ),
        Remedy(
            "expected at most {}; restore or delete it",
            lambda: [about.write_text(" " * (17 << 20)), read_description(copy)],
            lambda: [restored(about), read_description(copy)],
            lambda: [about.unlink(), read_description(copy), about.write_bytes(kept[about])],
        ),
        Remedy(
            "{} is no file; delete it",
            lambda: [about.unlink(), os.mkfifo(about), read_description(copy)],
            lambda: [about.unlink(), read_description(copy), about.write_bytes(kept[about])],
        ),
        Remedy(
            "delete it, the training goes on without its rows",
            lambda: [table.write_text("epoch,step\n1," + "x" * 200_000 + "\n"), MetricsFile(table).cut(100)],
            lambda: [table.unlink(), MetricsFile(table).cut(100), MetricsFile(table).add({"step": 1})],
        ),
        Remedy(
            "is a link out of the run's folder, to {}; put there what it leads to",
            lambda: [result.unlink(), result.symlink_to(finished / "result.json"), read_result(copy)],
            lambda: [restored(result), read_result(copy)],
        ),
    ):
        remedy.check()


def test_remedies_for_the_data_of_a_training_are_followed(tmp_path, finished):
    ten, own = tree(tmp_path / "ten"), tree(tmp_path / "own", ("a", "b"))
    images = options(tmp_path, "resnet20-images", data=str(own))
    write_description(tmp_path / "seed0", training_plan(images), classes=["a", "b"])

    def read(recipe, data):
        read_splits(DATA[RECIPES[recipe].data], data)

    for remedy in (
        Remedy(
            "{} needs --data DIR, a directory with {}",
            lambda: read("resnet20-cifar10", None),
            lambda: read("resnet20-cifar10", ten),
        ),
        Remedy(
            "for classes of your own there are the recipes resnet20-images and resnet34-images",
            lambda: read("resnet20-cifar10", own),
            lambda: read("resnet20-images", own),
            lambda: read("resnet34-images", own),
        ),
        Remedy(
            "which could name any pickle; pass data=DIR, too",
            lambda: data_of(str(tmp_path / "seed0"), allow_pickle=True),
            lambda: data_of(str(tmp_path / "seed0"), allow_pickle=True, data=str(own)),
        ),
        Remedy(
            "it is no folder of `rra-monitor train`",
            lambda: network_of(str(tmp_path)),
            lambda: network_of(str(finished)),
        ),
    ):
        remedy.check()
