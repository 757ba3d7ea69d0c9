"""The bounds of one read: time, memory, and the folders that it may touch."""

import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SECONDS = 10
"""For one read. Readers answer in milliseconds; a busy machine takes longer."""

SPARE = 200 << 20
FACTOR = 10
"""Memory: FACTOR times the size of what is read, plus SPARE."""

WRITES = {"os.mkdir", "os.remove", "os.rmdir", "os.rename", "os.link", "os.symlink", "os.truncate", "os.chmod"}
FOLLOWS = {"os.truncate", "os.chmod"}
"""Of these, the ones that act on what a link points to."""

LISTS = {"os.listdir", "os.scandir", "os.chdir"}
EXECUTES = {
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "os.forkpty",
    "socket.connect",
    "urllib.Request",
    "pickle.find_class",
    "ctypes.dlopen",
}

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = [
    os.path.realpath(place)
    for place in (*filter(None, sys.path), sys.prefix, sys.base_prefix, REPOSITORY, "/usr", "/lib", "/lib64")
]
"""Where Python reads its own modules."""

SYSTEM = ("/proc", "/sys", "/dev/null", "/dev/urandom")


class TooLate(BaseException):
    """The time is up."""


class Outside(BaseException):
    """A file that the read must not touch."""


class _Watch:
    """What the audit hook, which cannot be removed, goes by."""

    def __init__(self) -> None:
        self.active = False
        self.installed = False
        self.readable: list[str] = []
        self.writable: list[str] = []
        self.found: list[str] = []

    def __call__(self, event: str, args: tuple[object, ...]) -> None:
        if not self.active:
            return
        self.active = False  # what is called from here is not looked at
        try:
            if event == "open":
                self._look(args[0], bool(int(args[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)))  # type: ignore[call-overload]
            elif event in LISTS:
                self._look(args[0] or ".", False)
            elif event in WRITES or event.startswith("shutil."):
                for path in args[: 2 if event in ("os.rename", "os.link") or event.startswith("shutil.") else 1]:
                    self._look(path, True, follow=event in FOLLOWS)
            elif event in EXECUTES:
                self._stop(f"{event} {args[:2]!r:.200}")
        finally:
            self.active = True

    def _look(self, path: object, writes: bool, follow: bool = True) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return  # a file that is open already
        folder, name = os.path.split(os.fsdecode(path))
        real = os.path.realpath(os.fsdecode(path)) if follow else os.path.join(os.path.realpath(folder), name)
        if _within(real, self.writable):
            return
        cached = "__pycache__" in real and _within(real, PROGRAM)
        if not cached and (writes or not _within(real, [*self.readable, *PROGRAM, *SYSTEM])):
            self._stop(f"{'writes' if writes else 'reads'} {real}")

    def _stop(self, what: str) -> None:
        self.found.append(what)
        raise Outside(what)


_watch = _Watch()


def _within(path: str, folders: list[str]) -> bool:
    return any(path == folder or path.startswith(folder.rstrip("/") + "/") for folder in folders)


@contextmanager
def bounded(run: Path, beside: Path, size: int) -> Iterator[list[str]]:
    """Within it, what goes beyond a bound is stopped; yields the list of touched files and started programs.

    Args:
        run: the input; may be read and written, and so may `run-1`, where a run goes that must not be mixed with it.
        beside: what else may be read.
        size: bytes of the input.
    """
    if not _watch.installed:
        sys.addaudithook(_watch)
        _watch.installed = True
    _watch.writable = [os.path.realpath(run), f"{os.path.realpath(run)}-1"]
    _watch.readable, _watch.found = [os.path.realpath(beside)], []

    def too_late(signum: int, frame: object) -> None:
        raise TooLate(f"no answer within {SECONDS} s")

    before = signal.signal(signal.SIGALRM, too_late)
    limits = resource.getrlimit(resource.RLIMIT_DATA)
    if used := data_bytes():
        resource.setrlimit(resource.RLIMIT_DATA, (used + FACTOR * size + SPARE, limits[1]))
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    _watch.active = True
    try:
        yield _watch.found
    finally:
        _watch.active = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_DATA, limits)
        signal.signal(signal.SIGALRM, before)


def data_bytes() -> int:
    """Bytes that the process holds or has reserved to write to; 0 where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmData:")), 0)
