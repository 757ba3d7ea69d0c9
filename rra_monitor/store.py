"""RunStore: the snapshots of one run, on disk or object storage."""

import hashlib
import json
import os
import posixpath
import uuid
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import fsspec
import numpy as np
import numpy.typing as npt
from fsspec.implementations.local import LocalFileSystem
from safetensors import SafetensorError
from safetensors.numpy import load, save

from rra_monitor.graph.knn import KnnGraph
from rra_monitor.names import FULL
from rra_monitor.record import Match
from rra_monitor.snapshot import Settings, Snapshot

if TYPE_CHECKING:
    from rra_monitor.graph.recall import Audit

SCHEMA = 1
"""Version of the files' contents; a reader refuses files of a later one."""

Arrays = dict[str, npt.NDArray[Any]]
KeepGraphs = Literal["all", "last"] | int

CURVES = ("id", "id_error", "nncs", "nnls", "ties", "zeros", "recall", "hubness", "cka")
AUDIT = ("rows", "indices", "distances")
MATCH = "match."
"""Begins the name of an array that compares the snapshot with another one."""


class RunStore:
    """One directory per run, with two files per snapshot and probe: small curves, and graphs apart from them.

    Layout: `snapshots/<probe>/<step>.curves.safetensors`, `snapshots/<probe>/<step>.graphs.safetensors`, and
    `samples/<digest>.safetensors` for the ids and labels, which all snapshots of a probe share. Files are written under
    temporary names and renamed, the curves last, so a snapshot is there whole or not at all.

    Args:
        path: of the run: a directory, or any address that fsspec opens (`s3://…`, `memory://…`).
        keep_graphs: "all" (default), "last", or how many of the newest graphs of each probe stay on disk. Curves always
            stay. Comparing two epochs, or with another run, needs the graphs of both.
    """

    def __init__(self, path: str | os.PathLike[str], keep_graphs: KeepGraphs = "all") -> None:
        count = isinstance(keep_graphs, int) and not isinstance(keep_graphs, bool) and keep_graphs >= 1
        if keep_graphs not in ("all", "last") and not count:
            raise ValueError(
                f"keep_graphs={keep_graphs!r}; expected 'all', 'last' or a number of snapshots, at least 1"
            )
        self.path = os.fspath(path)
        self.keep_graphs = keep_graphs
        self._fs, self._root = fsspec.core.url_to_fs(self.path)
        self._samples: dict[str, Arrays] = {}

    def __repr__(self) -> str:
        return f"RunStore({self.path!r}, keep_graphs={self.keep_graphs!r})"

    def probes(self) -> tuple[str, ...]:
        """Names of the probes that have snapshots, sorted."""
        folder = self._at("snapshots")
        names = (posixpath.basename(entry.rstrip("/")) for entry in self._list(folder))
        return tuple(sorted(name for name in names if self.steps(name)))

    def steps(self, probe: str) -> tuple[int, ...]:
        """Steps at which the probe has a snapshot, ascending."""
        return self._steps(probe, "curves")

    def graph_steps(self, probe: str) -> tuple[int, ...]:
        """Steps at which the probe's graphs were kept, ascending."""
        whole = set(self.steps(probe))
        return tuple(step for step in self._steps(probe, "graphs") if step in whole)

    def save(self, snapshot: Snapshot, matches: Mapping[str, Match] | None = None) -> None:
        """Write a snapshot; one of the same probe and step is replaced. Graphs beyond `keep_graphs` are removed.

        Args:
            snapshot: with graphs.
            matches: comparison name to comparison with another snapshot; small, so they stay like the curves.
        """
        if not snapshot.graphs:
            raise ValueError(f"the snapshot of {snapshot.probe!r} at step {snapshot.step} has no graphs to store")
        settings = snapshot.settings
        digest = self._save_sample(settings)
        curves = {name: array for name in CURVES if (array := getattr(snapshot, name)) is not None}
        matches = matches or {}
        curves |= {f"{MATCH}{name}": match.nnls for name, match in matches.items()}
        about = {
            "probe": snapshot.probe,
            "step": snapshot.step,
            "epoch": snapshot.epoch,
            "layers": snapshot.layers,
            "views": settings.views,
            "aliases": dict(snapshot.aliases),
            "seconds": snapshot.seconds,
            "n": settings.n,
            "k": settings.k,
            "metric": settings.metric,
            "backend": settings.backend,
            "fingerprint": settings.fingerprint,
            "sample": digest,
            "backends": [snapshot.graphs[layer].backend for layer in snapshot.layers],
            "pair": uuid.uuid4().hex,
        }
        compared = {
            name: {"epoch": match.epoch, "step": match.step, "layers": match.layers} for name, match in matches.items()
        }
        self._write(
            {
                self._file(snapshot.probe, snapshot.step, "graphs"): _encoded(_graph_arrays(snapshot), about, "graphs"),
                self._file(snapshot.probe, snapshot.step, "curves"): _encoded(
                    curves, about | {"matches": compared}, "curves"
                ),
            }
        )
        self._prune(snapshot.probe, snapshot.step)

    def load(self, probe: str, step: int, graphs: bool = True) -> Snapshot:
        """Read one snapshot back; without graphs where they were not kept, or on request.

        Raises:
            ValueError: no such snapshot, or a file that is truncated, foreign or of a later version, named in the text.
        """
        arrays, about = self._curves(probe, step)
        sample = self._load_sample(about["sample"])
        settings = Settings(
            n=about["n"],
            k=about["k"],
            metric=about["metric"],
            backend=about["backend"],
            ids=sample["ids"],
            labels=sample.get("labels"),
            fingerprint=about["fingerprint"],
            # Snapshots stored before there were views have none of these two.
            views=tuple(about.get("views", (FULL,))),
        )
        layers = tuple(about["layers"])
        kept: dict[str, KnnGraph] = {}
        if graphs and self._fs.exists(self._file(probe, step, "graphs")):
            path = self._file(probe, step, "graphs")
            stored, beside = self._read(path, "graphs")
            if beside["pair"] != about["pair"]:
                raise ValueError(
                    f"{path} was not written with the curves beside it; delete it to go on without these graphs"
                )
            for position, layer in enumerate(layers):
                kept[layer] = KnnGraph(
                    indices=stored[f"{position}.indices"].astype(np.int32),
                    distances=stored[f"{position}.distances"],
                    ties=float(arrays["ties"][position]),
                    zeros=float(arrays["zeros"][position]),
                    recall=float(arrays["recall"][position]),
                    metric=about["metric"],
                    backend=about["backends"][position],
                    audit=_audit(stored, position, about["n"]),
                )
        return Snapshot(
            probe=about["probe"],
            step=about["step"],
            epoch=about["epoch"],
            layers=layers,
            **{name: arrays.get(name) for name in CURVES},  # type: ignore[arg-type]
            settings=settings,
            graphs=kept,
            aliases=about.get("aliases", {}),
            seconds=about["seconds"],
        )

    def matches(self, probe: str, step: int) -> dict[str, Match]:
        """The comparisons stored with a snapshot: `prev` with the one before it, `ref-<name>` with each reference's.

        Raises:
            ValueError: as `load`.
        """
        arrays, about = self._curves(probe, step)
        # Snapshots stored by the first versions have none.
        return {
            name: Match(name, other["epoch"], other["step"], tuple(other["layers"]), arrays[f"{MATCH}{name}"])
            for name, other in about.get("matches", {}).items()
        }

    def curves(self, probe: str) -> list[Snapshot]:
        """Every snapshot of the probe without its graphs, by step; unreadable ones are left out with a warning."""
        return [found for step in self.steps(probe) if (found := self._attempt(probe, step, graphs=False))]

    def previous(self, probe: str, step: int) -> Snapshot | None:
        """The newest readable snapshot of the probe with a smaller step and with graphs, or None."""
        earlier = (found for found in reversed(self.graph_steps(probe)) if found < step)
        return next((found for at in earlier if (found := self._attempt(probe, at))), None)

    def epochs(self, probe: str) -> dict[int, int]:
        """Completed epochs to the step of their first snapshot, of those whose graphs were kept."""
        kept = set(self.graph_steps(probe))
        newest_first = reversed(self.curves(probe))
        return {snapshot.epoch: snapshot.step for snapshot in newest_first if snapshot.step in kept}

    def set_aside(self, after: int) -> int:
        """Move snapshots of later steps to `set-aside/`, since a resumed run takes another way; return how many."""
        count = 0
        for probe in self.probes():
            for kind in ("curves", "graphs"):
                for step in self._steps(probe, kind):
                    if step > after:
                        source = self._file(probe, step, kind)
                        target = self._at("set-aside", probe, posixpath.basename(source))
                        self._fs.makedirs(posixpath.dirname(target), exist_ok=True)
                        self._fs.mv(source, target)
                        count += kind == "curves"
        return count

    def write_text(self, name: str, text: str) -> None:
        """Append text to a file of the run."""
        self._fs.makedirs(self._root, exist_ok=True)
        with self._fs.open(self._at(name), "a") as file:
            file.write(text)

    def read_text(self, name: str) -> str:
        """The text of a file of the run; empty where there is none."""
        self._fs.invalidate_cache()
        try:
            return str(self._fs.cat_file(self._at(name)).decode("utf-8", "replace"))
        except FileNotFoundError:
            return ""

    def _curves(self, probe: str, step: int) -> tuple[Arrays, dict[str, Any]]:
        path = self._file(probe, step, "curves")
        if not self._fs.exists(path):
            found = ", ".join(map(str, self.steps(probe))) or "none"
            raise ValueError(f"{self.path} has no snapshot of probe {probe!r} at step {step}; its steps: {found}")
        return self._read(path, "curves")

    def _steps(self, probe: str, kind: str) -> tuple[int, ...]:
        names = (posixpath.basename(entry) for entry in self._list(self._at("snapshots", probe)))
        stems = (name.removesuffix(f".{kind}.safetensors") for name in names if name.endswith(f".{kind}.safetensors"))
        return tuple(sorted(int(stem) for stem in stems if stem.isdigit()))

    def _list(self, folder: str) -> list[str]:
        self._fs.invalidate_cache()
        try:
            return list(self._fs.ls(folder, detail=False))
        except FileNotFoundError:
            return []

    def _attempt(self, probe: str, step: int, graphs: bool = True) -> Snapshot | None:
        try:
            return self.load(probe, step, graphs)
        except ValueError as error:
            warnings.warn(str(error), stacklevel=3)
            return None

    def _prune(self, probe: str, newest: int) -> None:
        """Remove the graphs beyond `keep_graphs` before the newest, and any that lost their curves."""
        whole = set(self.steps(probe))
        graphs = self._steps(probe, "graphs")
        earlier = [step for step in graphs if step in whole and step <= newest]
        keep = len(earlier) if self.keep_graphs == "all" else 1 if self.keep_graphs == "last" else int(self.keep_graphs)
        for step in {*earlier[:-keep], *(set(graphs) - whole)}:
            self._fs.rm_file(self._file(probe, step, "graphs"))

    def _save_sample(self, settings: Settings) -> str:
        sample: Arrays = {"ids": settings.ids}
        if settings.labels is not None:
            sample["labels"] = settings.labels
        digest = _digest(sample)
        if digest not in self._samples:
            # Written again by each process that saves, which mends one that was cut off.
            self._write({self._sample(digest): _encoded(sample, {}, "sample")})
            self._samples[digest] = sample
        return digest

    def _load_sample(self, digest: str) -> Arrays:
        if digest not in self._samples:
            self._samples[digest] = self._read(self._sample(digest), "sample")[0]
        return self._samples[digest]

    def _write(self, files: dict[str, bytes]) -> None:
        """Write all files under temporary names, then rename them in order."""
        for folder in {posixpath.dirname(path) for path in files}:
            self._fs.makedirs(folder, exist_ok=True)
        if not isinstance(self._fs, LocalFileSystem):
            # An object appears when it is complete.
            for path, data in files.items():
                self._fs.pipe_file(path, data)
            return
        temporary = {path: f"{path}.{uuid.uuid4().hex}.tmp" for path in files}
        try:
            for path, data in files.items():
                self._fs.pipe_file(temporary[path], data)
            for path in files:
                os.replace(temporary[path], path)
        finally:
            for path in temporary.values():
                if os.path.exists(path):
                    os.remove(path)

    def _read(self, path: str, kind: str) -> tuple[Arrays, dict[str, Any]]:
        try:
            data = self._fs.cat_file(path)
        except FileNotFoundError:
            raise ValueError(f"{path} is missing, though other files of the run refer to it") from None
        try:
            arrays = load(data)
            # The format: 8 bytes of length, then a JSON header, whose metadata the loader drops.
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            about = json.loads(header["__metadata__"]["rra_monitor"])
            schema, found = about["schema"], about["kind"]
        except (SafetensorError, KeyError, ValueError) as error:
            without = "the run" if kind == "sample" else "this snapshot; the others stay readable"
            raise ValueError(
                f"{path} is no complete file of rra-monitor ({error}); it was cut off, or another program wrote it. "
                f"Delete it to go on without {without}."
            ) from error
        if schema > SCHEMA:
            raise ValueError(f"{path} has schema {schema}, this version reads up to {SCHEMA}; update rra-monitor")
        if found != kind:
            raise ValueError(f"{path} holds {found}, expected {kind}; it was renamed")
        return arrays, about

    def _at(self, *parts: str) -> str:
        return posixpath.join(self._root, *parts)

    def _file(self, probe: str, step: int, kind: str) -> str:
        return self._at("snapshots", probe, f"{step:09d}.{kind}.safetensors")

    def _sample(self, digest: str) -> str:
        return self._at("samples", f"{digest}.safetensors")


