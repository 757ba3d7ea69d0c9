"""Reading items of somebody's data set without changing it: in a process of its own, where it may hold any state."""

import contextlib
import multiprocessing
import os
import pickle
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from rra_monitor.samples.items import item_of
from rra_monitor.samples.offsets import offsets_kept, restore_offsets
from rra_monitor.samples.serving import STOP, Failure, Looker, Read, Request, serve, unpacked
from rra_monitor.samples.stored_labels import Columns, stored_columns
from rra_monitor.samples.streams import holds_device_tensors
from rra_monitor.utils.rng import preserved_rng
from rra_monitor.utils.terminal import passing_progress

Positions = npt.NDArray[np.int64]

TIMEOUT = 60.0
"""Seconds after which a worker that does not answer is given up. It is asked for a few items at a time."""

CHUNK_SECONDS = 0.25
"""Time that a request should take, so that the bar moves and the timeout is never near."""

CHUNK_BYTES = 64 << 20
MOST_ITEMS = 64
"""Largest answer to a request, about."""

LONG_SECONDS = 2.0
"""A read that is expected to take longer is shared by two workers, and has a progress bar."""

PATIENCE = 0.5
"""Seconds that a worker has to end by itself; it may be busy with items that nobody wants any more."""

OF_THE_WORKER = ("CUDA in forked subprocess", "unable to open shared memory object")
"""In errors that a data set raises in a worker and not in this process."""

WAITING = 2
"""Requests that a worker has at a time."""


class WorkerError(RuntimeError):
    """The worker cannot read the data set, for a reason of the worker's and not of the data set's."""


class Reader:
    """Reads a data set's items; to be used in a `with` block.

    Data sets that are known to be without state are read here, any other in a forked process (or as the given context
    starts it), so that file handles, generators, caches and counters of the data set are as before. Where there is no
    such process, items are read here with a remark, and generators that the data set holds are restored.

    Args:
        dataset: data set with indexing.
        context: how a process is started, the loader's `multiprocessing_context`; by fork if None.
        init: the loader's `worker_init_fn`.
    """

    def __init__(self, dataset: Any, context: Any = None, init: Callable[[int], None] | None = None) -> None:
        self._dataset, self._init = dataset, init
        self._context = _context(context)
        self._workers: list[_Worker] = []
        self._here = is_stateless(dataset) or self._context is None or holds_device_tensors(dataset)
        self._looker: Looker | None = None
        self._exits = contextlib.ExitStack()
        self._seconds: float | None = None
        self._bytes = 1.0

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *error: Any) -> None:
        for worker in self._workers:
            worker.close()
        self._workers.clear()
        self._exits.close()

    def read(self, positions: Positions, twice: bool = False) -> Iterator[Read]:
        """The items at some positions, in order.

        Args:
            positions: positions in the data set.
            twice: whether each item is read two times, to be compared.

        Raises:
            Exception: whatever the data set raises.
        """
        done = 0
        if not self._here:
            try:
                for one in self._from_workers(positions.tolist(), twice):
                    done += 1
                    yield one
                return
            except WorkerError as error:
                self._give_up(error)
        yield from self._in_this_process(positions[done:].tolist(), twice)

    def columns(self) -> Columns:
        """What the data set stores apart from its items; its properties may open files, too."""
        if not self._here:
            try:
                self._start(1)
                self._workers[0].ask(None)
                found: Columns = self._workers[0].answer()
                return found
            except WorkerError as error:
                self._give_up(error)
        return stored_columns(self._dataset)

    def _give_up(self, error: WorkerError) -> None:
        """Go on in this process."""
        self.__exit__()
        self._here = True
        warnings.warn(
            f"{type(self._dataset).__name__} is read in this process, since a worker process cannot: {error}. "
            "What reading changes in it (open files, counters, caches) stays changed.",
            stacklevel=2,
        )

    def _in_this_process(self, positions: Sequence[int], twice: bool) -> Iterator[Read]:
        if is_stateless(self._dataset):
            for position in positions:
                yield Read(item_of(self._dataset, int(position)))
            return
        if self._looker is None:
            self._looker = Looker(self._dataset)
            for restore in self._looker.streams.saved():
                self._exits.callback(restore)
        with passing_progress() as progress:
            task = progress.add_task("reading the sample", total=len(positions), visible=len(positions) > 500)
            for position in positions:
                with preserved_rng():
                    found = self._looker.read(int(position), twice)
                progress.advance(task)
                yield found

    def _from_workers(self, positions: Sequence[int], twice: bool) -> Iterator[Read]:
        left = len(positions) * (self._seconds or 0.0)
        self._start(2 if left > LONG_SECONDS and (os.cpu_count() or 1) > 1 else 1)
        workers = self._workers
        offsets = offsets_kept()
        show = left > LONG_SECONDS
        asked: list[tuple[_Worker, int]] = []
        at = sent = 0
        try:
            with passing_progress() as progress:
                task = progress.add_task("reading the sample", total=len(positions), visible=show)
                while at < len(positions):
                    while sent < len(positions) and len(asked) < WAITING * len(workers):
                        chunk = positions[sent : sent + self._chunk()]
                        worker = min(workers, key=lambda one: one.waiting)
                        worker.ask([(int(position), twice) for position in chunk])
                        asked.append((worker, len(chunk)))
                        sent += len(chunk)
                    worker, count = asked.pop(0)
                    began = time.perf_counter()
                    answer = worker.answer()
                    self._learn((time.perf_counter() - began) / count, worker.bytes / count)
                    at += count
                    progress.advance(task, count)
                    yield from answer
        except GeneratorExit:
            if asked:  # what was asked for and is not wanted any more
                self.__exit__()
            raise
        finally:
            restore_offsets(offsets)

    def _learn(self, seconds: float, size: float) -> None:
        """The time of an item, a running mean, and the largest bytes."""
        self._seconds = seconds if self._seconds is None else 0.8 * self._seconds + 0.2 * seconds
        self._bytes = max(self._bytes, size)

    def _chunk(self) -> int:
        """How many items to ask for at once."""
        if self._seconds is None:
            return 1
        return max(1, int(min(MOST_ITEMS, CHUNK_SECONDS / max(self._seconds, 1e-9), CHUNK_BYTES / self._bytes)))

    def _start(self, count: int) -> None:
        while len(self._workers) < count:
            try:
                worker = _Worker(self._context, self._dataset, self._init, len(self._workers), count)
            except (OSError, AssertionError, pickle.PicklingError, TypeError, AttributeError, RuntimeError) as error:
                raise WorkerError(f"it does not start ({error})") from error
            self._workers.append(worker)


