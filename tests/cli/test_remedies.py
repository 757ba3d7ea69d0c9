"""The remedies that commands name, each of them followed."""

import shlex
import shutil
import sys
from pathlib import Path

import pytest
import torch

from rra_monitor.cli.demo import _folder as demo_folder
from rra_monitor.nn import resnet20
from rra_monitor.recipes.plan import training_plan
from rra_monitor.recipes.run_files import write_description
from tests.helpers.digit_runs import stored
from tests.helpers.image_trees import tree
from tests.helpers.recipe_runs import options, run
from tests.helpers.remedies import Remedy
from tests.helpers.snapshots import snapshot_of

pytestmark = pytest.mark.usefixtures("one_thread")

CODE = """
import torch
from torch import nn
from torch.utils.data import TensorDataset


def data():
    return TensorDataset(torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2)


def data_of(path):
    return data()


def flat(side=8, channels=1):
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * side * side, 2))


class Wrapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = flat(16)

    def forward(self, images):
        return self.network(nn.functional.interpolate(images, size=16))


number = 3
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Code of one's own, images of two sizes, checkpoints and runs."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "remedied.py").write_text(CODE)
    tree(folder / "images", ("a", "b"), parts=("train",), count=10, side=20)
    tree(folder / "odd" / "train", ("x",), parts=(".",), count=9, side=30)
    tree(folder / "odd" / "train", ("y",), parts=(".",), count=9, side=20)
    torch.save(resnet20(10, 1).state_dict(), folder / "w.pt")
    later = {"1.weight": torch.ones(2, 64), "1.bias": torch.zeros(2)}
    torch.save({"state_dict": later, "global_step": 5}, folder / "later.ckpt")
    for name, seed in {"a0": 0, "a1": 1, "b0": 2}.items():
        stored(folder / "runs" / name, snapshot_of(0, seed=10 * seed))
    stored(folder / "rra-demo" / "seed0" / "rra", snapshot_of(0, layers=("layer1.0", "layer2.0"), probe="val"))
    given = options(folder, "resnet20-digits")
    write_description(folder / "of_digits", training_plan(given), classes=[str(digit) for digit in range(10)])
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """A working directory with them; without matplotlib, and so without pictures."""
    monkeypatch.chdir(shutil.copytree(made, tmp_path, dirs_exist_ok=True))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "remedied", raising=False)
    monkeypatch.setattr("rra_monitor.cli.analyze.find_spec", lambda package: None)


def without_graphs(path):
    """A run whose graphs were deleted."""
    stored(path, snapshot_of(0))
    for graphs in Path(path).rglob("*.graphs.safetensors"):
        graphs.unlink()
    return path


def command(*several):
    """A call that runs commands one after another."""
    return lambda: [run(*shlex.split(words)) for words in several]


ANALYZE = "analyze remedied:flat --n 30"
OF_DATA = f"{ANALYZE} --data remedied:data"
TEN = "analyze rra_monitor.nn:resnet20 --checkpoint w.pt --data remedied:data --layers fc --arguments in_channels=1"
REMEDIES = [
    Remedy(
        "as in rra-monitor analyze torchvision:resnet18 --data DIR, or a stored run: rra-monitor analyze --from RUN",
        command("analyze"),
        command("analyze torchvision:resnet18 --data images --layers fc"),
        command("analyze --from runs/a0"),
    ),
    Remedy(
        "--from repeats what a run has stored, so {} cannot be chosen; drop it",
        command("analyze --from runs/a0 --k 3"),
        command("analyze --from runs/a0"),
    ),
    Remedy(
        "{} holds step {} of probe {} already; give another --out, or delete it",
        command(f"{OF_DATA} --out there", f"{OF_DATA} --out there"),
        command(f"{OF_DATA} --out elsewhere"),
        lambda: [shutil.rmtree("there"), *command(f"{OF_DATA} --out there")()],
    ),
    Remedy(
        "what {} holds (give another --out)",
        command(f"{OF_DATA} --k 3 --out of3", f"{OF_DATA} --k 4 --out of3 --checkpoint later.ckpt"),
        command(f"{OF_DATA} --k 4 --out of4 --checkpoint later.ckpt"),
    ),
    Remedy(
        "{} holds IDs by {}, these would be by {}; give another --out or --estimator {}",
        command(f"{OF_DATA} --out plain", f"{OF_DATA} --estimator censored --out plain --checkpoint later.ckpt"),
        command(f"{OF_DATA} --estimator censored --out censored --checkpoint later.ckpt"),
        command(f"{OF_DATA} --estimator ml --out plain --checkpoint later.ckpt"),
    ),
    Remedy(
        "differ in size; --size 224 makes them alike",
        command(f"{ANALYZE} --data odd"),
        command(f"{ANALYZE} --data odd --size 224 --arguments side=224,channels=3"),
    ),
    Remedy(
        "See --arguments and --size, or name a function of yours that wraps the network",
        command(f"{ANALYZE} --arguments side=16 --data remedied:data"),
        command(f"{ANALYZE} --arguments side=8 --data remedied:data"),
        command(f"{ANALYZE} --arguments side=16,channels=3 --data images --size 16"),
        command("analyze remedied:Wrapped --n 30 --data remedied:data"),
    ),
    Remedy(
        "--size is for folders of images, and the data {} are none; drop it",
        command(f"{OF_DATA} --size 8"),
        command(OF_DATA),
    ),
    Remedy(
        "its number of classes, for example, is set by --arguments num_classes=10",
        command(f"{TEN},num_classes=5"),
        command(f"{TEN},num_classes=10"),
    ),
    Remedy(
        "see --arguments",
        command(f"{OF_DATA} --arguments size=8"),
        command(f"{OF_DATA} --arguments side=8"),
    ),
    Remedy(
        "name a function that needs no arguments",
        command(f"{ANALYZE} --data remedied:data_of"),
        command(f"{ANALYZE} --data remedied:data"),
    ),
    Remedy(
        "are no folder, and not of the form 'digits', 'cifar10:DIR', 'run:RUN' or 'module:function'",
        command(f"{ANALYZE} --data nowhere"),
        command(f"{ANALYZE} --data digits --arguments side=16"),
        command(f"{ANALYZE} --data cifar10:images --arguments side=20,channels=3"),
        command(f"{ANALYZE} --data remedied:data"),
    ),
    Remedy(
        "expected pickled-run:RUN:DIR, as in pickled-run:{}:/data/imagenet64",
        command(f"{ANALYZE} --data pickled-run:of_digits"),
        command(f"{ANALYZE} --data pickled-run:of_digits:/data/imagenet64 --arguments side=16"),
    ),
    Remedy(
        "kept no graphs of probe {}; run it with keep_graphs='all' or 'last'",
        lambda: run("analyze", "--from", without_graphs("bare")),
        lambda: run("analyze", "--from", stored("all", snapshot_of(0), keep_graphs="all")),
        lambda: run("analyze", "--from", stored("last", snapshot_of(0), keep_graphs="last")),
    ),
    Remedy(
        "expected NAME=GLOB, as in --group A='runs/a*'",
        command("compare --group runs/a0"),
        command("compare --group A='runs/a*'"),
    ),
    Remedy(
        "Begin each group with a --group of its own, and quote patterns",
        command("compare --group A='runs/a*' B='runs/b*'"),
        command("compare --group A='runs/a*' --group B='runs/b*'"),
    ),
    Remedy(
        "rra-monitor compare runs/a0 runs/b0, or rra-monitor compare --group A='runs/a*' --group B='runs/b*'",
        command("compare"),
        command("compare runs/a0 runs/b0"),
        command("compare --group A='runs/a*' --group B='runs/b*'"),
    ),
    Remedy(
        "name the directory of a run, or of several: rra-monitor report rra-demo",
        command("report"),
        command("report rra-demo"),
        command("report runs"),
    ),
    Remedy(
        "is a directory; name a file, as in --out {}",
        command("report runs/a0 --out runs"),
        command("report runs/a0 --out runs/report.html"),
    ),
    Remedy(
        "--out {} is a file; name a folder",
        command("compare runs/a0 runs/b0 --out w.pt"),
        command("compare runs/a0 runs/b0 --out compared"),
    ),
    Remedy(
        "is named twice; name each run once",
        command("compare runs/a0 runs/a0"),
        command("compare runs/a0 runs/b0"),
    ),
    Remedy(
        "{} holds an earlier run; pass another --out, or delete that directory",
        lambda: demo_folder("rra-demo"),
        lambda: demo_folder("another"),
        lambda: [shutil.rmtree("rra-demo"), demo_folder("rra-demo")],
    ),
    Remedy(
        "see --probe",
        command("suggest rra-demo/seed0 --probe test"),
        command("suggest rra-demo/seed0 --probe val --strategy uniform --side 32"),
    ),
    Remedy(
        "{} does not say how large its images were; give --side, in pixels",
        command("suggest rra-demo/seed0 --probe val --strategy uniform"),
        command("suggest rra-demo/seed0 --probe val --strategy uniform --side 32"),
    ),
    Remedy(
        "MODEL {} gave a {}, expected a torch.nn.Module",
        command("analyze remedied:data --data remedied:data"),
        command(OF_DATA),
    ),
]


@pytest.mark.parametrize("remedy", REMEDIES, ids=str)
@pytest.mark.usefixtures("here")
def test_command_remedy_is_followed(remedy):
    remedy.check()
