"""RunStore: the snapshots of one run, on disk or object storage."""

import os
import re
import uuid
import warnings
from collections.abc import Callable, Mapping
from typing import Literal

from rra_monitor.capture.names import check_file_name
from rra_monitor.measure.match import Match
from rra_monitor.measure.snapshot import Snapshot
from rra_monitor.runs.aside import ASIDE, finish, remove_temporary, set_aside
from rra_monitor.runs.checks import (
    LAST_STEP,
    MATCH,
    check_sample_of,
    checked_about,
    checked_curves,
    checked_matches,
    checked_sample,
)
from rra_monitor.runs.claim import CLAIM, Claim, Holder
from rra_monitor.runs.format import Arrays, encoded
from rra_monitor.runs.graphs import graph_arrays
from rra_monitor.runs.metadata import metadata_of
from rra_monitor.runs.reading import SAMPLES, SNAPSHOTS, SnapshotReader, digest_of, naming, sample_file, snapshot_file
from rra_monitor.runs.storage import files_of
from rra_monitor.runs.take import Asked, give_back, let_go, take, write
from rra_monitor.utils.text import brief

KeepGraphs = Literal["all", "last"] | int

_FILE = re.compile(r"([0-9]{9,19})\.(curves|graphs)\.safetensors")


class RunStore:
    """One directory per run, with two files per snapshot and probe: small curves, and graphs apart from them.

    Layout: `snapshots/<probe>/<step>.curves.safetensors`, `snapshots/<probe>/<step>.graphs.safetensors`, and
    `samples/<digest>.safetensors` for the ids and labels, which all snapshots of a probe share. Files are written under
    temporary names and renamed, the curves last, so a snapshot is there as a whole or not at all.

    Anybody may have written a run. The contents of its files are checked before use, and nothing outside its directory
    is read or written. Several processes may write to one directory, prune it and read it at once; what a killed
    process left is repaired by the next one that writes.

    Args:
        path: path of the run: a directory, or any address that fsspec opens (`s3://…`, `memory://…`).
        keep_graphs: graphs of each probe that stay on disk: "all" (default), "last", or a number of the newest. Curves
            always stay. Comparing two epochs, or with another run, needs the graphs of both.

    Attributes:
        path: path of the run; another one after `claim`, if that directory could not be taken.
        writable: whether anything is stored; False once a claim has failed, in a read-only directory for example.

    Raises:
        ValueError: another `keep_graphs`.
    """

    def __init__(self, path: str | os.PathLike[str], keep_graphs: KeepGraphs = "all") -> None:
        count = isinstance(keep_graphs, int) and not isinstance(keep_graphs, bool) and keep_graphs >= 1
        if keep_graphs not in ("all", "last") and not count:
            raise ValueError(
                f"keep_graphs={brief(keep_graphs)}; expected 'all', 'last' or a number of snapshots, at least 1"
            )
        self.keep_graphs = keep_graphs
        self.writable = True
        self._holder: Holder | None = None
        self._told: set[str] = set()
        self._base = os.fspath(path)
        self._open(self._base)

    def __repr__(self) -> str:
        return f"RunStore({self.path!r}, keep_graphs={self.keep_graphs!r})"

    @property
    def claimed(self) -> bool:
        """Whether this store has claimed its directory, and not given it back."""
        return self._holder is not None

    def probes(self) -> tuple[str, ...]:
        """Names of the probes that have snapshots, sorted. Other folders are left out with a warning."""
        names = []
        for name in self._files.names(SNAPSHOTS):
            try:
                if self.steps(name):
                    names.append(name)
            except ValueError as error:
                self._tell_once(f"{self._files.at(SNAPSHOTS)}: {error}; left out")
        return tuple(names)

    def steps(self, probe: str) -> tuple[int, ...]:
        """Steps at which the probe has a snapshot, ascending.

        Raises:
            ValueError: a probe whose name is a path, or whose folder lies outside the run's directory.
        """
        return self._steps(probe)["curves"]

    def graph_steps(self, probe: str) -> tuple[int, ...]:
        """Steps at which the probe's graphs were kept, ascending.

        Raises:
            ValueError: see `steps`.
        """
        steps = self._steps(probe)
        whole = set(steps["curves"])
        return tuple(step for step in steps["graphs"] if step in whole)

    def save(self, snapshot: Snapshot, matches: Mapping[str, Match] | None = None) -> None:
        """Write a snapshot; one of the same probe and step is replaced. Graphs beyond `keep_graphs` are removed.

        Args:
            snapshot: a snapshot with graphs.
            matches: name to comparison with another snapshot; they are small, and stay like the curves.

        Raises:
            ValueError: a snapshot that could not be read back: without graphs, with values out of range, with a probe
                whose name is a path; a folder that lies outside the run's directory.
            OSError: an error of the disk or the storage.
        """
        if not snapshot.graphs:
            raise ValueError(f"the snapshot of {snapshot.probe!r} at step {snapshot.step} has no graphs to store")
        matches = matches or {}
        sample: Arrays = {"ids": snapshot.settings.ids}
        if snapshot.settings.labels is not None:
            sample["labels"] = snapshot.settings.labels
        curves = {**snapshot.curves, **snapshot.matrices}
        curves |= {f"{MATCH}{name}": match.nnls for name, match in matches.items()}
        with naming(f"the snapshot of {snapshot.probe!r} at step {snapshot.step}"):
            graphs, pair = graph_arrays(snapshot), uuid.uuid4().hex
            metadata = metadata_of(snapshot, matches, digest_of(sample), pair)
            about = checked_about(metadata, snapshot.probe, metadata["step"])
            checked_matches(curves, about)
            quantities, values, _ = checked_curves(curves, about)
            check_sample_of(checked_sample(sample), about, quantities, values)
        compared = {name: metadata.pop(name) for name in ("matches", "quantities")}
        files = {
            snapshot_file(about.step, "graphs"): encoded(graphs, metadata, "graphs"),
            snapshot_file(about.step, "curves"): encoded(curves, metadata | compared, "curves"),
        }
        self._save_sample(about.sample, sample)
        folder = (SNAPSHOTS, about.probe)
        with self._files.locked(*folder) as alone:
            kept = self._graphs_on_disk(about.probe, alone)
            self._files.write(folder, files, pair)
            kept.add(about.step)
            self._prune(about.probe, about.step, kept)
            self._kept[about.probe] = (self._files.stamped(*folder), kept)
        self._keep_claim()

    def load(self, probe: str, step: int, graphs: bool = True) -> Snapshot:
        """Read one snapshot back.

        Args:
            probe: name of the sample.
            step: step of the snapshot.
            graphs: whether to read the graphs, too, where they were kept.

        Raises:
            ValueError: no such snapshot, or a file that is truncated, foreign, of a later version or with impossible
                values; the text names it.
        """
        return self._read(probe, step, graphs)[0]

    def with_graphs(self, snapshot: Snapshot) -> Snapshot:
        """A snapshot that this store read without its graphs, with them; without, where they were not kept.

        Raises:
            ValueError: see `load`.
        """
        complete = self._reader.with_graphs(snapshot)
        return self.load(snapshot.probe, snapshot.step) if complete is None else complete

    def matches(self, probe: str, step: int) -> dict[str, Match]:
        """The comparisons stored with a snapshot: `prev` with the one before it, `ref-<name>` with each reference's.

        Raises:
            ValueError: see `load`.
        """
        return self._read(probe, step, graphs=False)[1]

    def curves(self, probe: str) -> list[Snapshot]:
        """Every snapshot of the probe without its graphs, by step; unreadable ones are left out with a warning."""
        return [snapshot for snapshot, _ in self.compared(probe)]

    def compared(self, probe: str) -> list[tuple[Snapshot, dict[str, Match]]]:
        """Every snapshot as in `curves`, each with the comparisons stored with it."""
        return [read for step in self.steps(probe) if (read := self._attempt(probe, step, graphs=False))]

    def previous(self, probe: str, step: int) -> Snapshot | None:
        """The newest readable snapshot of the probe with a smaller step and with graphs, or None."""
        earlier = (at for at in reversed(self.graph_steps(probe)) if at < step)
        candidates = (self._attempt(probe, at, graphs=True) for at in earlier)
        return next((one[0] for one in candidates if one is not None and one[0].graphs), None)

    def epochs(self, probe: str) -> dict[int, int]:
        """Number of completed epochs to the first step with that number whose graphs were kept."""
        kept = set(self.graph_steps(probe))
        newest_first = reversed(self.curves(probe))
        return {snapshot.epoch: snapshot.step for snapshot in newest_first if snapshot.step in kept}

    def set_aside(self, after: int) -> int:
        """Move snapshots and records of later steps to a new folder in `set-aside/`, because a resumed run diverges.

        Args:
            after: step from which the run is resumed, -1 if it starts anew.

        Returns:
            Number of snapshots that were moved.

        Raises:
            ValueError: a folder that is outside the run's directory.
            OSError: an error of the disk or the storage.
        """
        self._kept.clear()
        return set_aside(self._files, after)

    def claim(self, configuration: str, *, resume_step: int | None = None, token: str | None = None) -> Claim:
        """Take the directory for a run that this process writes, or a new one beside it; atomic on one machine.

        An unfinished run of the same configuration goes on: its snapshots after `resume_step` are set aside, or all of
        them if it starts anew. A directory that a living process writes to, or whose run is finished or of another
        configuration, is left alone: `path` becomes that of a new one (`-1`, `-2`, …), and sinks that hold the store
        follow. Where nothing can be written, `writable` becomes False.

        Args:
            configuration: digest, see `rra_monitor.runs.claim.configuration`.
            resume_step: step of the checkpoint from which the training goes on; None or 0 if it starts anew.
            token: token that the checkpoint carries, if it does.

        Returns:
            Directory, token, and sentences to tell the user.
        """
        if self._holder is not None:
            let_go(self._holder)
        self._holder, self.writable = None, True
        remarks: list[str] = []
        before, step = self.path, resume_step or 0
        asked = Asked(configuration, step, token if step else None)
        try:
            path, self._holder, count = take(before, self._base, asked, self, remarks)
        except Exception as error:  # storages have errors of their own
            self.writable = False
            remarks.append(f"{before} cannot be written to, and nothing is stored: {error!r}")
            return Claim(before, "", remarks, 0)
        self._open(path)
        if path != before:
            remarks.append(f"this run is stored in {path}")
        elif count and not step:
            remarks.append(
                f"{path} holds an unfinished run, which starts anew; its {count} snapshots are in {path}/{ASIDE}"
            )
        return Claim(path, self._holder.token, remarks, count)

    def release(self, finished: bool) -> None:
        """Give the claim back. Errors of the disk are passed over.

        Args:
            finished: whether the run came to its end; it may go on otherwise.
        """
        holder, self._holder = self._holder, None
        if holder is not None:
            give_back(self._files, holder, "finished" if finished else "interrupted")

    def write_text(self, name: str, text: str, mended: Callable[[bytes], bytes] | None = None) -> None:
        """Append text to a file of the run, in one piece.

        Args:
            name: name of the file in the run's directory.
            text: text to append.
            mended: function that repairs the contents an earlier process left; called once.

        Raises:
            ValueError: a name that is a path, a file that is outside the run's directory or not a file.
            OSError: an error of the disk or the storage.
        """
        check_file_name(name, "the name of a file")
        with self._files.locked() as alone:
            if mended is not None and name not in self._mended:
                self._mended.add(name)
                self._mend(name, mended, alone)
            self._files.append(name, text.encode())

    def read_text(self, name: str) -> str:
        """The text of a file of the run; empty where there is none.

        Raises:
            ValueError: a name that is a path, a file that is outside the run's directory or not a file.
        """
        return self.read_bytes(name).decode("utf-8", "replace")

    def read_bytes(self, name: str) -> bytes:
        """The contents of a file of the run; see `read_text`."""
        check_file_name(name, "the name of a file")
        try:
            return self._files.read(name)
        except FileNotFoundError:
            return b""

    def _open(self, path: str) -> None:
        self.path = path
        self._files = files_of(path)
        self._reader = SnapshotReader(self._files)
        self._saved: set[str] = set()
        self._kept: dict[str, tuple[int, set[int]]] = {}
        self._mended: set[str] = set()

    def _keep_claim(self) -> None:
        """Say that the claim is in use; it is written again if somebody deleted the directory."""
        if self._holder is not None and not self._files.touch(CLAIM):
            write(self._files, self._holder)

    def _mend(self, name: str, mended: Callable[[bytes], bytes], alone: bool) -> None:
        if alone:
            remove_temporary(self._files, of=f"{name}.")
        before = self.read_bytes(name)
        after = mended(before)
        if after != before:
            self._files.write((), {name: after}, uuid.uuid4().hex)

    def _read(self, probe: str, step: int, graphs: bool) -> tuple[Snapshot, dict[str, Match]]:
        stored = self._reader.read(probe, step, graphs)
        if stored is None:
            steps = ", ".join(map(str, self.steps(probe))) or "none"
            raise ValueError(f"{self.path} has no snapshot of probe {probe!r} at step {step}; its steps: {steps}")
        return stored

    def _attempt(self, probe: str, step: int, graphs: bool) -> tuple[Snapshot, dict[str, Match]] | None:
        try:
            return self._read(probe, step, graphs)
        except ValueError as error:
            warnings.warn(str(error), stacklevel=4)
            return None

    def _steps(self, probe: str) -> dict[str, tuple[int, ...]]:
        """Kind of file to its steps, ascending; files with other names are left out with a warning."""
        by_kind: dict[str, list[int]] = {"curves": [], "graphs": []}
        for name in self._files.names(SNAPSHOTS, check_file_name(probe, "probe")):
            match = _FILE.fullmatch(name)
            if match and int(match[1]) <= LAST_STEP and snapshot_file(int(match[1]), match[2]) == name:
                by_kind[match[2]].append(int(match[1]))
            elif name.endswith((".curves.safetensors", ".graphs.safetensors")):
                path = self._files.at(SNAPSHOTS, probe, name)
                self._tell_once(f"{path!r} is named as no snapshot is (000000012.curves.safetensors) and left out")
        return {kind: tuple(sorted(steps)) for kind, steps in by_kind.items()}

    def _tell_once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            warnings.warn(text, stacklevel=4)

    def _graphs_on_disk(self, probe: str, alone: bool) -> set[int]:
        """Steps of whole snapshots with graphs. The folder is listed, and repaired, only if others wrote to it."""
        if probe in self._kept and self._kept[probe][0] == self._files.stamp(SNAPSHOTS, probe):
            return self._kept[probe][1]
        if alone:
            finish(self._files, self._reader, probe)
        steps = self._steps(probe)
        whole = set(steps["curves"])
        for step in set(steps["graphs"]) - whole:
            self._files.remove(SNAPSHOTS, probe, snapshot_file(step, "graphs"))
        return whole & set(steps["graphs"])

    def _prune(self, probe: str, newest: int, kept: set[int]) -> None:
        """Remove the graphs beyond `keep_graphs` before the newest, from disk and from `kept`."""
        if self.keep_graphs == "all":
            return
        keep = 1 if self.keep_graphs == "last" else int(self.keep_graphs)
        for step in sorted(step for step in kept if step <= newest)[:-keep]:
            self._files.remove(SNAPSHOTS, probe, snapshot_file(step, "graphs"))
            kept.remove(step)

    def _save_sample(self, digest: str, sample: Arrays) -> None:
        """Write a sample, once in each process that saves: this replaces a file that was cut off."""
        if digest in self._saved and self._files.stamp(SAMPLES) != -1:
            return
        with self._files.locked(SAMPLES) as alone:
            if alone:
                remove_temporary(self._files, SAMPLES)
            self._files.write((SAMPLES,), {sample_file(digest): encoded(sample, {}, "sample")}, uuid.uuid4().hex)
        self._saved.add(digest)
        self._reader.samples[digest] = checked_sample(sample)
