"""The directory in which a trainer's run is stored."""

import os
import warnings
from typing import Any

from lightning.pytorch import Trainer

from rra_monitor.runs.locate import CALLBACK_FOLDER


def default_directory(trainer: Trainer) -> str:
    """`rra` in the first logger's directory, beside the checkpoints; in the trainer's own without a logger.

    What a logger does not say is left out; one that fails counts as none, with a warning. The store that claims the
    directory takes another one beside it if it is in use.
    """
    root = trainer.default_root_dir
    if trainer.loggers:
        logger = trainer.loggers[0]
        try:
            name, version = logger.name, logger.version
            if isinstance(version, int):
                version = f"version_{version}"
            parts = [str(part) for part in (name, version) if part is not None]
            return os.path.join(os.fspath(logger.save_dir or root), *parts, CALLBACK_FOLDER)
        except Exception as error:
            warnings.warn(
                f"{type(logger).__name__} does not say where it writes ({error!r}); this run is stored below {root}",
                stacklevel=2,
            )
    return os.path.join(root, CALLBACK_FOLDER)


def lies_where_the_trainer_writes(path: Any, trainer: Trainer) -> bool:
    """Whether a path is a directory below the trainer's `default_root_dir` or a logger's `save_dir`.

    A checkpoint may come from somebody else: other directories that it names are not opened, not even to
    look whether they exist.

    Args:
        path: path in a checkpoint, of any type.
        trainer: trainer, whose directories may be URLs.
    """
    roots = [trainer.default_root_dir, *map(_save_dir, trainer.loggers)]
    return isinstance(path, str) and any(_is_below(path, os.fspath(root)) for root in roots if root)


def _save_dir(logger: Any) -> Any:
    """The directory of a logger, None if it has none or fails."""
    try:
        return logger.save_dir
    except Exception:
        return None


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
