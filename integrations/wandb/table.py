"""The values of a run as one long table, of a bounded number of rows."""

import math
from collections.abc import Iterable, Iterator, Mapping

from rra_monitor.measure.match import Match
from rra_monitor.measure.snapshot import Snapshot
from rra_monitor.runs.record import main_curves

COLUMNS = ("epoch", "probe", "view", "metric", "layer", "value")

MAX_ROWS = 100_000
"""Half of the rows that W&B's tables accept."""

Row = tuple[int, str, str, str, str, float]
"""Values in the order of `COLUMNS`."""


class LongTable:
    """Rows of every snapshot; if they are too many, of every 2nd, 4th, … and of the newest.

    Args:
        max_rows: largest number of rows, unless the first and the newest step alone have more.
    """

    def __init__(self, max_rows: int = MAX_ROWS) -> None:
        self.count = 0
        self._max_rows = max_rows
        self._newest: int | None = None
        self._stride = 1
        self._rows: dict[int, list[Row]] = {}

    def add(self, step: int, rows: Iterable[Row]) -> None:
        """Add the rows of one step; rows of the newest step replace those that it has."""
        if step != self._newest:
            self.count += 1
            self._newest = step
        last = self.count - 1
        self._rows[last] = list(rows)
        self._thin(last)
        while self._stride <= last and sum(map(len, self._rows.values())) > self._max_rows:
            self._stride *= 2
            self._thin(last)

    def rows(self) -> list[Row]:
        """All rows, by step."""
        return [row for rows in self._rows.values() for row in rows]

    def _thin(self, last: int) -> None:
        self._rows = {
            number: rows for number, rows in self._rows.items() if number % self._stride == 0 or number == last
        }


def table_rows(snapshot: Snapshot, matches: Mapping[str, Match]) -> Iterator[Row]:
    """Every defined value of a snapshot, view by view; a view that equals another one has rows of its own."""
    curves = main_curves(snapshot, matches)
    for view in snapshot.settings.views:
        rows = snapshot.view(view)
        for metric, curve in curves.items():
            for layer, value in zip(rows.layers, curve[rows.indices].tolist(), strict=True):
                if not math.isnan(value):
                    yield (snapshot.epoch, snapshot.probe, view, metric, layer, value)
