import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "torchvision", "lightning", "pytorch_lightning", "wandb", "tensorboard", "plotly", "matplotlib")


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def pyproject():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def declared():
    """Name to the requirements that name it, among the dependencies and all extras."""
    project = pyproject()["project"]
    found = {}
    for line in chain(project["dependencies"], *project["optional-dependencies"].values()):
        requirement = Requirement(line)
        if requirement.name != project["name"]:
            found.setdefault(requirement.name, []).append(requirement)
    return found


def test_the_lowest_environment_holds_the_lowest_declared_version_of_every_dependency():
    bounds = {
        name: min(
            Version(bound.version)
            for requirement in requirements
            for bound in requirement.specifier
            if bound.operator == ">="
        )
        for name, requirements in declared().items()
    }
    lines = [Requirement(line) for line in (ROOT / ".ci" / "lowest.txt").read_text().splitlines() if line[0] != "#"]
    assert {line.name: Version(str(line.specifier).removeprefix("==")) for line in lines} == bounds


@pytest.mark.parametrize("name", ["lightning", "pytorch-lightning"])
def test_the_malicious_uploads_of_lightning_are_excluded_wherever_it_is_named(name):
    assert declared()[name]
    for requirement in declared()[name]:
        assert not any(map(requirement.specifier.contains, ("2.6.2", "2.6.3"))), str(requirement)


def test_every_package_on_disk_is_listed():
    listed = set(pyproject()["tool"]["setuptools"]["packages"])
    own = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "rra_monitor").rglob("__init__.py")}
    hosts = {
        "rra_monitor." + ".".join(path.parent.relative_to(ROOT).parts)
        for path in (ROOT / "integrations").rglob("__init__.py")
    }
    # Since Python 3.13 a glob follows the symlink.
    assert listed == {name for name in own if "integrations" not in name} | hosts


def test_the_symlink_shows_the_integrations():
    link = ROOT / "rra_monitor" / "integrations"
    assert link.is_symlink()
    assert link.resolve() == ROOT / "integrations"


@pytest.mark.parametrize("name", ["rra_monitor", "rra_monitor.cli.main"])
def test_importing_the_package_or_its_command_loads_nothing_heavy(name):
    assert run(f"import {name}, sys; print(sorted(set({HEAVY!r}) & set(sys.modules)))").strip() == "[]"


def test_reading_a_run_needs_no_torch():
    code = "import rra_monitor as rra, sys; rra.RunStore, rra.Snapshot, rra.KnnGraph; print('torch' in sys.modules)"
    assert run(code).strip() == "False"


def test_every_public_name_resolves():
    code = "import rra_monitor as rra; print([name for name in rra.__all__ if getattr(rra, name) is None])"
    assert run(code).strip() == "[]"


def test_measuring_needs_no_host():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['lightning', 'tensorboard', 'wandb', 'matplotlib']))\n"
        "import torch, rra_monitor as rra\n"
        "net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU())\n"
        "store = rra.RunStore('memory://run')\n"
        "monitor = rra.Monitor({'p': rra.FixedSample.from_tensors(torch.rand(30, 3))})\n"
        "rra.Recorder(store, sinks=[rra.JSONLSink(store)]).record(monitor.measure(net, step=0, epoch=0))\n"
        "print(store.steps('p'))"
    )
    assert run(code).strip() == "(0,)"
