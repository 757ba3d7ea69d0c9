"""Which moments of a training are measured, so that measuring keeps to a share of the time."""

import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rra_monitor.utils.checks import whole_number
from rra_monitor.utils.text import brief

LATEST = 3
"""Number of measurements whose median is what the next one is expected to take, without the first of all."""


class Schedule:
    """Every so many steps, and with `max_overhead` every 2, 4, 8, … times as many where that would take too long.

    The interval only doubles, so that the steps of several runs are among each other's: of any two, the one with the
    longer interval was measured at steps at which the other was, too. The start and the end of a training are always
    worth a measurement, and are not asked for here.

    Before each measurement the share at the end of the training is foretold: what was spent so far, and what the
    measurements to come at this interval will take, over the time until then. If it is not known how much of the
    training is done, it is the share that measuring at this interval takes in the long run.

    Args:
        every: number of steps between two moments that are asked for; steps may be those of the optimiser, or epochs.
        max_overhead: share of the time since the schedule was made that measuring may take, above 0 and below 1; no
            limit if None.
        interval: number of asked-for moments of which one is measured, as an earlier part of the training left it.
        expected: seconds of a measurement, where they were estimated: the first one may be longer, since it compiles.
        clock: function that returns the time in seconds; `time.perf_counter` if None.

    Raises:
        TypeError: an argument of another type.
        ValueError: an argument out of range.

    Example, in any loop::

        schedule = Schedule(every=100, max_overhead=0.05)
        for step in range(1, steps + 1):
            ...
            if schedule.due(step, done=step / steps):
                with schedule.measuring():
                    recorder.record(monitor.measure(model, step=step, epoch=epoch))
    """

    def __init__(
        self,
        every: int = 1,
        max_overhead: float | None = None,
        *,
        interval: int = 1,
        expected: float | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.every = whole_number("every", every, 1)
        self.max_overhead = checked_share("max_overhead", max_overhead)
        self.interval = whole_number("interval", interval, 1)
        self.expected = expected
        self._clock = clock or time.perf_counter
        self._began = self._clock()
        self._spent = 0.0
        self._since: float | None = None
        self._asked = 0
        self._taken: list[float] = []

    @property
    def seconds(self) -> float:
        """What was spent so far, with what is being spent now."""
        return self._spent + (0.0 if self._since is None else self._clock() - self._since)

    @property
    def overhead(self) -> float:
        """Share of the time since the schedule was made that was spent, 0 to 1."""
        elapsed = self._clock() - self._began
        return min(1.0, self.seconds / elapsed) if elapsed > 0 else 0.0

    @property
    def cost(self) -> float | None:
        """Seconds that a measurement is expected to take; None as long as nothing is known."""
        if len(self._taken) > 1:
            return statistics.median(self._taken[1:][-LATEST:])
        known = [*self._taken, *([] if self.expected is None else [self.expected])]
        return min(known, default=None)

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Count the time of the block as spent; a block within another one counts once."""
        if self._since is not None:
            yield
            return
        self._since = self._clock()
        try:
            yield
        finally:
            self._spent, self._since = self.seconds, None

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Count the time of the block as that of a measurement; one that fails says nothing of the next one."""
        with self.spending():
            before = self._clock()
            yield
            taken = self._clock() - before
        self._taken.append(taken)

    def due(self, step: int, done: float | None = None) -> bool:
        """Whether to measure at the end of a step; to be asked at the end of each.

        Args:
            step: steps taken.
            done: fraction of the training that is done, 0 to 1; None if unknown.
        """
        moment, rest = divmod(step, self.every)
        if rest or not moment:
            return False
        self._asked += 1
        if moment % self.interval:
            return False
        while self._is_too_much(moment, done):
            self.interval *= 2
        return moment % self.interval == 0

    def foretold(self, interval: int, moment: int, done: float | None = None) -> float:
        """The share of the time at the end of the training if one of `interval` moments is measured from now on.

        Args:
            interval: number of asked-for moments of which one is measured.
            moment: number of the present moment: `step` over `every`.
            done: fraction of the training that is done, 0 to 1; None if unknown.
        """
        cost, spent = self.cost or 0.0, self.seconds
        trained = self._clock() - self._began - spent
        if not done:
            each = interval * trained / max(1, self._asked)
            return cost / (each + cost) if cost else 0.0
        total = spent + cost * self._to_come(interval, moment, done)
        return total / (trained / min(1.0, done) + total) if total else 0.0

    def _is_too_much(self, moment: int, done: float | None) -> bool:
        """Whether the interval must be doubled, and a longer one would take less."""
        if self.max_overhead is None or self.foretold(self.interval, moment, done) <= self.max_overhead:
            return False
        if done:
            return self._to_come(self.interval, moment, done) > 1
        return self._clock() - self._began > self.seconds

    def _to_come(self, interval: int, moment: int, done: float) -> int:
        """Number of measurements from the present moment to the end of the training, which is always measured."""
        left = self._asked * (1 / min(1.0, done) - 1)
        before = -moment % interval
        if before > left:
            return 1
        return 1 + math.ceil(round((left - before) / interval, 6))


def checked_share(name: str, share: float | None) -> float | None:
    """A share of the time, or None.

    Raises:
        TypeError: not a number.
        ValueError: not above 0 and below 1.

    >>> checked_share("max_overhead", 0.05)
    0.05
    """
    if share is None:
        return None
    form = "expected a fraction above 0 and below 1, such as 0.05 for 5 %, or None"
    if isinstance(share, bool) or not isinstance(share, (int, float)):
        raise TypeError(f"{name}={brief(share)}; {form}")
    if not 0 < share < 1:
        raise ValueError(f"{name}={share}; {form}")
    return float(share)
