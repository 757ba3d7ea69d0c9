"""A run that a command reads: opened once, and each file of its curves read once."""

import os
from collections.abc import Mapping, Sequence

from rra_monitor.measure.match import Match
from rra_monitor.measure.snapshot import Snapshot
from rra_monitor.runs.locate import open_run
from rra_monitor.runs.store import RunStore

Compared = Sequence[tuple[Snapshot, Mapping[str, Match]]]
"""Snapshots without graphs, by step, each with the comparisons stored with it."""


class OpenedRun:
    """A stored run, with what was read of it.

    Args:
        store: store of the run.
        given: path by which it was named; that of the store if None.

    Attributes:
        store: store of the run, which reads its graphs.
        given: path by which it was named.
    """

    def __init__(self, store: RunStore, given: str | None = None) -> None:
        self.store = store
        self.given = store.path if given is None else given
        self._compared: dict[str, Compared] = {}

    @classmethod
    def at(cls, path: str | os.PathLike[str]) -> "OpenedRun":
        """The run of a directory, or of the logger's directory that holds it.

        Raises:
            ValueError: a path that does not exist, or holds no snapshots.
        """
        return cls(open_run(path), os.fspath(path))

    @property
    def path(self) -> str:
        """Path of the run."""
        return self.store.path

    @property
    def place(self) -> str:
        """The path without links, the same for two ways to one run."""
        return self.path if "://" in self.path else os.path.realpath(self.path)

    def compared(self, probe: str) -> Compared:
        """Every snapshot of the probe; unreadable ones are left out, with a warning at the first call.

        Raises:
            ValueError: a probe whose name is a path, or whose folder lies outside the run's directory.
        """
        if probe not in self._compared:
            self._compared[probe] = self.store.compared(probe)
        return self._compared[probe]
