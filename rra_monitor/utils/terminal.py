"""What the commands print, so that no text from a file controls the terminal."""

import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from rra_monitor.utils.text import sentence, shortened, visible

CELL = 200
"""Longest name in a table, in characters."""


def print_line(console: Any, text: str, **options: Any) -> None:
    """Print a text on a `rich.console.Console` without interpreting it: no markup, no colours, nothing invisible."""
    console.print(visible(text), markup=False, highlight=False, **options)


def cell(text: str) -> Any:
    """A name in a table of `rich`."""
    from rich.text import Text

    return Text(shortened(visible(text), CELL))


def heading(text: str) -> Any:
    """A title of a table or of a column of `rich`, which may have several lines."""
    from rich.text import Text

    return Text("\n".join(map(visible, text.split("\n"))))


def passing_progress(*columns: Any) -> Any:
    """A `rich.progress.Progress` on stderr that is gone when its context ends; nothing where stderr is no terminal.

    Args:
        columns: columns of the bar; those of `rich` by default.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    return Progress(*columns, transient=True, console=console, disable=not console.is_terminal)


@contextmanager
def one_sentence(command: str, *errors: type[Exception]) -> Iterator[None]:
    """A context in which a refusal ends the command with one sentence, and warnings are visible.

    Args:
        command: name of the command.
        errors: further errors that are refusals, besides ValueError and OSError.
    """
    refusals: tuple[type[Exception], ...] = (ValueError, OSError, *errors)
    before = warnings.formatwarning

    def visible_warning(message: Any, *about: Any, **more: Any) -> str:
        return before(sentence(message), *about, **more)

    warnings.formatwarning = visible_warning
    try:
        yield
    except refusals as error:
        raise SystemExit(f"rra-monitor {command}: {sentence(error)}") from error
    finally:
        warnings.formatwarning = before


def print_trace(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an error that nobody caught, for `sys.excepthook`; the message may quote a file."""
    text = "".join(traceback.format_exception(kind, error, trace))
    print("\n".join(map(visible, text.split("\n"))), end="", file=sys.stderr)
