"""Packages that only some commands need."""

import importlib
import importlib.util
from typing import Any


def required(name: str, what: str) -> Any:
    """A module that `what` needs.

    Raises:
        ValueError: its package is not installed; how to install it.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        root = name.partition(".")[0]
        if error.name != root:
            raise
        raise ValueError(f"{what} needs {root}, which is not installed: pip install {root}") from error
