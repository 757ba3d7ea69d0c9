"""What commands print of names and messages that a file, or a foreign directory, holds."""

import json

import pytest

import rra_monitor as rra
from rra_monitor.cli.analyze import table
from rra_monitor.cli.compare import _curve_tables
from tests.helpers.digit_runs import stored
from tests.helpers.recipe_runs import run
from tests.helpers.snapshots import snapshot_of
from tests.helpers.terminals import EVIL, is_visible, printed


def test_tables_of_commands_show_controls_in_names_of_layers_and_groups(tmp_path):
    snapshot = snapshot_of(0, layers=("input", EVIL, "fc"))
    text = printed(lambda console: console.print(table(snapshot)))
    assert is_visible(text)
    assert r"\x1b]52" in text
    compared = rra.compare_runs({f"A {EVIL}": [stored(tmp_path / "run", snapshot_of(0))]})
    text = printed(lambda console: [console.print(each) for each in _curve_tables(compared, 200)])
    assert is_visible(text)
    assert r"\x1b]52" in text


def odd(folder, name="a\x1b[31m[/b]\udc80$x$"):
    """A run in a directory whose name controls a terminal, is markup and no UTF-8."""
    return stored(folder / name, snapshot_of(0), snapshot_of(1))


@pytest.mark.parametrize("command", ["compare", "report", "analyze"])
def test_commands_make_odd_names_of_directories_visible_and_write_their_files(tmp_path, capsys, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    first, second = odd(tmp_path / "runs"), stored(tmp_path / "runs" / "b", snapshot_of(0, seed=5))
    given = {"compare": [first, second], "report": [first], "analyze": ["--from", first]}
    out = "o[-b]\x1b[2J" + (".html" if command == "report" else "")
    run(command, *given[command], "--out", tmp_path / out)
    said = capsys.readouterr()
    assert is_visible(said.out)
    assert is_visible(said.err)
    assert "o[-b]" in said.out
    if command == "compare":
        whole = json.loads((tmp_path / out / "comparison.json").read_text(encoding="utf-8"))
        assert whole["groups"][0]["runs"] == [first]


def test_refusals_of_commands_are_one_visible_line(tmp_path):
    with pytest.raises(SystemExit) as caught:
        run("report", tmp_path / "none\x1b[31m\nrra-monitor: all is well")
    assert str(caught.value).isprintable()
    assert str(caught.value).startswith("rra-monitor report: there is no run at ")


@pytest.mark.parametrize(
    "words",
    [
        ["report", "RUN", "--out", "/proc/none/x.html"],
        ["report", "RUN", "--out", "/dev/full"],
        ["compare", "RUN", "RUN2", "--out", "/proc/none"],
        ["analyze", "--from", "RUN", "--out", "/proc/none"],
    ],
)
def test_an_error_of_the_system_is_one_sentence(tmp_path, words):
    runs = {"RUN": stored(tmp_path / "a", snapshot_of(0)), "RUN2": stored(tmp_path / "b", snapshot_of(0, seed=5))}
    with pytest.raises(SystemExit, match=rf"rra-monitor {words[0]}: \[Errno \d+\] "):
        run(*(runs.get(word, word) for word in words))
