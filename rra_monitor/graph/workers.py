"""Threads that each compute alone, so that a product and its candidates stay in the cache of one core."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Thread
from types import TracebackType
from typing import Any

import numpy as np
import torch


class Workers:
    """As many threads as torch uses, within each of which torch uses one.

    Torch's threads keep spinning for a while after an operation and would take the cores from compiled code that
    runs in between.
    """

    def __init__(self) -> None:
        self.count = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(self.count)

    def __enter__(self) -> "Workers":
        together = Barrier(self.count)

        def alone(_: int) -> None:
            torch.set_num_threads(1)
            together.wait()  # so that every thread runs this once

        list(self._pool.map(alone, range(self.count)))
        torch.set_num_threads(self.count)  # in this thread, as before
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def each(self, work: Callable[..., Any], *items: Iterable[Any]) -> None:
        """Call work on every item, as many at a time as there are threads."""
        list(self._pool.map(work, *items))

    def split(self, work: Callable[[int, int], Any], start: int, stop: int) -> None:
        """Call work(first, last) on equal parts of a range, one on each thread."""
        cuts = np.linspace(start, stop, self.count + 1).astype(int)
        self.each(work, cuts[:-1].tolist(), cuts[1:].tolist())


def side_by_side(work: Callable[[int, int], Any], count: int) -> None:
    """Call work(i, count) for i from 0 to count - 1, each on a thread, the first on this one: for compiled code.

    A few threads started anew cost less than `Workers`, which keep torch from using more threads within them.
    """
    errors: list[BaseException] = []

    def guarded(i: int) -> None:
        try:
            work(i, count)
        except BaseException as error:
            errors.append(error)

    others = [Thread(target=guarded, args=(i,)) for i in range(1, count)]
    for thread in others:
        thread.start()
    guarded(0)
    for thread in others:
        thread.join()
    if errors:
        raise errors[0]
