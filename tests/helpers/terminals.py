"""Text that a terminal would obey, and what it is sent instead."""

import io

from rich.console import Console

EVIL = "\x1b]0;TITLE\x1b\\\x1b]52;c;cm0gLXJmIH4=\x07\x1b[2K\x1b[1A\r\x9b31m\u202e[/b][red]\ud800\n"


def printed(write):
    """What a terminal would be sent, and the console's own codes are none of it."""
    stream = io.StringIO()
    write(Console(file=stream, force_terminal=True, color_system=None, width=200))
    return stream.getvalue()


def is_visible(text):
    return all(letter.isprintable() or letter == "\n" for letter in text)
