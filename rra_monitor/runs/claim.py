"""The claim on a run's directory: which process writes to it, and whether the next one may go on there.

`claim.json` in the directory names the process, a random token of the run, its configuration and its state. Anybody may
have written it, so it is checked; one that is damaged counts as none.
"""

import hashlib
import json
import os
import secrets
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rra_monitor.capture.names import check_name
from rra_monitor.measure.settings import Settings
from rra_monitor.runs.files import RunFiles
from rra_monitor.runs.lines import RECORDS
from rra_monitor.runs.reading import SNAPSHOTS

CLAIM = "claim.json"
"""The name of the file in a run's directory."""

CLAIM_BYTES = 10_000
"""Largest file that is read; one has some 300 bytes."""

SILENT_SECONDS = 3600.0
"""Time after which a process of another machine, which cannot be looked up, counts as dead if it wrote nothing."""

State = Literal["running", "interrupted", "finished"]
STATES = ("running", "interrupted", "finished")


@dataclass(frozen=True)
class Claim:
    """A directory that was claimed for a run.

    Attributes:
        path: directory of the run, another one than was asked for if that could not be taken.
        token: random name of the run; a checkpoint that carries it proves that it belongs to this run.
        remarks: sentences to tell the user.
        set_aside: number of snapshots of an earlier attempt that were set aside.
    """

    path: str
    token: str
    remarks: list[str]
    set_aside: int


@dataclass(frozen=True)
class Holder:
    """What `claim.json` says.

    Attributes:
        host: name of the machine.
        space: space in which the process has its number; containers of one machine have their own.
        process: number of the process.
        started: start time of the process in the system's own unit, empty where it is unknown.
        time: wall time of the claim in seconds.
        token: random name of the run.
        configuration: digest, see `configuration`.
        state: "running", "interrupted" (the training ended early and said so), or "finished".
    """

    host: str
    space: str
    process: int
    started: str
    time: float
    token: str
    configuration: str
    state: State

    @property
    def of_this_process(self) -> bool:
        """Whether this process wrote it."""
        return (self.host, self.space, self.process, self.started) == _here()

    def ended(self, state: State) -> "Holder":
        """The same run in another state."""
        return replace(self, state=state)

    def encoded(self) -> bytes:
        """The contents of the file."""
        return json.dumps(asdict(self), indent=1).encode() + b"\n"


def new_holder(configuration: str, token: str | None) -> Holder:
    """The claim of this process, on a new run if the token is None."""
    return Holder(*_here(), time.time(), token or secrets.token_hex(16), configuration, "running")


def configuration(settings: Mapping[str, Settings], layers: Iterable[str], quantities: Iterable[str]) -> str:
    """A digest of what makes two runs the same configuration; their snapshots can be compared one by one.

    Args:
        settings: probe to its settings. Samples, labels, k, metric, fingerprint, views and
            estimator count, the backend does not.
        layers: layers, as they are asked for or as they are measured, but always in the same one of the two ways.
        quantities: names of the quantities.
    """
    digest = hashlib.sha256()
    for probe in sorted(settings):
        one = settings[probe]
        digest.update(
            repr((probe, one.n, one.k, one.metric, one.fingerprint, tuple(one.views), one.estimator)).encode()
        )
        for array in (one.ids, one.labels):
            digest.update(b"none" if array is None else np.ascontiguousarray(array, np.int64).tobytes())
    digest.update(repr((tuple(layers), sorted(quantities))).encode())
    return digest.hexdigest()[:32]


def held_by(files: RunFiles) -> Holder | None:
    """What the claim of a directory says, None where there is none.

    Raises:
        ValueError: a file that is damaged or foreign; it is named.
    """
    try:
        data = files.read(CLAIM)
    except FileNotFoundError:
        return None
    try:
        if len(data) > CLAIM_BYTES:
            raise ValueError(f"{len(data):,} bytes")
        return _checked(json.loads(data))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{files.at(CLAIM)} is damaged, or another program wrote it ({error!r:.100})") from None


def occupied(files: RunFiles) -> bool:
    """Whether a directory holds anything of a run but a claim.

    Raises:
        ValueError: a folder that is outside the run's directory.
    """
    return RECORDS in files.names() or any(files.names(SNAPSHOTS, probe) for probe in files.names(SNAPSHOTS))


def objection(
    files: RunFiles, holder: Holder | None, asked: str, resumes: bool, token: str | None, held_here: bool
) -> str | None:
    """Why a run must not write to a directory, None if it may.

    Args:
        files: files of the directory.
        holder: what its claim says.
        asked: configuration of the run.
        resumes: whether the run goes on from a checkpoint.
        token: token in that checkpoint.
        held_here: whether another run of this very process has the claim.
    """
    if holder is not None and _is_living(holder, files, token, held_here):
        return f"process {holder.process} on {holder.host} writes to it"
    if not occupied(files):
        return None
    if holder is None:
        return None if resumes else "it holds an earlier run"
    if resumes and token is not None and token != holder.token:
        return "it holds another run than the one that this training resumes"
    if holder.configuration != asked:
        return "it holds a run of another configuration (other samples, k, layers, views, quantities or estimator)"
    return "it holds a run that is finished" if holder.state == "finished" and not resumes else None


def _is_living(holder: Holder, files: RunFiles, token: str | None, held_here: bool) -> bool:
    if holder.state != "running":
        return False
    if holder.of_this_process:
        return held_here
    if (holder.host, holder.space) == _here()[:2]:
        return _is_alive(holder.process, holder.started)
    return token != holder.token and time.time() - files.modified(CLAIM) < SILENT_SECONDS


def _is_alive(process: int, started: str) -> bool:
    if (found := _started(process)) is not None:
        return found == started
    if Path("/proc/self/stat").exists():
        return False
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def _here() -> tuple[str, str, int, str]:
    """Host, space, number and start time of this process."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:  # another system than Linux
        space = ""
    return socket.gethostname(), space, os.getpid(), _started(os.getpid()) or ""


def _started(process: int) -> str | None:
    """Start time of a process in ticks since the machine started, None if it has ended or there is no /proc."""
    try:
        # The name of the program, in brackets, may hold anything.
        state, *fields = Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return None if state in "ZX" else fields[18]
    except (OSError, IndexError, ValueError):
        return None


def _checked(stored: Any) -> Holder:
    if not isinstance(stored, dict):
        raise TypeError("no object")
    number = stored["process"]
    if type(number) is not int or not 0 < number < 2**31:
        raise ValueError("no number of a process")
    when = stored["time"]
    if type(when) not in (int, float) or not abs(when) < 1e300:
        raise ValueError("no time")
    if stored["state"] not in STATES:
        raise ValueError("no state")
    texts = {name: stored[name] for name in ("space", "started")}
    if not all(isinstance(text, str) and len(text) < 100 and text.isprintable() for text in texts.values()):
        raise ValueError("no process")
    names = {name: check_name(stored[name], name) for name in ("host", "token", "configuration")}
    return Holder(**names, **texts, process=number, time=float(when), state=stored["state"])
