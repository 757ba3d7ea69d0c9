"""One campaign: damaged inputs of one reader, each read within bounds by a process of its own, and outcomes counted."""

import multiprocessing
import os
import shutil
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Protocol

from . import guard

READERS = ("store", "events", "checkpoints")

Files = dict[str, bytes | Path]
"""Path below the input's folder to contents, or to the place that a symbolic link points to."""

READ, LEFT_OUT, REFUSED, FAILED = OUTCOMES = ("read", "left out", "refused", "FAILED")

OURS = ("/rra_monitor/", "/integrations/")
"""Parts of the paths of our own code."""


class Reader(Protocol):
    """The functions of a reader's module; `beside` may be missing."""

    def whole(self) -> Files: ...
    def mutated(self, files: Files, random: Random) -> Files: ...
    def reads(self, run: Path) -> dict[str, Callable[[], object]]: ...


@dataclass(frozen=True)
class Failure:
    """One read that failed.

    Attributes:
        case: number of the damaged input; -1 for the undamaged one.
        read: name of the read.
        text: what happened, with a traceback where there is one.
    """

    case: int
    read: str
    text: str

    def __str__(self) -> str:
        return f"case {self.case}, {self.read}: {self.text}"


@dataclass
class Campaign:
    """What came of it.

    Attributes:
        cases: damaged inputs that were read.
        counts: (read, outcome) to how many.
        failures: one for each that failed.
    """

    cases: int = 0
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)

    def total(self, outcome: str) -> int:
        """Reads that ended so."""
        return sum(count for (_, found), count in self.counts.items() if found == outcome)

    def table(self) -> str:
        """Counts by read and outcome."""
        names = list(dict.fromkeys(name for name, _ in self.counts))
        rows = [("", *OUTCOMES)]
        rows += [(name, *(str(self.counts[name, outcome]) for outcome in OUTCOMES)) for name in names]
        rows += [(f"all of {self.cases}", *(str(self.total(outcome)) for outcome in OUTCOMES))]
        return "\n".join(f"{row[0]:16}" + "".join(f"{cell:>10}" for cell in row[1:]) for row in rows)


def campaign(reader: str, mutations: int, seed: int = 0, first: int = 0) -> Campaign:
    """Read damaged inputs; case i of a seed is always the same.

    Args:
        reader: name of a module of this package.
        mutations: how many.
        seed: of the damage.
        first: number of the first.

    Returns:
        What came of it; where it was interrupted, of the cases until then.
    """
    found = Campaign()
    module = import_module(f"{__package__}.{reader}")
    files, beside = module.whole(), module.beside() if hasattr(module, "beside") else {}
    root = Path(tempfile.mkdtemp(prefix="rra-fuzz-"))
    spawn = multiprocessing.get_context("spawn")
    try:
        case, stop = -1, first + mutations  # the undamaged input at first
        while case < stop:
            here, there = spawn.Pipe(duplex=False)
            args = (reader, files, beside, root, (case, first, stop), seed, there)
            process = spawn.Process(target=_work, args=args, daemon=True)
            process.start()
            there.close()
            try:
                while case < stop:
                    if not here.poll(30 * guard.SECONDS):
                        raise EOFError(f"no answer within {30 * guard.SECONDS} s")
                    for name, outcome, text in here.recv():
                        if case >= 0:
                            found.counts[name, outcome] += 1
                        if outcome == FAILED or (case < 0 and outcome != READ):
                            found.failures.append(Failure(case, name, text if case >= 0 else f"{outcome}: {text}"))
                    if case < 0 and found.failures:
                        return found
                    case = first if case < 0 else case + 1
                    found.cases = max(0, case - first)
            except EOFError as error:
                found.failures.append(Failure(case, "process", str(error) or "it died"))
                found.counts["process", FAILED] += 1
                if case < 0:
                    return found
                case += 1
            finally:
                process.kill()
                process.join()
        return found
    except KeyboardInterrupt:
        return found
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _work(
    reader: str, files: Files, beside: Files, root: Path, cases: tuple[int, int, int], seed: int, answer: Connection
) -> None:
    """Send the outcomes of each case, as (read, outcome, text)."""
    os.chdir(root)
    module = import_module(f"{__package__}.{reader}")
    lay(beside, root / "beside")
    lay({"secret.txt": b"nobody reads this", "rra/secret.safetensors": b"nor this"}, root / "secret")
    lay(files, root / "run")
    for read in module.reads(root / "run").values():
        read()  # without bounds: what is imported or compiled at first use is no matter of the input
    case, first, stop = cases
    if case < 0:
        answer.send(outcomes(module, files, root))
        case = first
    for number in range(case, stop):
        answer.send(outcomes(module, module.mutated(dict(files), Random(f"{seed}:{number}")), root))


def lay(files: Files, folder: Path) -> None:
    """Write files, and links, into a new folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(data, Path):
            path.symlink_to(data)
        else:
            path.write_bytes(data)


def outcomes(reader: Reader, files: Files, root: Path) -> list[tuple[str, str, str]]:
    """Each read of one input, how it ended and, where it failed, why."""
    run = root / "run"
    lay(files, run)
    size = sum(len(data) for data in files.values() if isinstance(data, bytes))
    return [(name, *_outcome(read, run, size)) for name, read in reader.reads(run).items()]


def _outcome(read: Callable[[], object], run: Path, size: int) -> tuple[str, str]:
    error = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with guard.bounded(run, run.parent / "beside", size) as touched:
            try:
                read()
            except KeyboardInterrupt:
                raise
            except BaseException as stopped:
                error = stopped
    if touched:
        return FAILED, f"it {'; '.join(touched)}"
    if isinstance(error, ValueError) and _is_ours(error):
        return (REFUSED, str(error)) if str(run) in str(error) else (FAILED, f"names no file: {_told(error)}")
    if error is not None:
        return FAILED, _told(error)
    left = [str(warning.message) for warning in caught if warning.category is UserWarning]
    if unnamed := [text for text in left if str(run) not in text]:
        return FAILED, f"warns without the name of a file: {unnamed[0]}"
    return (LEFT_OUT, left[0]) if left else (READ, "")


def _is_ours(error: BaseException) -> bool:
    """Whether our own code raised it, not a library that was handed nonsense."""
    frames = traceback.extract_tb(error.__traceback__)
    return any(part in frames[-1].filename for part in OURS)


def _told(error: BaseException) -> str:
    return "".join(traceback.format_exception(error, limit=-6)).strip()
