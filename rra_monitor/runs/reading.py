"""Reading the snapshots of a run: its files are combined and checked."""

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from rra_monitor.capture.names import check_file_name
from rra_monitor.measure.match import Match
from rra_monitor.measure.settings import Settings
from rra_monitor.measure.snapshot import Snapshot
from rra_monitor.runs.checks import (
    About,
    check_pair,
    check_sample_of,
    checked_about,
    checked_curves,
    checked_matches,
    checked_sample,
)
from rra_monitor.runs.files import RunFiles, temporary
from rra_monitor.runs.format import Arrays, decoded
from rra_monitor.runs.graphs import checked_graphs

SNAPSHOTS, SAMPLES = "snapshots", "samples"
"""Folders of a run."""

DAMAGED = "It is damaged, or another program wrote it; delete it to go on without this snapshot."
DAMAGED_GRAPHS = "It is damaged, or another program wrote it; delete it to go on without these graphs."


class SnapshotReader:
    """Snapshots and samples of a run.

    Attributes:
        files: files of the run.
        samples: digest to the ids and labels read or written by this process.
    """

    def __init__(self, files: RunFiles) -> None:
        self.files = files
        self.samples: dict[str, Arrays] = {}
        self._abouts: dict[tuple[str, int], About] = {}

    def read(self, probe: str, step: int, graphs: bool) -> tuple[Snapshot, dict[str, Match]] | None:
        """A snapshot, with the graphs that were written together with it if there are any, and its comparisons.

        Another process may replace it meanwhile: it renames the graphs, then the curves. In between, and permanently if
        it was killed there, the new curves have their temporary name. Files that do not fit for another reason do not
        fit the second time either.

        Args:
            probe: name of the sample.
            step: step of the snapshot.
            graphs: whether to read the graphs, too.

        Returns:
            Snapshot, and name to comparison; None if there is no such snapshot.

        Raises:
            ValueError: a file that is damaged or foreign; it is named.
        """
        check_file_name(probe, "probe")
        graphs_at = (SNAPSHOTS, probe, snapshot_file(step, "graphs"))
        seen: set[tuple[str, str]] = set()
        while True:
            curves = self._curves(probe, step)
            if curves is None:
                return None
            file = self.decoded(graphs_at, "graphs") if graphs else None
            if file is None or file[1].get("pair") == curves[1].pair:
                return self._snapshot(curves, file)
            with naming(self.files.at(*graphs_at), DAMAGED_GRAPHS):
                mark = check_pair(file[1].get("pair"))
            unfinished = self.decoded((SNAPSHOTS, probe, temporary(snapshot_file(step, "curves"), mark)), "curves")
            if unfinished is not None and unfinished[1].get("pair") == mark:
                return self._snapshot((unfinished[0], self._about(probe, step, unfinished[1])), file)
            if (curves[1].pair, mark) in seen or len(seen) > 100:
                raise ValueError(
                    f"{self.files.at(*graphs_at)} was not written with the curves beside it; delete it to go on "
                    "without these graphs"
                )
            seen.add((curves[1].pair, mark))

    def with_graphs(self, snapshot: Snapshot) -> Snapshot | None:
        """A snapshot that was read before, with its graphs; without, if they are gone; None if it is gone itself.

        The file of its curves is read again only if another process has replaced it.

        Raises:
            ValueError: see `read`.
        """
        about = self._abouts.get((snapshot.probe, snapshot.step))
        at = (SNAPSHOTS, snapshot.probe, snapshot_file(snapshot.step, "graphs"))
        file = None if about is None else self.decoded(at, "graphs")
        if about is not None and file is not None and file[1].get("pair") == about.pair:
            with naming(self.files.at(*at), DAMAGED_GRAPHS):
                return replace(snapshot, graphs=checked_graphs(file[0], about, snapshot))
        again = self.read(snapshot.probe, snapshot.step, graphs=True)
        return None if again is None else again[0]

    def _snapshot(
        self, curves: tuple[Arrays, About], graphs: tuple[Arrays, dict[str, Any]] | None
    ) -> tuple[Snapshot, dict[str, Match]]:
        arrays, about = curves
        self._abouts[about.probe, about.step] = about
        sample = self._sample(about.sample)
        with naming(self.files.at(SNAPSHOTS, about.probe, snapshot_file(about.step, "curves")), DAMAGED):
            quantities, values, matrices = checked_curves(arrays, about)
            matches = checked_matches(arrays, about)
            check_sample_of(sample, about, quantities, values)
        settings = Settings(
            n=about.n,
            k=about.k,
            metric=about.metric,
            backend=about.backend,
            ids=sample["ids"],
            labels=sample.get("labels"),
            fingerprint=about.fingerprint,
            views=about.views,
            estimator=about.estimator,
        )
        snapshot = Snapshot(
            probe=about.probe,
            step=about.step,
            epoch=about.epoch,
            layers=about.layers,
            curves=values,
            matrices=matrices,
            settings=settings,
            quantities=quantities,
            aliases=about.aliases,
            seconds=about.seconds,
            weights=about.weights,
        )
        if graphs is not None:
            with naming(self.files.at(SNAPSHOTS, about.probe, snapshot_file(about.step, "graphs")), DAMAGED_GRAPHS):
                snapshot = replace(snapshot, graphs=checked_graphs(graphs[0], about, snapshot))
        return snapshot, matches

    def _curves(self, probe: str, step: int) -> tuple[Arrays, About] | None:
        file = self.decoded((SNAPSHOTS, probe, snapshot_file(step, "curves")), "curves")
        return None if file is None else (file[0], self._about(probe, step, file[1]))

    def _about(self, probe: str, step: int, metadata: Mapping[str, Any]) -> About:
        with naming(self.files.at(SNAPSHOTS, probe, snapshot_file(step, "curves")), DAMAGED):
            return checked_about(metadata, probe, step)

    def decoded(self, at: tuple[str, ...], kind: str) -> tuple[Arrays, dict[str, Any]] | None:
        """The arrays and metadata of a file; None where there is none."""
        try:
            data = self.files.read(*at)
        except FileNotFoundError:
            return None
        return decoded(data, kind, self.files.at(*at))

    def _sample(self, digest: str) -> Arrays:
        if digest not in self.samples:
            at = (SAMPLES, sample_file(digest))
            file = self.decoded(at, "sample")
            if file is None:
                raise ValueError(
                    f"{self.files.at(*at)} is missing, though other files of the run refer to it; copy it from another "
                    "run with the same samples"
                )
            with naming(self.files.at(*at), "Copy it from another run with the same samples."):
                sample = checked_sample(file[0])
                if digest_of({name: file[0][name] for name in sample}) != digest:
                    raise ValueError("it holds other ids or labels than its name says")
            self.samples[digest] = sample
        return self.samples[digest]


@contextlib.contextmanager
def naming(what: str, remedy: str = "") -> Iterator[None]:
    """A context in which errors of checks begin with what was checked."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{what}: {error}. {remedy}".rstrip(". ") + "." * bool(remedy)) from None


def snapshot_file(step: int, kind: str) -> str:
    """Name of the `curves` or `graphs` of a step."""
    return f"{step:09d}.{kind}.safetensors"


def sample_file(digest: str) -> str:
    """Name of the file of ids and labels."""
    return f"{digest}.safetensors"


def digest_of(arrays: Arrays) -> str:
    """The name of a sample by its contents: 16 hexadecimal digits of their SHA-256."""
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name}{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
