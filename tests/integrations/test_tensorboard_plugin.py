"""Loading the plugin: TensorBoard starts whatever is wrong with us."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from rra_monitor.integrations.tensorboard.plugin import RRALoader
from tests.helpers.tensorboard_records import made_up_record, write_records
from tests.helpers.tensorboard_server import FAST, SLOW, serving, until

HEAVY = ("torch", "lightning", "pytorch_lightning", "wandb", "plotly", "matplotlib", "numba", "numpy", "pynndescent")


def loaded(code):
    found = f"import sys\n{code}\nprint(sorted(set({HEAVY!r}) & set(sys.modules)))"
    return subprocess.run([sys.executable, "-c", found], capture_output=True, text=True, check=True).stdout.strip()


def test_the_entry_point_loads_nothing_heavy():
    code = (
        "from importlib import metadata\n"
        "(point,) = metadata.entry_points(group='tensorboard_plugins', name='rra_monitor')\n"
        "assert point.load().__name__ == 'RRALoader'"
    )
    assert loaded(code) == "[]"


def test_nothing_but_tensorboard_is_needed_to_start():
    broken = [*HEAVY, "lazy_loader", "rich", "fsspec", "safetensors", "jsonargparse", "scipy", "sklearn"]
    code = (
        "import sys\n"
        "from importlib import metadata\n"
        "from types import SimpleNamespace\n"
        "from tensorboard.plugins import base_plugin\n"  # which needs numpy
        f"sys.modules.update(dict.fromkeys({broken!r}))\n"
        "(point,) = metadata.entry_points(group='tensorboard_plugins', name='rra_monitor')\n"
        "loader = point.load()()\n"
        "loader.fix_flags(SimpleNamespace(samples_per_plugin={}))\n"
        "loader.load(SimpleNamespace(data_provider=None)).get_plugin_apps()"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_loading_and_listing_needs_neither_torch_nor_what_draws_and_measures():
    code = (
        "import numpy\n"  # TensorBoard's own
        "from types import SimpleNamespace\n"
        "from rra_monitor.integrations.tensorboard.plugin import RRALoader\n"
        "provider = SimpleNamespace(list_tensors=lambda *_, **__: {})\n"
        "tab = RRALoader().load(SimpleNamespace(data_provider=provider))\n"
        "from werkzeug.test import Client\n"
        "answer = Client(tab.get_plugin_apps()['/runs']).get('/')\n"
        "assert answer.json['runs'] == [], answer.text"
    )
    assert loaded(code) == "['numpy']"


@pytest.mark.parametrize(("given", "kept"), [({}, 0), ({"images": 3}, 0), ({"rra": 7}, 7)])
def test_every_step_is_kept_unless_the_user_asks_for_another_number(given, kept):
    flags = SimpleNamespace(samples_per_plugin=dict(given))
    RRALoader().fix_flags(flags)
    assert flags.samples_per_plugin == {**given, "rra": kept}


def test_flags_of_another_form_are_left_alone():
    flags = SimpleNamespace(samples_per_plugin="rra=3")
    RRALoader().fix_flags(flags)
    RRALoader().fix_flags(SimpleNamespace())
    assert flags.samples_per_plugin == "rra=3"


def test_a_tab_that_can_not_be_imported_says_why(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rra_monitor.integrations.tensorboard.tab", None)
    tab = RRALoader().load(SimpleNamespace(data_provider=None))
    assert tab.is_active()
    (script,) = tab.get_plugin_apps()["/tensorboard.js"]({}, lambda status, headers: None)
    assert "The RRA tab cannot be shown. ModuleNotFoundError" in script.decode()
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("loader", [FAST, SLOW], ids=["fast", "slow"])
def test_tensorboard_starts_without_plotly_and_the_tab_says_what_to_install(loader, tmp_path):
    (tmp_path / "shadows").mkdir()
    (tmp_path / "shadows" / "sitecustomize.py").write_text("import sys; sys.modules['plotly'] = None")
    write_records(tmp_path / "logs" / "run", [made_up_record(0)])
    with serving(tmp_path / "logs", *loader, shadows=tmp_path / "shadows") as server:
        about = server.json("data/plugins_listing")
        assert about["rra"]["enabled"]
        assert "scalars" in about
        script = server.get("data/plugin/rra/tensorboard.js")[2].decode()
        assert "pip install 'rra-monitor[report,tensorboard]'" in script
        assert "export function render()" in script


@pytest.mark.parametrize("broken", [["lazy_loader"], ["torch", "numba", "pynndescent", "safetensors", "rich"]])
def test_tensorboard_starts_whatever_is_broken_and_the_reason_is_said(broken, tmp_path):
    (tmp_path / "shadows").mkdir()
    shadow = f"import sys; sys.modules.update(dict.fromkeys({broken!r}))"
    (tmp_path / "shadows" / "sitecustomize.py").write_text(shadow)
    write_records(tmp_path / "logs" / "run", [made_up_record(0)])
    with serving(tmp_path / "logs", shadows=tmp_path / "shadows") as server:
        assert server.json("data/plugins_listing")["rra"]["enabled"]
        assert until(server.names, lambda names: names) == ["run"]
        status, _, body = server.get("data/plugin/rra/run?name=run")
        assert status == 200 or body.startswith(b"rra-monitor failed: ModuleNotFoundError: import of ")


def test_a_dependency_that_fails_when_a_run_is_read_is_named(tmp_path):
    (tmp_path / "shadows").mkdir()
    (tmp_path / "shadows" / "numba.py").write_text("raise ImportError('numba needs another numpy')")
    write_records(tmp_path / "logs" / "run", [made_up_record(0)])
    with serving(tmp_path / "logs", shadows=tmp_path / "shadows") as server:
        assert until(server.names, lambda names: names) == ["run"]
        status, _, body = server.get("data/plugin/rra/run?name=run")
        assert (status, body.decode()) == (500, "rra-monitor failed: ImportError: numba needs another numpy")


def test_a_broken_tab_escapes_its_reason():
    from rra_monitor.integrations.tensorboard.broken import BrokenTab

    reason = "\"quote\" </script> \u2028 'x'"
    (script,) = BrokenTab(reason).get_plugin_apps()["/tensorboard.js"]({}, lambda status, headers: None)
    (line,) = [line for line in script.decode().splitlines() if "textContent" in line]
    assert json.loads(line.split(" = ", 1)[1].removesuffix(";")).endswith(reason)
    assert "\u2028" not in script.decode()
