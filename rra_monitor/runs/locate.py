"""Finding runs: in a directory, below one, by pattern."""

import glob
import os
from collections.abc import Sequence

import fsspec

from rra_monitor.runs.reading import SNAPSHOTS
from rra_monitor.runs.store import RunStore
from rra_monitor.utils.paths import directories_matching

CALLBACK_FOLDER = "rra"
"""Name of the callback's run within the logger's directory."""


def runs_below(path: str) -> list[str]:
    """The directory itself if it is a run, otherwise the runs in it: `rra-demo` has `rra-demo/seed0` and `…/seed1`.

    Raises:
        ValueError: a directory that is no run and has none in it.
    """
    try:
        open_run(path)
    except ValueError:
        below = [] if "://" in path else sorted(glob.glob(f"{glob.escape(path.rstrip('/'))}/*/"))
        runs = [one.rstrip("/") for one in below if is_run(one)]
        if not runs:
            raise
        return runs
    return [path]


def is_run(path: str) -> bool:
    """Whether a directory holds snapshots, by itself or in the callback's folder."""
    places = (path, os.path.join(path, CALLBACK_FOLDER))
    return any(os.path.isdir(os.path.join(place, SNAPSHOTS)) for place in places)


def directories(pattern: str) -> list[str]:
    """The directories that a pattern matches, sorted; on object storage, too (`s3://bucket/runs/a*`).

    A folder that has the very name, as `model=[a,b]` of a sweep, is meant by it.
    """
    if "://" in pattern:
        filesystem, root = fsspec.core.url_to_fs(pattern)
        return sorted(map(filesystem.unstrip_protocol, directories_matching(filesystem, root)))
    names, literal = os.path.expanduser(pattern).split("/"), 0
    while literal < len(names) and os.path.isdir("/".join(names[: literal + 1]) or "/"):
        literal += 1
    pattern = "/".join([*map(glob.escape, names[:literal]), *names[literal:]])
    return sorted(path for path in glob.glob(pattern) if os.path.isdir(path))


def open_run(path: str | os.PathLike[str]) -> RunStore:
    """The store of a run, given its directory or the logger's directory that holds it.

    Raises:
        ValueError: a path that does not exist, or holds no snapshots.
    """
    path = os.fspath(path)
    for place in (path, f"{path.rstrip('/')}/{CALLBACK_FOLDER}"):
        store = RunStore(place)
        if store.probes():
            return store
    if "://" not in path and not os.path.exists(path):
        raise ValueError(f"there is no run at {path}: the directory does not exist")
    raise ValueError(
        f"{path} holds no snapshots; give the directory that a run named at its start (the one with snapshots/ in it)"
    )


def shared_probe(stores: Sequence[RunStore]) -> str:
    """The probe that all runs have: `train` if it is one of them, else the first.

    Raises:
        ValueError: no probe in common; the probes of each run are named.
    """
    shared = set.intersection(*(set(store.probes()) for store in stores))
    if not shared:
        probes = "; ".join(f"{store.path} has {', '.join(store.probes())}" for store in stores)
        raise ValueError(f"the runs have no probe in common: {probes}. Name a probe alike in all of them")
    return "train" if "train" in shared else min(shared)
