"""What the texts of errors and warnings name exists, and a test follows it."""

import contextlib
import importlib
import inspect
import io
import re
import tomllib
from functools import cache, reduce

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.types import LRSchedulerConfig
from packaging.requirements import Requirement
from scipy.sparse import csr_matrix

import rra_monitor
from rra_monitor.recipes.catalogue import RECIPES
from tests.helpers import ROOT
from tests.helpers.recipe_runs import run
from tests.helpers.texts import followed, names, texts, uncovered

COMMANDS = ("analyze", "compare", "demo", "recipes", "report", "suggest", "train")
PUBLIC = "graph", "metrics", "nn", "figures", "integrations.lightning", "integrations.wandb", "recipes.trained"
"""Modules of public names, beside the package itself."""

OTHERS = {
    *("with", "that", "failed"),  # words after "rra-monitor"
    *("Data", "transform", "evaluation_transform"),  # the reader's own
    *("l_p", "l_q", "n_r"),  # axes of arrays
    "mean_distance",  # a name that one may give
    *("--logdir", "EMAWeightAveraging", "charset", "TensorBoard", "ProcessGroup", "ResNets", "lazy_loader"),
}
"""Names that are not looked up."""

NOT_FOLLOWED = {
    "needs the package lazy_loader": "part of every installation",
    "Install rra-monitor with its extra [recipes].": "needs a network; test_extras_hold_what_is_missing",
    "the data 'digits' need {}: pip install 'rra-monitor[recipes]'": "needs a network; as above",
    "the data of a run need {}: pip install 'rra-monitor[recipes]'": "needs a network; as above",
    "pip install 'rra-monitor[report,tensorboard]'": "needs a network; as above",
    "--download": "needs a network",
    "Delete that folder and fetch it again, as rra-monitor train does": "what follows needs a network",
    "with the version of rra-monitor that wrote it": "needs another version",
    "The same command with --resume goes on": "a remark; followed in tests/recipes/test_training.py",
    "rra-monitor train --n": "a remark on the sampling error",
    "Add --allow-pickle if you trust those of --data.": "a remark; followed in tests/datasets/test_imagenet64.py",
    "measure with estimator='censored', or look at the samples": "followed in tests/measure/test_remedies.py",
    "No --checkpoint: the weights are those that MODEL comes with.": "a remark",
    "Again, without the network: rra-monitor analyze --from {}": "a remark; followed in tests/cli/test_analyze.py",
    "Windows for STAC: rra-monitor suggest {}": "a remark; followed in tests/cli/test_suggest.py",
    "this is a fast_dev_run": "a remark",
    "layers='auto' watches {} of the {} layers": "a remark; followed in tests/capture/test_auto.py",
    "see docs/metrics.md": "a page to read",
    "rra_monitor/recipes/choices.py, and of data in rra_monitor/datasets": "modules to read",
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' data:; style-src 'unsafe-inline'": "a policy",
    "text/javascript; charset=utf-8": "a type of files",
    "'ids' is missing": "no remedy: an array of a file",
}
"""Parts of texts whose names no test follows, and why."""


def test_what_a_text_names_is_followed_by_a_test():
    known = [*followed(), *NOT_FOLLOWED]
    assert {str(text): left for text in texts() if (left := uncovered(text.words, known))} == {}


def test_what_is_followed_stands_in_the_source():
    assert [part for part in (*followed(), *NOT_FOLLOWED) if not any(part in text.words for text in texts())] == []


def test_what_stands_in_several_texts_is_followed_for_each():
    for part in filter(names, followed()):
        found = [str(text) for text in texts() if part in text.words]
        assert len(found) <= sum(times for longer, times in followed().items() if part in longer), found


@pytest.fixture(scope="module")
def options():
    """Command to its options, as its help names them."""
    found = {}
    for command in COMMANDS:
        said = io.StringIO()
        with contextlib.redirect_stdout(said), pytest.raises(SystemExit):
            run(command, "--help")
        found[command] = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", said.getvalue()))
    return found