class _Worker:
    """A process that reads, and the requests that it has not answered yet."""

    def __init__(self, context: Any, dataset: Any, init: Any, number: int, count: int) -> None:
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, dataset, init, number, count), daemon=True)
        with warnings.catch_warnings():
            # From Python 3.12 on, of forking where there are threads, as a loader does, too.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._process.start()
        theirs.close()
        self.waiting = self.bytes = 0

    def ask(self, request: Request) -> None:
        try:
            self._connection.send(request)
        except OSError as error:
            raise WorkerError(f"it ended with code {self._process.exitcode}") from error
        self.waiting += 1

    def answer(self) -> Any:
        """The answer to the oldest request."""
        if not self._connection.poll(TIMEOUT):
            raise WorkerError(f"it has not answered for {TIMEOUT:g} s")
        try:
            data = self._connection.recv_bytes()
        except (EOFError, OSError) as error:
            self._process.join(1.0)
            raise WorkerError(f"it ended with code {self._process.exitcode}") from error
        self.waiting -= 1
        self.bytes = len(data)
        found = unpacked(data)
        if not isinstance(found, Failure):
            return found
        if any(words in str(found.error) for words in OF_THE_WORKER):
            raise WorkerError(str(found.error))
        found.error.add_note(found.trace)
        raise found.error

    def close(self) -> None:
        """End the process; one that does not end by itself is killed."""
        with contextlib.suppress(OSError):
            self._connection.send(STOP)
        self._process.join(PATIENCE)
        self._connection.close()
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def is_stateless(dataset: Any) -> bool:
    """Whether reading is known to change nothing: tensors, and parts and sums of them."""
    if type(dataset) is Subset:
        return is_stateless(dataset.dataset)
    if type(dataset) is ConcatDataset:
        return all(map(is_stateless, dataset.datasets))
    return type(dataset) is TensorDataset


def _context(given: Any) -> Any:
    """The given context, or fork; None where neither can be used."""
    if given is not None and not isinstance(given, str):
        return given
    # On macOS a forked process may crash in the system's libraries. One that is started anew runs the user's script a
    # second time, if it is not guarded against that.
    if given is None and (sys.platform == "darwin" or "fork" not in multiprocessing.get_all_start_methods()):
        return None
    return multiprocessing.get_context(given or "fork")
