"""Following what the text of an error or a warning advises."""

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest


class Remedy:
    """A text, a call that is refused with it, and calls that do what it advises and are not refused.

    Args:
        says: part of the text as the source has it, with `{}` for a value. tests/test_remedies.py finds it there, and
            that it holds all that the text names.
        refused: call that raises the error, or warns.
        followed: calls that follow the advice, each with one of the things that it names.
    """

    def __init__(self, says: str, refused: Callable[[], object], *followed: Callable[[], object]) -> None:
        self.says, self.refused, self.followed = says, refused, followed

    def __str__(self) -> str:
        return re.sub(r"\W+", "-", self.says)[:60]

    def check(self) -> None:
        with refusal(self.says):
            self.refused()
        assert self.followed
        with warnings_as_errors(self.says):
            for call in self.followed:
                call()


@contextmanager
def refusal(says: str) -> Iterator[None]:
    """A context that must end with an error, or a warning, in these words of the source."""
    with pytest.raises((Exception, SystemExit)) as caught, warnings_as_errors(says):
        yield
    assert_says(says, str(caught.value))


def assert_says(says: str, text: str) -> None:
    """These words of the source are in the text."""
    assert re.search(pattern(says), text), f"{says!r} is not in {text!r}"


@contextmanager
def warnings_as_errors(says: str) -> Iterator[None]:
    """A context in which a warning in these words of the source is an error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", f".*{pattern(says)}")
        yield


def pattern(says: str) -> str:
    """A regular expression for words of the source with their values."""
    return "(?s:" + re.escape(says).replace(re.escape("{}"), ".*") + ")"
