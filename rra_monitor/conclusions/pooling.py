"""Which average-pooling window makes the classes of a stage most separable."""

import re
from itertools import groupby

from rra_monitor.capture.names import FULL, displayed, layer_view
from rra_monitor.conclusions.evidence import SURE, TIED, Difference, Finding, nncs_difference
from rra_monitor.conclusions.layers import (
    NNCS_STEP,
)
from rra_monitor.measure.snapshot import Snapshot


def pooling_windows(snapshot: Snapshot) -> list[Finding]:
    """Per stage, the average-pooling window of the highest mean NNCS over its blocks, where pooling helps (Table 7.6).

    A stage is a run of layers whose names differ in their last number alone (`layer1.0`, `layer1.1`).
    """
    views = [FULL, *(view for view in snapshot.settings.views if view.startswith("avg"))]
    if snapshot.nncs is None or len(views) < 2:
        return []
    position = {name: row for row, name in enumerate(snapshot.layers)}
    found = []
    full = snapshot.view().layers
    shown = dict(zip(full, displayed(full), strict=True))
    for _, blocks in groupby(full, _stage):
        layers = tuple(blocks)
        means: dict[str, float] = {}
        rows: dict[str, list[int]] = {}
        for view in views:
            names = [layer_view(layer, view) for layer in layers]
            names = [snapshot.aliases.get(name, name) for name in names]
            at = [position[name] for name in names if name in position]
            # Equal views, as of a map that is no larger than the window, enter once.
            if len(at) == len(layers) and at not in rows.values() and (snapshot.ties[at] <= TIED).all():
                rows[view], means[view] = at, float(snapshot.nncs[at].mean())
        if FULL not in rows or len(rows) < 2:
            continue
        best, second = sorted(means, key=lambda view: -means[view])[:2]
        against = {view: _mean_difference(snapshot, rows[view], rows[best]) for view in (FULL, second)}
        sure = against[FULL].confidence(len(rows), NNCS_STEP)
        if best == FULL or sure < SURE:
            continue
        apart = against[second].confidence(len(rows)) >= SURE
        tail = "" if apart else ", within the sampling error"
        found.append(
            Finding(
                "pooling_window",
                snapshot.probe,
                layers,
                f"{snapshot.probe}: average pooling of {_stage(shown[layers[0]])} separates the classes best with "
                f"{_window(best)}: NNCS {means[best]:.3f} against {means[FULL]:.3f} unpooled; "
                f"{means[best] - means[second]:.3f} above the next best, {_window(second)}{tail}.",
                sure,
                {"full": means[FULL], "best": means[best], "margin": means[best] - means[second]},
            )
        )
    return found


def _stage(layer: str) -> str:
    return re.sub(r"\.\d+$", "", layer)


def _mean_difference(snapshot: Snapshot, rows_a: list[int], rows_b: list[int]) -> Difference:
    """The difference of means over blocks; their errors are of the same samples and do not average out."""
    changes = [nncs_difference(snapshot, a, b) for a, b in zip(rows_a, rows_b, strict=True)]
    return Difference(
        sum(change.value for change in changes) / len(changes), sum(change.error for change in changes) / len(changes)
    )


def _window(view: str) -> str:
    if view == FULL:
        return "no pooling"
    return "the global window" if view.endswith("-global") else f"windows of {view.removeprefix('avg')}"
