"""The files of a run on object storage, or any other file system of fsspec."""

import contextlib
import posixpath
import time
from collections.abc import Iterator, Mapping

import fsspec

from rra_monitor.runs.files import RunFiles


def remote_files(system: fsspec.AbstractFileSystem, root: str) -> RunFiles:
    """The files below a path of a file system of fsspec."""
    return _RemoteFiles(system, root)


class _RemoteFiles:
    """Files of object storage; see `RunFiles`. One writer at a time; an object appears when it is complete."""

    def __init__(self, system: fsspec.AbstractFileSystem, root: str) -> None:
        self._system = system
        self._root = root

    def at(self, *parts: str) -> str:
        return posixpath.join(self._root, *parts)

    def names(self, *folder: str) -> list[str]:
        self._system.invalidate_cache()
        try:
            return sorted(
                posixpath.basename(str(at).rstrip("/")) for at in self._system.ls(self.at(*folder), detail=False)
            )
        except (FileNotFoundError, NotADirectoryError):
            return []

    def read(self, *parts: str) -> bytes:
        self._system.invalidate_cache()
        return bytes(self._system.cat_file(self.at(*parts)))

    @contextlib.contextmanager
    def locked(self, *folder: str) -> Iterator[bool]:
        self._system.makedirs(self.at(*folder), exist_ok=True)
        yield False

    @contextlib.contextmanager
    def alone(self, name: str) -> Iterator[None]:
        self._system.makedirs(self._root, exist_ok=True)
        yield

    def touch(self, name: str) -> bool:
        try:
            self._system.pipe_file(self.at(name), self.read(name))
        except FileNotFoundError:
            return False
        return True

    def modified(self, name: str) -> float:
        try:
            return float(self._system.modified(self.at(name)).timestamp())
        except (FileNotFoundError, NotImplementedError, AttributeError):
            return time.time()

    def stamp(self, *folder: str) -> int:
        return 0

    def stamped(self, *folder: str) -> int:
        return 0

    def write(self, folder: tuple[str, ...], files: Mapping[str, bytes], mark: str) -> None:
        for name, data in files.items():
            self._system.pipe_file(self.at(*folder, name), data)

    def append(self, name: str, data: bytes) -> None:
        # As a whole: on some object stores opening for appending overwrites what is there.
        try:
            before = self.read(name)
        except FileNotFoundError:
            self._system.makedirs(self._root, exist_ok=True)
            before = b""
        end = b"\n" if before and not before.endswith(b"\n") else b""
        self._system.pipe_file(self.at(name), before + end + data)

    def move(self, source: tuple[str, ...], target: tuple[str, ...]) -> bool:
        self._system.makedirs(self.at(*target[:-1]), exist_ok=True)
        try:
            self._system.mv(self.at(*source), self.at(*target))
        except FileNotFoundError:
            return False
        return True

    def remove(self, *parts: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._system.rm_file(self.at(*parts))
