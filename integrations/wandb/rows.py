"""Rows in the history of a W&B run that somebody else logs to as well.

A row has a step of the run. It stays open, and takes further values, until a value comes with a later step or a `log`
without a step ends it; a value that comes with an earlier step is dropped. So whoever ends a row takes its step from
the others, who may still have values for it.
"""

import math
from collections.abc import Mapping
from typing import Any


class RunRows:
    """Puts the values of each snapshot into a row of its own, as far as others end rows.

    Others may count their steps in epochs, or in anything finer. So a row is ended here only if its step is smaller
    than the last epoch's number by then.

    Args:
        run: W&B run.
    """

    def __init__(self, run: Any) -> None:
        self._run = run
        self._row: int | None = None
        self._in_row: set[str] = set()
        self._ended = False
        self._waiting: dict[str, Any] = {}

    def add(self, values: Mapping[str, Any], epoch: int) -> None:
        """Log the values of a snapshot in the next free row; while there is none the newest snapshot's wait.

        Args:
            values: numbers and media by key.
            epoch: number of completed epochs.
        """
        if self._waiting and self._is_free(epoch):
            self._log(self._waiting)
            self._waiting = {}
        if not self._waiting and self._is_free(epoch):
            self._log(values)
        else:
            media = {key: value for key, value in self._waiting.items() if not isinstance(value, float)}
            self._waiting = media | dict(values)

    def extend(self, values: Mapping[str, Any]) -> None:
        """Log further values of the newest snapshot."""
        if self._waiting:
            self._waiting |= values
        else:
            self._run.log(dict(values), commit=None if _step(self._run) is None else False)

    def end(self, epoch: int) -> None:
        """Log what waits: in a new row if nobody else logs, else in place of the snapshot before it.

        Args:
            epoch: number of completed epochs.
        """
        if self._waiting:
            if not self._is_free(epoch) and self._is_alone():
                self._end_row()
            self._log(self._waiting)
            self._waiting = {}

    def _is_free(self, epoch: int) -> bool:
        """Whether the open row has no snapshot's values, now that it is ended if it may be."""
        step = _step(self._run)
        if step is not None and step == self._row and step + 1 < epoch:
            self._end_row()
            return True
        return step is None or step != self._row

    def _is_alone(self) -> bool:
        """Whether the rows that were ended have no values but these."""
        return self._ended and all(key.startswith(("rra/", "_")) for key in self._run.summary.keys())  # noqa: SIM118

    def _end_row(self) -> None:
        self._run.log({}, commit=True)
        self._row, self._ended = None, True

    def _log(self, values: Mapping[str, Any]) -> None:
        step = _step(self._run)
        if step != self._row or step is None:
            self._in_row = set()
        # What the snapshot before it in this row had alone would stand for this one.
        undefined = dict.fromkeys(self._in_row - values.keys(), math.nan)
        self._in_row |= {key for key, value in values.items() if isinstance(value, float)}
        self._row = step
        self._run.log(undefined | dict(values), commit=None if step is None else False)


def _step(run: Any) -> int | None:
    """The step of the run's open row; None where it has none, as a run that several machines log to."""
    try:
        step = run.step
    except Exception:
        return None
    return step if isinstance(step, int) else None
