"""Measuring: every method on the same features, one at a time, repeat by repeat, each in its own process."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from features import LAYERS
from methods import AUTO, EXACT, METHODS

REST = 0.3
"""Seconds between two runs: the threads of some libraries go on spinning for a moment after their work."""

SELECTION = 1000
"""What a search does beside its products costs about as much as this many more features: 2,000 to 4,000 samples took
two to six times as long with 3,072 features as with 64."""

JUDGED = 2000
"""Samples over which recall is counted."""

TIE = 1e-5
"""Relative difference of distances within which one neighbour is as good as another."""


@dataclass(frozen=True)
class Cell:
    """One set of features and one k."""

    layer: str
    n: int
    k: int

    @property
    def d(self) -> int:
        return LAYERS[self.layer]

    @property
    def work(self) -> int:
        return self.n * self.n * self.d


@dataclass
class Measurement:
    """What one method needed for one cell.

    Attributes:
        seconds: of each repeat.
        peak: largest number of bytes beyond the features and beyond the process at rest.
        recall: against the exact graph of the same run; None where that was not built.
        reported_recall: what the graph says of itself.
        reported_error: the standard error of that, where it was estimated.
        backend: what the graph says it was built by.
        skipped: why there are no seconds.
    """

    cell: Cell
    method: str
    seconds: list[float] = field(default_factory=list)
    peak: int = 0
    recall: float | None = None
    reported_recall: float | None = None
    reported_error: float | None = None
    backend: str | None = None
    version: str = ""
    skipped: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def over(self, other: "Measurement") -> float:
        """The median over the repeats of this method's time as a multiple of the other's."""
        return statistics.median(own / its for own, its in zip(self.seconds, other.seconds, strict=True))


class Worker:
    """The client of a worker.py process."""

    def __init__(self, method: str, python: str, threads: int) -> None:
        limits = dict.fromkeys(
            ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), str(threads)
        )
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed with the process)
        self._process = subprocess.Popen(
            [python, str(Path(__file__).with_name("worker.py")), method],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, **limits},
        )

    def search(self, features: Path, n: int, k: int, save: Path | None) -> dict[str, Any]:
        """The worker's answer, or {"error": …}."""
        order = {"features": str(features), "n": n, "k": k, "save": save and str(save)}
        try:
            print(json.dumps(order), file=self._process.stdin, flush=True)
            return json.loads(self._process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            self._log.seek(0)
            last = self._log.read().strip().splitlines()[-1:] or ["killed, for want of memory perhaps"]
            return {"error": f"the process ended: {last[0]}"}

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._log.close()


@contextmanager
def workers(methods: Sequence[str], dadapy: str | None, threads: int) -> Iterator[dict[str, Worker]]:
    """A process for each method; DADApy's in its own interpreter."""
    with ExitStack() as stack:
        started = {}
        for method in methods:
            started[method] = Worker(method, dadapy if method == "DADApy" else sys.executable, threads)
            stack.callback(started[method].close)
        yield started


def measure(
    cell: Cell,
    features: Path,
    workers: Mapping[str, Worker],
    repeats: int,
    limit: float,
    enough: float,
    before: Sequence[Measurement],
    on_run: Callable[[str], None],
) -> list[Measurement]:
    """Every method on one cell: in each repeat all of them, one after the other.

    Args:
        cell: what to measure on.
        features: the layer's file.
        workers: by method.
        repeats: how often.
        limit: seconds that a single run may be predicted to take, or it is skipped.
        enough: seconds after which no further repeat begins.
        before: earlier measurements, to predict from.
        on_run: called with the method's name before each run.
    """
    found = {method: Measurement(cell, method) for method in workers}
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(repeats):
            if repeat and time.perf_counter() - started > enough:
                break
            for method, worker in workers.items():
                on_run(method)
                own = found[method]
                if repeat == 0 and (seconds := predicted(method, cell, [*before, *found.values()])) > limit:
                    own.skipped = f"predicted {seconds:.0f} s"
                if own.skipped:
                    continue
                time.sleep(REST)
                save = Path(folder, f"{method}.npy") if repeat == 0 else None
                answer = worker.search(features, cell.n, cell.k, save)
                if "error" in answer:
                    own.skipped = answer["error"]
                    own.seconds.clear()
                    continue
                own.seconds.append(answer["seconds"])
                own.peak = max(own.peak, answer["peak"])
                own.version = answer["version"]
                own.backend = answer["backend"]
                own.reported_recall, own.reported_error = answer["reported_recall"], answer["reported_error"]
        if (truth := Path(folder, f"{EXACT}.npy")).exists():
            points = np.load(features, mmap_mode="r")
            for method, own in found.items():
                if (file := Path(folder, f"{method}.npy")).exists():
                    own.recall = recall(np.load(file), np.load(truth), points)
    return list(found.values())


def predicted(method: str, cell: Cell, before: Sequence[Measurement]) -> float:
    """Seconds by the cheapest extrapolation of earlier runs of the method, 0 without any. Auto is what it chooses."""
    kin = [name for name in METHODS if name.startswith("rra ")] if method == AUTO else [method]
    seconds = [
        done.median
        * (cell.n / done.cell.n) ** METHODS[done.method].growth
        * max(1, (cell.d + SELECTION) / (done.cell.d + SELECTION))
        * max(1, cell.k / done.cell.k)
        for done in before
        if done.seconds and done.method in kin
    ]
    return min(seconds, default=0.0)


def recall(found: Any, truth: Any, points: Any) -> float:
    """The fraction of the true neighbours that were found, over JUDGED samples. Another one equally near is as good."""
    rows = np.unique(np.linspace(0, len(truth) - 1, JUDGED).astype(int))
    hits = 0
    for i in rows:
        own = np.unique(found[i][found[i] >= 0])
        strangers = np.setdiff1d(own, truth[i])
        hits += len(own) - len(strangers)
        if len(strangers):
            missed = np.setdiff1d(truth[i], own)
            edge = distances(points, i, missed).max()
            hits += int((distances(points, i, strangers) <= edge * (1 + TIE)).sum())
    return float(hits / (len(rows) * truth.shape[1]))


def distances(points: Any, i: int, others: Any) -> Any:
    """From sample i, in double precision."""
    return np.sqrt(np.square(points[others].astype(np.float64) - points[i]).sum(axis=1))
