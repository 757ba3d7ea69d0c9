"""Threads that each compute alone, so that a product and its candidates stay in the cache of one core."""

import ctypes
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from threading import Barrier, BrokenBarrierError, Thread
from types import TracebackType
from typing import Any

import numpy as np
import torch

STARTED = 16_000_000
"""Differences of a feature that take a few times as long as a thread takes to start."""


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
        places = _places(self.count)

        def alone(i: int) -> None:
            _bind_to(places[i])
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


def threads_for(differences: int) -> int:
    """As many threads as torch uses, or fewer, where they would take longer to start than to compute."""
    return max(1, min(torch.get_num_threads(), differences // STARTED))


def side_by_side(work: Callable[[int, int], Any], count: int) -> None:
    """Call work(i, count) for i from 0 to count - 1, each on a thread, the first on this one: for compiled code.

    A few threads started anew cost less than `Workers`, which keep torch from using more threads within them.
    """
    in_step([work], count)


def in_step(steps: Sequence[Callable[[int, int], Any]], count: int) -> None:
    """As `side_by_side`, one step after the other: none begins before all threads have ended the one before."""
    if count == 1:
        for work in steps:
            work(0, 1)
        return
    errors: list[BaseException] = []
    together = Barrier(count)
    places = _places(count)

    def all_steps(i: int) -> None:
        try:
            with _bound_to(places[i]):
                for position, work in enumerate(steps):
                    if position:
                        together.wait()
                    work(i, count)
        except BrokenBarrierError:  # another one failed
            pass
        except BaseException as error:
            errors.append(error)
            together.abort()

    others = [Thread(target=all_steps, args=(i,)) for i in range(1, count)]
    for thread in others:
        thread.start()
    all_steps(0)
    for thread in others:
        thread.join()
    if errors:
        raise errors[0]


def _places(count: int) -> list[int | None]:
    """A processor for each of some threads, this thread's own for the first.

    None where the system does not tell, and where there are more processors than threads: other processes, ranks say,
    may be at work there, and would be bound to the same ones.
    """
    try:
        here, allowed = int(ctypes.CDLL(None).sched_getcpu()), sorted(os.sched_getaffinity(0))
        position = allowed.index(here)
    except (AttributeError, OSError, TypeError, ValueError):  # not Linux; a container that changes under it
        return [None] * count
    if len(allowed) > count:
        return [None] * count
    return [allowed[(position + i) % len(allowed)] for i in range(count)]


def _bind_to(processor: int | None) -> None:
    """Run this thread on one processor from here on.

    Linux may start a thread, or wake it, on the processor of the one that does so, and leave both there for 10 ms.
    """
    if processor is not None:
        with suppress(OSError):
            os.sched_setaffinity(0, {processor})


@contextmanager
def _bound_to(processor: int | None) -> Iterator[None]:
    """Run this thread on one processor within the block."""
    allowed = set() if processor is None else os.sched_getaffinity(0)
    _bind_to(processor)
    try:
        yield
    finally:
        if allowed:
            with suppress(OSError):
                os.sched_setaffinity(0, allowed)
