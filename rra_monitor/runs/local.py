"""The files of a run in a directory of this machine.

Nothing outside the run's directory is touched: links that lead out of it are refused, and so is anything but a regular
file (a pipe would block its reader, a device never end). A writer holds a lock on the folder, so that two writers do
not mix their files. Readers hold none and change nothing.
"""

import contextlib
import os
import stat
import time
from collections.abc import Iterator, Mapping

from rra_monitor.runs.files import RunFiles, temporary

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK_SECONDS = 10.0
"""Time that a writer waits for another one before it continues without the lock."""

STAMP_NS = 10_000_000_000
"""Age of a stamp: it lies that many nanoseconds in the past."""

_NO_WAIT = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


def local_files(root: str) -> RunFiles:
    """The files below a directory of this machine."""
    return _LocalFiles(root)


class _LocalFiles:
    """Files of a directory of this machine; see `RunFiles`."""

    def __init__(self, root: str) -> None:
        self._root = root

    def at(self, *parts: str) -> str:
        return os.path.join(self._root, *parts)

    def names(self, *folder: str) -> list[str]:
        path = self._inside(*folder)
        try:
            return sorted(os.listdir(path))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise ValueError(_unreadable(path, error)) from error

    def read(self, *parts: str) -> bytes:
        path = self._regular(*parts)
        try:
            with open(os.open(path, os.O_RDONLY | _NO_WAIT), "rb") as file:
                status = os.fstat(file.fileno())
                _refuse_odd(path, status)
                return file.read(status.st_size)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise ValueError(_unreadable(path, error)) from error

    @contextlib.contextmanager
    def locked(self, *folder: str) -> Iterator[bool]:
        self._made(*folder)
        with contextlib.ExitStack() as stack:
            yield fcntl is not None and _lock(self.at(*folder), stack)

    @contextlib.contextmanager
    def alone(self, name: str) -> Iterator[None]:
        with self.locked() as locked:
            if locked:
                yield
                return
            path = self.at(name)
            _create(path)
            try:
                yield
            finally:
                with contextlib.suppress(OSError):
                    os.remove(path)

    def touch(self, name: str) -> bool:
        try:
            os.utime(self._inside(name))
        except FileNotFoundError:
            return False
        return True

    def modified(self, name: str) -> float:
        try:
            return os.stat(self._inside(name)).st_mtime
        except FileNotFoundError:
            return time.time()

    def stamp(self, *folder: str) -> int:
        try:
            return os.stat(self._inside(*folder)).st_mtime_ns
        except FileNotFoundError:  # somebody deleted it meanwhile
            return -1

    def stamped(self, *folder: str) -> int:
        # The system's times advance in steps of up to 10 ms, on some disks of seconds, so two changes within one step
        # would look alike. A time in the past, which no change can have, differs from the time of every change.
        try:
            os.utime(self._inside(*folder), ns=(time.time_ns(), time.time_ns() - STAMP_NS))
        except OSError:  # another user's folder, or it was deleted
            return -1
        return self.stamp(*folder)

    def write(self, folder: tuple[str, ...], files: Mapping[str, bytes], mark: str) -> None:
        for attempt in range(3):
            self._made(*folder)
            try:
                self._write(folder, files, mark)
                return
            except FileNotFoundError:  # somebody deleted the folder meanwhile
                if attempt == 2:
                    raise

    def _write(self, folder: tuple[str, ...], files: Mapping[str, bytes], mark: str) -> None:
        targets = {self.at(*folder, name): self.at(*folder, temporary(name, mark)) for name in files}
        renamed = 0
        try:
            for path, data in zip(targets.values(), files.values(), strict=True):
                with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_WAIT, 0o666), "wb") as file:
                    file.write(data)
            for target, path in targets.items():
                os.replace(path, target)
                renamed += 1
        except BaseException:
            # Once the first is in place, the others stay: readers and the next writer use them.
            for path in targets.values() if renamed == 0 else ():
                with contextlib.suppress(FileNotFoundError):
                    os.remove(path)
            raise

    def append(self, name: str, data: bytes) -> None:
        self._made()
        try:
            path = self._regular(name)
        except FileNotFoundError:
            path = self.at(name)
        # Unbuffered: one call writes one piece, and no other writer can write into it.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | _NO_WAIT
        with open(os.open(path, flags, 0o666), "ab", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size:
                os.lseek(file.fileno(), size - 1, os.SEEK_SET)
                data = data if os.read(file.fileno(), 1) == b"\n" else b"\n" + data
            written = 0
            try:
                while written < len(data):
                    written += file.write(data[written:])
            except OSError:
                # A full disk took a part. Unless another writer has appended since, take it back.
                if os.fstat(file.fileno()).st_size == size + written:
                    os.ftruncate(file.fileno(), size)
                raise

    def move(self, source: tuple[str, ...], target: tuple[str, ...]) -> bool:
        self._inside(*source[:-1])
        self._made(*target[:-1])
        try:
            os.replace(self.at(*source), self.at(*target))
        except FileNotFoundError:
            return False
        return True

    def remove(self, *parts: str) -> None:
        self._inside(*parts[:-1])
        with contextlib.suppress(FileNotFoundError):
            os.remove(self.at(*parts))

    def _made(self, *folder: str) -> str:
        path = self._inside(*folder)
        os.makedirs(path, exist_ok=True)
        return path

    def _inside(self, *parts: str) -> str:
        """The path, refused if it leads out of the run's directory."""
        path, root = self.at(*parts), os.path.realpath(self._root)
        real = os.path.realpath(path)
        if real != root and not real.startswith(root.rstrip(os.sep) + os.sep):
            raise ValueError(
                f"{path} leads to {real}, outside the run's directory, and is not followed; put what it links to in "
                "its place"
            )
        return path

    def _regular(self, *parts: str) -> str:
        """The path of a regular file or of no file; others are refused: opening a pipe or a device can block or act."""
        path = self._inside(*parts)
        try:
            status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(path) from None
        except OSError as error:
            raise ValueError(_unreadable(path, error)) from error
        _refuse_odd(path, status)
        return path


def _lock(folder: str, stack: contextlib.ExitStack) -> bool:
    """Lock a folder until the stack ends; whether that was possible (some network file systems cannot)."""
    try:
        opened = os.open(folder, os.O_RDONLY)
    except OSError:
        return False
    stack.callback(os.close, opened)
    until = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Closing is not enough: a process forked meanwhile (a worker of a data loader) has it open, too.
            stack.callback(fcntl.flock, opened, fcntl.LOCK_UN)
            return True
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(0.005)
        except OSError:
            return False


def _create(path: str) -> None:
    """Create a file that no other process has, as soon as none has it; one that was left behind is taken over."""
    until = time.monotonic() + LOCK_SECONDS
    while time.monotonic() < until:
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_WAIT, 0o666))
        except FileExistsError:
            time.sleep(0.02)
        else:
            return


def _refuse_odd(path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
        kind = next((name for holds, name in kinds if holds(status.st_mode)), "a device")
        raise ValueError(f"{path} is {kind}, expected a file; remove it, or put a file in its place")


def _unreadable(path: str, error: OSError) -> str:
    return f"{path} cannot be read: {error.strerror or error}"
