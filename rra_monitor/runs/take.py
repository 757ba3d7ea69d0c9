"""Taking a directory for a run, and giving it back."""

import contextlib
import errno
import itertools
import os
import uuid
import weakref
from collections.abc import Iterator
from dataclasses import dataclass

from rra_monitor.runs.aside import finish, remove_temporary, set_aside
from rra_monitor.runs.claim import CLAIM, Holder, State, held_by, new_holder, objection, occupied
from rra_monitor.runs.files import RunFiles
from rra_monitor.runs.lines import RECORDS
from rra_monitor.runs.reading import SAMPLES, SNAPSHOTS, SnapshotReader
from rra_monitor.runs.storage import files_of

LOCK = "claim.lock"
"""File that stands for a lock on the directory where folders cannot be locked."""

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors that may pass during a training."""

_HELD: weakref.WeakValueDictionary[str, object] = weakref.WeakValueDictionary()
"""Token of each claim of this process to the store that holds it."""


@dataclass(frozen=True)
class Asked:
    """The run that asks for a directory.

    Attributes:
        configuration: digest, see `rra_monitor.runs.claim.configuration`.
        step: step of the checkpoint from which it goes on, 0 if it starts anew.
        token: token in that checkpoint, None if it has none.
    """

    configuration: str
    step: int
    token: str | None


def take(path: str, base: str, asked: Asked, owner: object, remarks: list[str]) -> tuple[str, Holder, int]:
    """Claim a directory, or the first one beside it that may be taken.

    Args:
        path: directory to begin with.
        base: path to which numbers are appended.
        asked: run that asks.
        owner: store that holds the claim as long as it lives.
        remarks: list to which the reasons are added why a directory is left alone.

    Returns:
        Path that was taken, what its claim says, and the number of snapshots that were set aside.

    Raises:
        OSError: a directory that cannot be made or written to.
    """
    for place in itertools.chain([path], _beside(base)):
        files = files_of(place)
        with files.alone(LOCK):
            try:
                against, token = _looked_at(files, asked, remarks)
                if against is None:
                    holder = new_holder(asked.configuration, token)
                    try:
                        write(files, holder)
                    except OSError as error:
                        if error.errno not in FULL:
                            raise
                        remarks.append(f"{place}: {error.strerror}; what finds room is stored")
                    _mend(files)
                    count = set_aside(files, asked.step or -1)
                    _HELD[holder.token] = owner
                    return place, holder, count
            except ValueError as error:
                against = str(error)
        remarks.append(f"{place} is left alone: {against}")
    raise AssertionError("numbers have no end")


def give_back(files: RunFiles, holder: Holder, state: State) -> None:
    """End a claim, and leave no directory where nothing was stored.

    Errors of the storage are passed over, and so is a claim that another process has taken since.
    """
    let_go(holder)
    empty = False
    with contextlib.suppress(OSError, ValueError), files.alone(LOCK):
        found = held_by(files)
        if found is not None and found.of_this_process and found.token == holder.token:
            empty = set(files.names()) <= {CLAIM, LOCK}
            if empty:
                files.remove(CLAIM)
            else:
                write(files, holder.ended(state))
    if empty:
        with contextlib.suppress(OSError):  # somebody else's by now, or object storage
            os.rmdir(files.at())


def let_go(holder: Holder) -> None:
    """Let other stores of this process take the run."""
    _HELD.pop(holder.token, None)


def write(files: RunFiles, holder: Holder) -> None:
    """Write the claim of a directory."""
    files.write((), {CLAIM: holder.encoded()}, uuid.uuid4().hex)


def _looked_at(files: RunFiles, asked: Asked, remarks: list[str]) -> tuple[str | None, str | None]:
    """Why a directory may not be taken, None if it may; the token of its run if that goes on."""
    try:
        holder = held_by(files)
    except ValueError as error:
        remarks.append(f"{error}; it counts as none")
        holder = None
    held_here = holder is not None and holder.token in _HELD
    against = objection(files, holder, asked.configuration, asked.step > 0, asked.token, held_here)
    return against, holder.token if holder is not None and occupied(files) else None


def _mend(files: RunFiles) -> None:
    """Finish or remove what killed writers left."""
    reader = SnapshotReader(files)
    for probe in files.names(SNAPSHOTS):
        with files.locked(SNAPSHOTS, probe) as alone:
            if alone:
                finish(files, reader, probe)
    remove_temporary(files, SAMPLES)
    for name in (CLAIM, RECORDS):
        remove_temporary(files, of=f"{name}.")


def _beside(path: str) -> Iterator[str]:
    """The path with -1, -2, …"""
    if "://" in path:
        path = path if path.endswith("://") else path.rstrip("/")
    else:
        path = os.path.normpath(path)
        path = os.path.abspath(path) if os.path.basename(path) in (".", "..", "") else path
    return (f"{path}-{number}" for number in itertools.count(1))
