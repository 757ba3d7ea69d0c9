"""What a terminal is sent of names and messages that somebody else may have written."""

import io
import sys
import warnings

import pytest

from rra_monitor.utils.terminal import cell, one_sentence, passing_progress, print_line, print_trace
from tests.helpers.terminals import EVIL, is_visible, printed


def test_print_line_and_cell_show_markup_and_controls_as_text():
    assert is_visible(text := printed(lambda console: print_line(console, f"a {EVIL}")))
    assert "[/b][red]" in text
    assert len(cell("x" * 100_000)) < 1000


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


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_passing_progress_is_shown_on_stderr_if_it_is_a_terminal_alone(stream, monkeypatch, capsys):
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", stream())
    with passing_progress() as progress:
        assert list(progress.track([1, 2], description="reading runs")) == [1, 2]
    assert ("reading runs" in sys.stderr.getvalue()) == (stream is Terminal)
    assert capsys.readouterr().out == ""
