"""What commands print of names and messages that a file, or a foreign directory, holds."""

import io
import json
import warnings

import pytest
from rich.console import Console

import rra_monitor as rra
from rra_monitor.cli.analyze import table
from rra_monitor.cli.compare import _curve_tables
from rra_monitor.utils.terminal import cell, one_sentence, print_line, print_trace
from rra_monitor.utils.text import shortened, visible
from tests.helpers.digit_runs import stored
from tests.helpers.recipe_runs import run
from tests.helpers.snapshots import snapshot_of

EVIL = "\x1b]0;TITLE\x1b\\\x1b]52;c;cm0gLXJmIH4=\x07\x1b[2K\x1b[1A\r\x9b31m\u202e[/b][red]\ud800\n"


def printed(write):
    """What a terminal would be sent, and the console's own codes are none of it."""
    stream = io.StringIO()
    write(Console(file=stream, force_terminal=True, color_system=None, width=200))
    return stream.getvalue()


def is_visible(text):
    return all(letter.isprintable() or letter == "\n" for letter in text)


def test_visible_leaves_nothing_for_a_terminal_to_obey_and_honest_text_as_it_is():
    assert visible(EVIL).isprintable()
    assert visible(EVIL).startswith(r"\x1b]0;TITLE\x1b\\x1b]52;c;")
    assert visible("Läyer 3.2 @avg4 → 日本") == "Läyer 3.2 @avg4 → 日本"


def test_shortened_keeps_both_ends_within_the_bound():
    for most in (5, 8, 60):
        assert len(shortened("begin" + "x" * 10_000 + "end", most)) == most
    assert shortened("x" * 60, 60) == "x" * 60


def test_print_line_and_cell_show_markup_and_controls_as_text():
    assert is_visible(text := printed(lambda console: print_line(console, f"a {EVIL}")))
    assert "[/b][red]" in text
    assert len(cell("x" * 100_000)) < 1000


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


def test_warnings_and_traces_of_a_command_are_visible(capsys):
    with one_sentence("x"), warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings._showwarnmsg_impl = lambda message: print(warnings._formatwarnmsg(message))
        warnings.warn(f"left out: {EVIL}", stacklevel=1)
    assert is_visible(text := capsys.readouterr().out)
    assert "left out: " in text
    error = KeyError(EVIL)
    print_trace(type(error), error, None)
    assert is_visible(capsys.readouterr().err)
