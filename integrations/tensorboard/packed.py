"""A record as the few tensors that the tab reads."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from rra_monitor.integrations.tensorboard import tags
from rra_monitor.measure.description import described
from rra_monitor.measure.match import PREVIOUS
from rra_monitor.measure.quantity import PAIRED, Quantity
from rra_monitor.measure.snapshot import Snapshot
from rra_monitor.page.arrays import ProbeFrame
from rra_monitor.page.frame import probe_frame
from rra_monitor.runs.record import Record


@dataclass(frozen=True, eq=False)
class Packed:
    """One tensor of a record.

    Attributes:
        tag: tag under which it is written.
        content: description of the tag's axes, see `tags`.
        values: tensor, or a string.
    """

    tag: str
    content: bytes
    values: npt.NDArray[np.floating] | str


def packed_tensors(record: Record, comparisons: Iterable[str] = ()) -> list[Packed]:
    """A record as tensors: curves, a matrix of each kind, findings; epoch and times come last and mark it complete.

    Args:
        record: record to write.
        comparisons: names of all comparisons that the run has had. A reference need not have a value at every epoch,
            and the axis of the metrics should stay the same.
    """
    moments = {
        probe: probe_frame(snapshot, record.matches.get(probe, {})) for probe, snapshot in record.snapshots.items()
    }
    quantities = {one.name: one for snapshot in record.snapshots.values() for one in snapshot.quantities}
    here = (name for matches in record.matches.values() for name in matches)
    compared = dict.fromkeys([PREVIOUS, *comparisons, *here])
    of_layers = [one.name for one in quantities.values() if not one.of_pairs]
    metrics = (*of_layers, *(f"{PAIRED}{name}" for name in compared))
    kinds = dict.fromkeys(kind for moment in moments.values() for kind in moment.matrices)
    findings = json.dumps([dataclasses.asdict(finding) for finding in record.findings])
    moment = np.array([record.epoch, record.seconds, record.overhead])
    return [
        _curves(moments, record.snapshots, metrics),
        *(_matrices(moments, record.snapshots, kind, quantities.get(kind)) for kind in kinds),
        Packed(tags.tag(tags.FINDINGS), tags.description(tags.FINDINGS), findings),
        Packed(tags.tag(tags.MOMENT), tags.description(tags.MOMENT), moment),
    ]


def _curves(moments: Mapping[str, ProbeFrame], snapshots: Mapping[str, Snapshot], metrics: Sequence[str]) -> Packed:
    probes, blocks = [], []
    for probe, moment in moments.items():
        snapshot = snapshots[probe]
        labels = snapshot.settings.labels
        probes.append(
            {
                "name": probe,
                "n": snapshot.settings.n,
                "k": snapshot.settings.k,
                "classes": None if labels is None else len(np.unique(labels)),
                "chances": snapshot.chances(),
                "estimator": snapshot.settings.estimator,
                "layers": moment.layers,
                "views": moment.views,
                "curves": [name for name in metrics if name in moment.curves or name.startswith(PAIRED)],
            }
        )
        none = np.full((len(moment.views), len(moment.layers)), np.nan)
        blocks.append(np.array([moment.curves.get(name, none) for name in metrics]))
    content = tags.description(tags.CURVES, metrics=metrics, probes=probes, quantities=_described(snapshots))
    return Packed(tags.tag(tags.CURVES, content), content, np.moveaxis(_padded(blocks), 0, 1))


def _matrices(
    moments: Mapping[str, ProbeFrame], snapshots: Mapping[str, Snapshot], kind: str, quantity: Quantity | None
) -> Packed:
    """Matrices of one kind: of a quantity of pairs, or where that is None of layer similarity."""
    matrices = {probe: moment.matrices[kind] for probe, moment in moments.items() if kind in moment.matrices}
    probes = [
        {"name": probe, "rows": matrix.rows, "columns": matrix.columns, "views": matrix.views}
        for probe, matrix in matrices.items()
    ]
    own = [] if quantity is None else [each for each in _described(snapshots) if each["name"] == quantity.name]
    content = tags.description(tags.NNLS, matrix=kind, probes=probes, quantities=own)
    values = _padded([matrix.values for matrix in matrices.values()])
    return Packed(tags.tag(f"{tags.NNLS}_{kind}" if quantity is None else kind, content), content, values)


def _described(snapshots: Mapping[str, Snapshot]) -> list[dict[str, Any]]:
    """The quantities that a reader may not know, each once."""
    each = chain.from_iterable(described(snapshot.quantities, snapshot.settings) for snapshot in snapshots.values())
    return list({one["name"]: one for one in each}.values())


def _padded(blocks: Sequence[npt.NDArray[np.floating]]) -> npt.NDArray[np.float32]:
    """Blocks with equal numbers of axes along a new first axis, with NaN where a block is shorter than the longest."""
    shape = np.max([block.shape for block in blocks], axis=0)
    values = np.full((len(blocks), *shape), np.nan, np.float32)
    for place, block in enumerate(blocks):
        values[place][tuple(slice(size) for size in block.shape)] = block
    return values
