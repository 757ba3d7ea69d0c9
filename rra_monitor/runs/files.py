"""The files of a run, on disk or object storage: what reading, writing, moving and removing them means."""

import contextlib
from collections.abc import Mapping
from typing import Protocol

TEMPORARY = ".tmp"
"""Suffix of files that are being written, or whose writer was killed."""


class RunFiles(Protocol):
    """Files by the parts of their paths below the run's directory.

    Errors of the storage itself (a full disk, a lost connection) are OSErrors.
    """

    def at(self, *parts: str) -> str:
        """The whole path, for messages."""

    def names(self, *folder: str) -> list[str]:
        """Names in a folder, sorted; none where there is no such folder."""

    def read(self, *parts: str) -> bytes:
        """The contents of a file.

        Raises:
            FileNotFoundError: there is none.
            ValueError: it is not a regular file, or is outside the run's directory; it is named.
        """

    def locked(self, *folder: str) -> contextlib.AbstractContextManager[bool]:
        """A lock on a folder, which is created; yields whether all other writers are kept out."""

    def alone(self, name: str) -> contextlib.AbstractContextManager[None]:
        """A lock on the run's directory, which is created; where folders cannot be locked, a file of that name."""

    def touch(self, name: str) -> bool:
        """Say that a file of the run's directory is in use now; return whether it was there."""

    def modified(self, name: str) -> float:
        """When a file of the run's directory was last written or touched, in seconds; now where that is unknown."""

    def stamp(self, *folder: str) -> int:
        """A number that changes with the names in a folder."""

    def stamped(self, *folder: str) -> int:
        """A new stamp, which any later change by another writer replaces."""

    def write(self, folder: tuple[str, ...], files: Mapping[str, bytes], mark: str) -> None:
        """Write files of one folder in their order, each as a whole or not at all.

        Args:
            folder: folder of the files.
            files: names to contents.
            mark: part of the temporary names, see `temporary`.
        """

    def append(self, name: str, data: bytes) -> None:
        """Append a line to a file of the run's directory, in one piece; it begins a line whatever stands before it."""

    def move(self, source: tuple[str, ...], target: tuple[str, ...]) -> bool:
        """Move a file, over another one if necessary; return whether it was there."""

    def remove(self, *parts: str) -> None:
        """Remove a file if it is there."""


def temporary(name: str, mark: str) -> str:
    """The name of a file while it is written."""
    return f"{name}.{mark}{TEMPORARY}"
