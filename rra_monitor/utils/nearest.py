"""The name that somebody meant."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The most similar of several names; None where none is similar.

    >>> nearest("every_n_epoch", ["layers", "every_n_epochs"])
    'every_n_epochs'
    """
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)
