"""What a terminal is sent of names and messages that somebody else may have written."""

import warnings

from rra_monitor.utils.terminal import cell, one_sentence, print_line, print_trace
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
