"""Recorder: stores snapshots, compares them with earlier ones and with references, and passes records to sinks."""

import os
import sys
import time
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal

from rra_monitor.conclusions.evidence import Finding
from rra_monitor.conclusions.findings import findings
from rra_monitor.measure.match import PREVIOUS, Match, check_comparable, match
from rra_monitor.measure.monitor import Monitor
from rra_monitor.measure.schedule import Schedule
from rra_monitor.measure.snapshot import Snapshot
from rra_monitor.runs.bounded import Bounded
from rra_monitor.runs.claim import configuration
from rra_monitor.runs.record import Record
from rra_monitor.runs.sinks import FanOut, Sink
from rra_monitor.runs.store import RunStore
from rra_monitor.utils.checks import whole_number
from rra_monitor.utils.repeated import Repeated
from rra_monitor.utils.text import brief

STORE_SECONDS = 600.0
"""Longest time that the training waits for the disk; large graphs may take a while on object storage."""

Align = Literal["epoch", "last"]


class Recorder:
    """Stores, compares and passes on snapshots in any training loop.

    Args:
        store: store for the snapshots, or None to keep only the newest, in memory.
        references: name to the directory of an earlier run; every snapshot is compared with it.
        align: choice of a reference's snapshot: the one of the same epoch ("epoch"), or the last one ("last").
        sinks: destinations of the records.
        resume_step: step of the checkpoint from which the training goes on; None if it starts anew. At the first record
            the store's directory is claimed, see `RunStore.claim`: what an earlier attempt stored after this step is
            set aside.
        schedule: schedule of the training, whose clock then tells the share of the time, and whose interval is stored
            with each record; the share is that of the snapshots' own seconds since now if None.

    Raises:
        ValueError: a reference that is empty, a name that cannot be a key, an unknown `align`.

    Example, in any loop::

        store = rra.RunStore("runs/mine")
        recorder = rra.Recorder(store, references={"seed0": "runs/seed0"}, sinks=[rra.JSONLSink(store)])
        recorder.check(monitor)
        record = recorder.record(monitor.measure(model, step=step, epoch=epoch))
        ...
        recorder.close()
    """

    def __init__(
        self,
        store: RunStore | None,
        *,
        references: Mapping[str, str | os.PathLike[str]] | None = None,
        align: Align = "epoch",
        sinks: Sequence[Sink] = (),
        resume_step: int | None = None,
        schedule: Schedule | None = None,
    ) -> None:
        if align not in ("epoch", "last"):
            raise ValueError(f"align={brief(align)}; expected 'epoch' or 'last'")
        self.store = store
        self.references = {name: _reference(name, path) for name, path in (references or {}).items()}
        self.align = align
        self.resume_step = None if resume_step is None else whole_number("resume_step", resume_step, 0)
        self._schedule = schedule
        self._sinks = FanOut(sinks)
        self._storing = Bounded("rra-RunStore")
        self._said = False
        self._failures = Repeated()
        self._claims = store is not None
        self._end: weakref.finalize[[RunStore, int], Recorder] | None = None
        self._epochs: dict[tuple[str, str], dict[int, int]] = {}
        self._newest: dict[str, Snapshot] = {}
        self._began = time.perf_counter()
        self._spent = 0.0

    def check(self, monitor: Monitor) -> None:
        """Refuse, before any training, references that cannot be compared with what the monitor measures.

        Raises:
            ValueError: other samples, n or k; no probe in common; no graphs kept.

        Warns:
            UserWarning: equal ids whose inputs differ in content.
        """
        for name, reference in self.references.items():
            shared = [probe for probe in monitor.probes if probe in reference.probes()]
            if not shared:
                raise ValueError(
                    f"reference {name!r} ({reference.path}) has the probes {', '.join(reference.probes())}, this run "
                    f"has {', '.join(monitor.probes)}; name a probe alike in both"
                )
            for probe in shared:
                if not reference.graph_steps(probe):
                    raise ValueError(
                        f"reference {name!r} ({reference.path}) kept no graphs of probe {probe!r}, and NNLS needs "
                        "them; run it with keep_graphs='all'"
                    )
                measured = monitor.settings(probe)
                # Most snapshots of a run share their settings: look at each kind once.
                stored = (snapshot.settings for snapshot in reference.curves(probe))
                kinds = {(s.n, s.k, s.metric, s.fingerprint, id(s.ids)): s for s in stored}
                for settings in kinds.values():
                    for remark in check_comparable(measured, settings, f"probe {probe!r} of reference {name!r}"):
                        warnings.warn(remark, stacklevel=2)

    def record(self, snapshots: Mapping[str, Snapshot]) -> Record:
        """Compare, store and pass on the snapshots of one step.

        What cannot be compared or stored is left out, with a warning; the rest of the record is passed on.

        Args:
            snapshots: probe to snapshot; of one step.

        Returns:
            The record. Without snapshots, as of a measurement that failed, an empty one, which no sink gets.
        """
        if not snapshots:
            newest = max(self._newest.values(), key=lambda snapshot: snapshot.step, default=None)
            step, epoch = (0, 0) if newest is None else (newest.step, newest.epoch)
            return Record(step, epoch, {}, {}, seconds=0.0, overhead=0.0)
        started = time.perf_counter()
        if self.store is not None and self._claims:
            self._claims = False
            self._on_disk(partial(self._claim, self.store, snapshots))
        matches = {probe: self.compare(snapshot) for probe, snapshot in snapshots.items()}
        conclusions = self._findings(snapshots)
        self._newest |= snapshots
        if self.store is not None and self.store.writable:
            self._on_disk(partial(self._save, self.store, snapshots, matches))
        now = time.perf_counter()
        seconds = sum(snapshot.seconds for snapshot in snapshots.values()) + now - started
        self._spent += seconds
        first, timed = next(iter(snapshots.values())), self._schedule
        record = Record(
            step=first.step,
            epoch=first.epoch,
            snapshots=dict(snapshots),
            matches=matches,
            seconds=seconds,
            overhead=min(1.0, self._spent / max(now - self._began, self._spent)) if timed is None else timed.overhead,
            interval=1 if timed is None else timed.interval,
            findings=conclusions,
        )
        self._sinks.write(record)
        self._spent += time.perf_counter() - now
        return record

    def close(self) -> None:
        """End the training: sinks write what they hold back, and the run counts as finished."""
        self._sinks.close()
        if self._end is not None and self._end.detach() is not None and self.store is not None:
            self._on_disk(partial(self.store.release, finished=True))
        self._storing.close()

    def compare(self, snapshot: Snapshot) -> dict[str, Match]:
        """The comparisons of a snapshot: `prev` with the one before, and `ref-<name>` with each reference's."""
        others: dict[str, Callable[[], Snapshot | None]] = {PREVIOUS: lambda: self._previous(snapshot)}
        places = {} if self.store is None else {PREVIOUS: f" ({self.store.path})"}
        for name, reference in self.references.items():
            others[f"ref-{name}"] = partial(self._aligned, name, reference, snapshot)
            places[f"ref-{name}"] = f" ({reference.path})"
        matches: dict[str, Match] = {}
        for name, load in others.items():
            try:
                other = load()
                if other is not None:
                    matches[name] = match(snapshot, other, name)
            except Exception as error:
                where = f"probe {snapshot.probe!r}, step {snapshot.step}"
                self._failures.warn(f"{where}: no NNLS to {name!r}{places.get(name, '')}: {error}")
        return matches

    def _claim(self, store: RunStore, snapshots: Mapping[str, Snapshot]) -> None:
        """Claim the store's directory, unless somebody who holds the store has done it."""
        if not store.writable or (store.claimed and self.resume_step is None):
            return
        layers = [layer for snapshot in snapshots.values() for layer in snapshot.layers]
        quantities = {one.name for snapshot in snapshots.values() for one in snapshot.quantities}
        settings = {probe: snapshot.settings for probe, snapshot in snapshots.items()}
        step = self.resume_step and min(self.resume_step, *(snapshot.step for snapshot in snapshots.values()))
        claim = store.claim(configuration(settings, layers, quantities), resume_step=step)
        if claim.remarks:
            warnings.warn("; ".join(claim.remarks), stacklevel=3)
        self._end = weakref.finalize(self, _release, store, os.getpid())

    def _on_disk(self, act: Callable[[], object]) -> None:
        """Call what reads or writes the run's directory; it is left out while an earlier call hangs."""
        if not self._storing.hangs and not self._storing.call(act, STORE_SECONDS) and not self._said:
            self._said = True
            path = self.store.path if self.store is not None else ""
            warnings.warn(
                f"{path} did not answer within {STORE_SECONDS:g} s; until it does nothing is stored; training goes on",
                stacklevel=3,
            )

    def _save(
        self, store: RunStore, snapshots: Mapping[str, Snapshot], matches: Mapping[str, Mapping[str, Match]]
    ) -> None:
        for probe, snapshot in snapshots.items():
            try:
                store.save(snapshot, matches[probe])
            except Exception as error:
                self._failures.warn(f"step {snapshot.step} of probe {probe!r} is not stored: {error!r}")

    def _findings(self, snapshots: Mapping[str, Snapshot]) -> tuple[Finding, ...]:
        try:
            before = {probe: earlier for probe, each in snapshots.items() if (earlier := self._previous(each))}
            return tuple(findings(snapshots, before))
        except Exception as error:
            where = "" if self.store is None else f" in {self.store.path}"
            self._failures.warn(f"no findings{where}: {error!r}", stacklevel=3)
            return ()

    def _previous(self, snapshot: Snapshot) -> Snapshot | None:
        newest = self._newest.get(snapshot.probe)
        if newest is not None and newest.step < snapshot.step:
            return newest
        return None if self.store is None else self.store.previous(snapshot.probe, snapshot.step)

    def _aligned(self, name: str, reference: RunStore, snapshot: Snapshot) -> Snapshot | None:
        probe = snapshot.probe
        if self.align == "last":
            steps = reference.graph_steps(probe)
            return reference.load(probe, steps[-1]) if steps else None
        if (name, probe) not in self._epochs:
            self._epochs[name, probe] = reference.epochs(probe)
        step = self._epochs[name, probe].get(snapshot.epoch)
        return None if step is None else reference.load(probe, step)


def _release(store: RunStore, process: int) -> None:
    """Give the claim of a recorder back that nobody closed; a process that was forked has no part in it."""
    # An error that ends the process is known by then.
    if os.getpid() == process:
        store.release(finished=getattr(sys, "last_value", None) is None)


def _reference(name: str, path: str | os.PathLike[str]) -> RunStore:
    if not name or not all(letter.isalnum() or letter in "_-" for letter in name):
        raise ValueError(f"reference name {name!r}: letters, digits, '_' and '-' only, since keys carry it")
    store = RunStore(path)
    if not store.probes():
        raise ValueError(
            f"reference {name!r}: {store.path} holds no snapshots; give the directory that an earlier run named at its "
            "start (the one with snapshots/ in it)"
        )
    return store
