import subprocess
import sys
from pathlib import Path

import pytest

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10, where pytest brings the same
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "torchvision", "lightning", "pytorch_lightning", "wandb", "tensorboard", "plotly", "matplotlib")


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_every_package_on_disk_is_listed():
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
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


@pytest.mark.parametrize("name", ["rra_monitor", "rra_monitor.cli"])
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
