"""A reader each of whose reads breaks one rule on damaged input: shows that the harness notices. Not in READERS."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from random import Random

from . import guard
from .harness import Files

guard.SECONDS = 1


def whole() -> Files:
    return {"input": b"whole"}


def beside() -> Files:
    return {"other": b"may be read"}


def mutated(files: Files, random: Random) -> Files:
    return {"input": random.choice([b"damaged", b"fatal"])}


def reads(run: Path) -> dict[str, Callable[[], object]]:
    """Name of the rule to a read that breaks it, and three that break none."""

    def when(contents: bytes, act: Callable[[], object]) -> Callable[[], object]:
        return lambda: act() if (run / "input").read_bytes() == contents else None

    def swallowed() -> None:
        with contextlib.suppress(BaseException):
            (run.parent / "secret" / "secret.txt").read_bytes()

    rules: dict[str, Callable[[], object]] = {
        "fine": lambda: (run.parent / "beside" / "other").read_bytes(),
        "fine writing": lambda: (run / "output").write_bytes(b""),
        "fine warning": lambda: warnings.warn(f"{run}: a file is left out", stacklevel=1),
        "another exception": lambda: {}["x"],
        "not our ValueError": lambda: int("x"),
        "nameless warning": lambda: warnings.warn("something is left out", stacklevel=1),
        "time": lambda: time.sleep(60),
        "memory": lambda: bytearray(4 * guard.SPARE),
        "reading outside": lambda: (run.parent / "secret" / "secret.txt").read_bytes(),
        "reading outside, swallowed": swallowed,
        "listing outside": lambda: os.listdir("/"),
        "writing outside": lambda: (run.parent / "beside" / "new").write_bytes(b""),
        "moving outside": lambda: os.replace(run / "output", run.parent / "moved"),
        "a program": lambda: subprocess.run([sys.executable, "-c", ""], check=True),
    }
    crash = {"a crash": when(b"fatal", lambda: os.kill(os.getpid(), signal.SIGKILL))}
    return {name: when(b"damaged", act) for name, act in rules.items()} | crash
