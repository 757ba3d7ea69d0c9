"""Records in a W&B run, and snapshots as artifacts, which other runs use as references."""

import os
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from rra_monitor import __version__
from rra_monitor.figures.snapshot import montage
from rra_monitor.integrations.wandb.references import ARTIFACT_TYPE
from rra_monitor.integrations.wandb.rows import RunRows
from rra_monitor.integrations.wandb.table import COLUMNS, LongTable, Row, table_rows
from rra_monitor.measure.snapshot import Snapshot
from rra_monitor.runs.keys import metric_key
from rra_monitor.runs.record import Record, scalars
from rra_monitor.runs.store import RunStore

if TYPE_CHECKING:
    import wandb

EPOCH, STEP, TABLE = "rra/epoch", "rra/step", "rra/table"

MOST_PICTURES = 32
"""Number of snapshots that get a picture each; after them every 2nd gets one, after twice as many every 4th, …"""


class WandbSink:
    """Writes to a W&B run that someone else opens, logs to as well, and finishes.

    The run's steps are the user's: a snapshot's values join the row that the user's next `run.log` ends, so that
    nothing is dropped that comes with `step=`. Of several snapshots before it, some are not drawn; `rra/table` has them
    all. Where nobody else logs, rows are ended here, not more than there are epochs.

    Scalars have exact names with `rra/epoch` as their axis; those of single layers are hidden from the automatic
    charts, because there would be hundreds (choose them in a panel of your own). `rra/<probe>/montage` is a picture
    with a slider; `rra/table` has every value in one long table. Settings are in the run's config under `rra`.

    In a process group use it on rank zero.

    Args:
        run: result of `wandb.init`, online or offline.
        store: store of the same run; with it, the table of a resumed run continues.
        every: log the table every `every` snapshots, and at `close`.
        artifacts: whether `close` makes the stored snapshots a version of the artifact `rra-<run id>` of type
            `rra-snapshot`, which is a reference for other runs: `wandb:<entity>/<project>/rra-<run id>:latest`. W&B
            copies the contents of the store; limit them with `keep_graphs` if there are many graphs.

    Raises:
        ValueError: `every` below 1, or artifacts without a store in a local directory.

    Example, in any loop::

        sink = WandbSink(wandb.init(project="mine"), store)
        recorder = rra.Recorder(store, sinks=[rra.JSONLSink(store), sink])
        ...
        recorder.close()  # before run.finish()
    """

    def __init__(
        self, run: "wandb.Run", store: RunStore | None = None, *, every: int = 25, artifacts: bool = False
    ) -> None:
        if every < 1:
            raise ValueError(f"every={every}; expected 1 snapshot or more")
        if artifacts and (store is None or "://" in store.path):
            found = "no store" if store is None else store.path
            raise ValueError(f"artifacts of {found}; they need a RunStore in a local directory, or artifacts=False")
        self._opened: Callable[[], Any] = lambda: run
        self._rows: RunRows | None = None
        self._store = store
        self._every = every
        self._artifacts = artifacts
        self._defined: set[str] = set()
        self._first: dict[str, Snapshot] = {}
        self._table = LongTable()
        self._newest: Record | None = None
        self._pictured = self._saved = True
        self._kept: int | None = None

    @classmethod
    def of_logger(cls, logger: Any, store: RunStore | None, artifacts: bool) -> "WandbSink":
        """The sink of a logger that has the run as its `experiment`, which is asked for at each use: it may fail."""
        sink = cls(None, store, artifacts=artifacts)  # type: ignore[arg-type]
        sink._opened = partial(getattr, logger, "experiment")
        return sink

    @property
    def _run(self) -> Any:
        return self._opened()

    def write(self, record: Record) -> None:
        """Log scalars by key, pictures, and every `every` snapshots the table."""
        newest, self._newest = self._newest, record
        if newest is None:
            self._begin(record)
        rows = (table_rows(snapshot, record.matches[probe]) for probe, snapshot in record.snapshots.items())
        self._table.add(record.step, chain.from_iterable(rows))
        number = self._table.count - 1
        self._pictured = number % picture_stride(number) == 0
        self._saved = self._table.count % self._every == 0
        values = scalars(record) | {STEP: float(record.step)}
        if self._rows is None:
            self._rows = RunRows(self._run)
        self._rows.add(self._logged(record, values, self._pictured, self._saved), record.epoch)

    def close(self) -> None:
        """Log the table, and the pictures and the artifact of the last record, unless they are there already."""
        if self._newest is None or self._rows is None:
            return
        if not (self._pictured and self._saved):
            values = {EPOCH: float(self._newest.epoch)}
            self._rows.extend(self._logged(self._newest, values, not self._pictured, not self._saved))
            self._pictured = self._saved = True
        self._rows.end(self._newest.epoch)
        if self._artifacts and self._kept != self._newest.step:
            self._log_artifact(self._newest)
            self._kept = self._newest.step

    def _begin(self, record: Record) -> None:
        """Put the settings into the config, and what an earlier process of the same run stored into the table."""
        about = {probe: settings_of(snapshot) for probe, snapshot in record.snapshots.items()}
        config: Any = self._run.config
        config.update({"rra": {"version": __version__, "probes": about}}, allow_val_change=True)
        if self._store is None:
            return
        earlier: dict[int, list[Row]] = {}
        for probe in self._store.probes():
            for snapshot in self._store.curves(probe):
                if snapshot.step < record.step:
                    self._first.setdefault(probe, snapshot)
                    matches = self._store.matches(probe, snapshot.step)
                    earlier.setdefault(snapshot.step, []).extend(table_rows(snapshot, matches))
        for step in sorted(earlier):
            self._table.add(step, earlier[step])

    def _logged(self, record: Record, values: Mapping[str, Any], pictures: bool, save: bool) -> dict[str, Any]:
        """The values with pictures and the table, all of their keys defined."""
        import wandb

        logged = dict(values)
        if pictures:
            logged |= self._pictures(record)
        if save:
            rows = [list(row) for row in self._table.rows()]
            logged[TABLE] = wandb.Table(columns=list(COLUMNS), data=rows)
        for key in sorted(logged.keys() - self._defined):
            self._define(key)
        return logged

    def _define(self, key: str) -> None:
        # Of rra/<probe>/<quantity>/<layer> there are hundreds.
        hidden = key in (EPOCH, STEP) or key.count("/") > 2
        axis = None if key == EPOCH else EPOCH
        # Each call logs the axis, so W&B need not fill it in.
        self._run.define_metric(key, step_metric=axis, step_sync=False, hidden=hidden)
        self._defined.add(key)

    def _pictures(self, record: Record) -> dict[str, Any]:
        import wandb

        pictures = {}
        try:
            for probe, snapshot in record.snapshots.items():
                pixels = montage(snapshot, record.matches[probe], self._first.setdefault(probe, snapshot))
                caption = f"{probe}, epoch {record.epoch}, step {record.step}"
                pictures[metric_key(probe, "montage")] = wandb.Image(pixels, caption=caption)
        except ModuleNotFoundError as error:
            warnings.warn(f"no pictures for W&B: {error}; install matplotlib and pillow", stacklevel=2)
        return pictures

    def _log_artifact(self, record: Record) -> None:
        import wandb

        assert self._store is not None
        artifact = wandb.Artifact(
            f"rra-{self._run.id}", ARTIFACT_TYPE, metadata={"epoch": record.epoch, "step": record.step}
        )
        for folder in ("snapshots", "samples"):
            artifact.add_dir(os.path.join(self._store.path, folder), name=folder)
        self._run.log_artifact(artifact, aliases=["latest", f"epoch-{record.epoch}"])


def picture_stride(number: int) -> int:
    """The number of snapshots from one picture to the next around this snapshot, counted from 0.

    >>> [picture_stride(number) for number in (0, 31, 32, 63, 64, 127, 128)]
    [1, 1, 2, 2, 4, 4, 8]
    """
    return 1 << (number // MOST_PICTURES).bit_length()


def settings_of(snapshot: Snapshot) -> dict[str, Any]:
    """The settings of a snapshot as plain values for a run's config."""
    settings = snapshot.settings
    return {
        "n": settings.n,
        "k": settings.k,
        "ndr": settings.ndr,
        "metric": settings.metric,
        "backend": settings.backend,
        "estimator": settings.estimator,
        "fingerprint": settings.fingerprint,
        "labelled": settings.labels is not None,
        "views": list(settings.views),
        "layers": list(snapshot.view().layers),
        **{f"{name}_chance": chance for name, chance in snapshot.chances().items()},
    }