@cache
def public():
    """Public name to what it is."""
    modules = [rra_monitor, *(importlib.import_module(f"rra_monitor.{name}") for name in PUBLIC)]
    found = {name: getattr(module, name) for module in modules for name in dir(module) if name[0] != "_"}
    return {name: each for name, each in found.items() if getattr(each, "__module__", "").startswith("rra_monitor.")}


@cache
def parameters_and_attributes():
    """Names of arguments of public functions, classes and methods, and of what texts name of other packages."""
    classes = [each for each in public().values() if inspect.isclass(each)]
    methods = [method for each in classes for name in vars(each) if callable(method := getattr(each, name))]
    takers = [*public().values(), *methods, EarlyStopping, ModelCheckpoint, Trainer, LRSchedulerConfig]
    holders = [LightningModule, WandbLogger, torch.Tensor, np.ndarray, csr_matrix]
    found = {name for each in holders for name in dir(each)} | {WandbLogger.__name__}
    for each in filter(callable, takers):
        with contextlib.suppress(ValueError):  # built in
            found |= set(inspect.signature(each).parameters)
    return found


def extras():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def is_there(named, before, options):
    """Whether what a text names exists; an option must be one of the last command that is named before it, if any."""
    kind, name = named.kind, named.name
    if kind == "option":
        commands = [each.name for each in names(before) if each.name in options]
        return any(name in options[command] for command in commands[-1:] or options)
    if kind == "member":
        first, *rest = name.split(".")
        roots = {"torch": torch, "np": np, "model": torch.nn.Module, "rra_monitor": rra_monitor} | public()
        missing = object()
        return reduce(lambda found, part: getattr(found, part, missing), rest, roots.get(first, missing)) is not missing
    if kind in ("call", "argument", "python"):
        return name in public() or name in parameters_and_attributes() or name == "rra_monitor"
    return {
        "command": name in COMMANDS,
        "extras": set(name.split(",")) <= set(extras()),
        "file": (ROOT / name).exists(),
        "recipe": name in RECIPES,
    }.get(kind, True)


def missing(words, options):
    """What a text names and does not exist."""
    found = [named for named in names(words) if named.name not in OTHERS]
    return [named.name for named in found if not is_there(named, words[: named.start], options)]


def test_what_a_text_names_exists(options):
    assert {str(text): left for text in texts() if (left := missing(text.words, options))} == {}


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("drop it, or give --outt", "--outt"),
        ("rra-monitor suggest RUN --epochs 3", "--epochs"),
        ("try rra-monitor analyse", "analyse"),
        ("install rra-monitor[plots]", "plots"),
        ("see docs/nowhere.md", "docs/nowhere.md"),
        ("take resnet20-svhn", "resnet20-svhn"),
        ("call rra_monitor.graph.draw_audit", "rra_monitor.graph.draw_audit"),
        ("use FixedSample.from_arrays instead", "FixedSample.from_arrays"),
        ("call draw(features) first", "draw"),
        ("pass keep_all=True", "keep_all"),
        ("pass it to the GraphStore", "GraphStore"),
    ],
)
def test_what_does_not_exist_is_found_and_so_is_what_no_test_follows(words, name, options):
    assert missing(words, options) == [name]
    assert name in uncovered(words, [])
    assert uncovered(words, [words]) == []


@pytest.mark.parametrize(
    ("extra", "packages"),
    [
        ("recipes", {"lightning", "scikit-learn", "torchvision", "matplotlib", "tensorboard"}),
        ("report", {"plotly"}),
        ("tensorboard", {"plotly", "tensorboard"}),
    ],
)
def test_extras_hold_what_is_missing(extra, packages):
    def held(extra):
        for requirement in map(Requirement, extras()[extra]):
            yield requirement.name
            for other in requirement.extras if requirement.name == "rra-monitor" else ():
                yield from held(other)

    assert packages <= set(held(extra))