def _encoded(arrays: Arrays, about: dict[str, Any], kind: str) -> bytes:
    header = {"rra_monitor": json.dumps({"schema": SCHEMA, "kind": kind} | about)}
    return bytes(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, metadata=header))


def index_type(n: int) -> type[np.unsignedinteger[Any]]:
    """The smallest unsigned integer type that holds the positions of n samples."""
    return np.uint8 if n <= 1 << 8 else np.uint16 if n <= 1 << 16 else np.uint32


def graph_bytes(n: int, k: int, layers: int) -> int:
    """Bytes that the graphs of one snapshot take on disk."""
    return layers * n * k * (np.dtype(index_type(n)).itemsize + 4)


def _graph_arrays(snapshot: Snapshot) -> Arrays:
    kind = index_type(snapshot.settings.n)
    arrays: Arrays = {}
    for position, layer in enumerate(snapshot.layers):
        arrays[f"{position}.indices"] = snapshot.graphs[layer].indices.astype(kind)
        arrays[f"{position}.distances"] = snapshot.graphs[layer].distances
        if audit := snapshot.graphs[layer].audit:
            arrays |= {f"{position}.audit.{name}": getattr(audit, name) for name in AUDIT}
    return arrays


def _audit(stored: Arrays, position: int, n: int) -> "Audit | None":
    """The exact rows beside an approximate graph; earlier versions stored none."""
    if f"{position}.audit.rows" not in stored:
        return None
    from rra_monitor.graph.recall import Audit  # brings torch

    return Audit(**{name: stored[f"{position}.audit.{name}"] for name in AUDIT}, n=n)


def _digest(arrays: Arrays) -> str:
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name}{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
