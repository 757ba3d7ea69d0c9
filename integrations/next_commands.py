"""The commands that show a run, for the end of its fit."""

import glob
import os
import shlex
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

from rra_monitor.runs.bounded import Bounded
from rra_monitor.runs.store import RunStore

SECONDS = 5.0
"""Longest time that a directory may take to say what is in it."""


def next_commands(store: RunStore | None, loggers: Iterable[Any]) -> list[str]:
    """The command of the report of a run, and that of TensorBoard where there are logs for it.

    They name absolute paths, since a training may have changed its working directory.

    Args:
        store: store of the run, if any.
        loggers: loggers of the trainer.

    Returns:
        The commands, to be pasted into a shell; none where nothing is stored.
    """
    if store is None or not store.writable or store.path.startswith("memory://") or not _holds_snapshots(store):
        return []
    commands = [["rra-monitor", "report", store.path]]
    if find_spec("tensorboard") is not None:
        folders = dict.fromkeys(folder for logger in loggers if (folder := _tensorboard_folder(logger)))
        commands += [["tensorboard", "--logdir", folder] for folder in folders]
    # Control characters in a path would act on the terminal.
    return [shlex.join(words) for words in commands if all(word.isprintable() for word in words)]


def _holds_snapshots(store: RunStore) -> bool:
    found: list[bool] = []
    bounded = Bounded("rra: what is stored")
    try:
        bounded.call(lambda: found.append(bool(store.probes())), SECONDS)
    except Exception:  # an unreachable storage; that nothing was stored has been said
        return False
    finally:
        bounded.close()
    return any(found)


def _tensorboard_folder(logger: Any) -> str | None:
    """The directory into which a logger has written events; None for another logger."""
    if not any(kind.__name__ == "TensorBoardLogger" for kind in type(logger).__mro__):
        return None
    try:
        folder = os.path.abspath(logger.log_dir)
    except Exception:  # whatever a logger raises, at the end of a training
        return None
    return folder if glob.glob(f"{glob.escape(folder)}/events.out.tfevents.*") else None
