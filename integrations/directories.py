"""The directory in which a trainer's run is stored."""

import os
from typing import Any

from lightning.pytorch import Trainer

from rra_monitor.runs.locate import CALLBACK_FOLDER
from rra_monitor.runs.store import RunStore


def default_directory(trainer: Trainer) -> str:
    """`rra` in the first logger's directory, beside the checkpoints; without a logger the first free `rra`, `rra-1`…"""
    if trainer.loggers:
        logger = trainer.loggers[0]
        version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
        return os.path.join(logger.save_dir or trainer.default_root_dir, str(logger.name), version, CALLBACK_FOLDER)
    number, path = 0, os.path.join(trainer.default_root_dir, CALLBACK_FOLDER)
    while RunStore(path).probes():
        number += 1
        path = os.path.join(trainer.default_root_dir, f"{CALLBACK_FOLDER}-{number}")
    return path


def lies_where_the_trainer_writes(path: Any, trainer: Trainer) -> bool:
    """Whether a path is a directory below the trainer's `default_root_dir` or a logger's `save_dir`.

    A checkpoint may come from somebody else: other directories that it names are not opened, not even to
    look whether they exist.

    Args:
        path: path in a checkpoint, of any type.
        trainer: trainer, whose directories may be URLs.
    """
    roots = [trainer.default_root_dir, *(logger.save_dir for logger in trainer.loggers)]
    return isinstance(path, str) and any(_is_below(path, os.fspath(root)) for root in roots if root)


def _is_below(path: str, root: str) -> bool:
    if not path.isprintable():
        return False
    path, root = path.removeprefix("file://"), root.removeprefix("file://")
    if not _is_address(path) and not _is_address(root):
        # A relative path could begin with ~, which opening it would expand.
        real = os.path.realpath(root)
        return os.path.isabs(path) and os.path.realpath(path).startswith(os.path.join(real, ""))
    within = path.removeprefix(root.rstrip("/") + "/")
    return within != path and not _is_address(within) and all(part not in ("", ".", "..") for part in within.split("/"))


def _is_address(path: str) -> bool:
    """Whether fsspec treats it as a URL, or as several in a chain."""
    return "://" in path or "::" in path
