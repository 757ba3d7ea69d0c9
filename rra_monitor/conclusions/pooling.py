"""Which average-pooling window makes the classes of a stage most separable."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rra_monitor.capture.names import FULL, displayed, is_view, layer_view, split_view
from rra_monitor.conclusions.evidence import SURE, TIED, Difference, Finding, nncs_difference
from rra_monitor.conclusions.layers import NNCS_STEP
from rra_monitor.measure.snapshot import Snapshot

GLOBAL = "avg-global"
"""The view that averages the whole map."""

_NUMBER = re.compile(r"\.\d+$")
"""The number of a block at the end of its name."""


@dataclass(frozen=True)
class StageWindows:
    """The average-pooling windows of one stage, by their NNCS.

    Attributes:
        layers: blocks of the stage, in execution order.
        means: view to its mean NNCS over the blocks, from no pooling and the smallest window to the global one. Equal
            views enter once, windows as large as the map as the global one. Views in which most samples are tied, or
            whose NNCS is undefined, do not enter.
        lead: lead of the best view over the second best; None with fewer than two views.
        gain: lead of the best view over no pooling; None if no pooling is the best, or does not enter.
    """

    layers: tuple[str, ...]
    means: Mapping[str, float]
    lead: Difference | None
    gain: Difference | None

    @property
    def best(self) -> str:
        """The view of the highest mean, of equal ones the smallest window."""
        return _ranked(self.means)[0]

    @property
    def second(self) -> str:
        """The view of the second highest mean."""
        return _ranked(self.means)[1]

    @property
    def sure(self) -> bool:
        """Whether the lead over the second best exceeds the sampling error."""
        return self.lead is not None and self.lead.confidence(len(self.means)) >= SURE


def best_windows(snapshot: Snapshot) -> list[StageWindows]:
    """The average-pooling windows of every stage; none without labels.

    Source: thesis, 7.3.4 (Table 7.6).
    """
    return [] if snapshot.nncs is None else [_stage_windows(snapshot, layers) for layers in stages(snapshot)]


def stages(snapshot: Snapshot) -> list[tuple[str, ...]]:
    """The layers of each stage: those whose names differ in their last number alone (`layer1.0`, `layer1.1`).

    Other layers may lie between them. A layer without a number at the end is a stage of its own.
    """
    found: dict[str, list[str]] = {}
    for layer in snapshot.view().layers:
        found.setdefault(_NUMBER.sub(".", layer), []).append(layer)
    return [tuple(layers) for layers in found.values()]


def window_views(snapshot: Snapshot) -> list[str]:
    """No pooling and the average-pooled views that were asked for, from the smallest window to the global one."""
    asked = snapshot.settings.views
    return sorted((view for view in asked if view == FULL or (view.startswith("avg") and is_view(view))), key=_size)


def pooling_windows(snapshot: Snapshot) -> list[Finding]:
    """Per stage, the average-pooling window of the highest mean NNCS over its blocks, where pooling helps."""
    found = []
    full = snapshot.view().layers
    shown = dict(zip(full, displayed(full), strict=True))
    for stage in best_windows(snapshot):
        if stage.lead is None or stage.gain is None:
            continue
        confidence = stage.gain.confidence(len(stage.means), NNCS_STEP)
        if confidence < SURE:
            continue
        best, unpooled = stage.means[stage.best], stage.means[FULL]
        tail = "" if stage.sure else ", within the sampling error"
        found.append(
            Finding(
                "pooling_window",
                snapshot.probe,
                stage.layers,
                f"{snapshot.probe}: average pooling of {_NUMBER.sub('', shown[stage.layers[0]])} separates the classes "
                f"best with {_window(stage.best)}: NNCS {best:.3f} against {unpooled:.3f} unpooled; "
                f"{stage.lead.value:.3f} above the next best, {_window(stage.second)}{tail}.",
                confidence,
                {"full": unpooled, "best": best, "margin": stage.lead.value},
            )
        )
    return found


def _stage_windows(snapshot: Snapshot, layers: tuple[str, ...]) -> StageWindows:
    assert snapshot.nncs is not None
    position = {name: row for row, name in enumerate(snapshot.layers)}
    rows: dict[str, list[int]] = {}
    for view in window_views(snapshot):
        names = [layer_view(layer, view) for layer in layers]
        names = [snapshot.aliases.get(name, name) for name in names]
        at = [position[name] for name in names if name in position]
        if len(at) < len(layers) or (snapshot.ties[at] > TIED).any() or np.isnan(snapshot.nncs[at]).any():
            continue
        name = GLOBAL if all(split_view(name)[1] == GLOBAL for name in names) else view
        if name not in rows and at not in rows.values():
            rows[name] = at
    means = {view: float(snapshot.nncs[at].mean()) for view, at in rows.items()}
    ranked = _ranked(means)
    others = ranked[1:]
    return StageWindows(
        layers,
        means,
        _mean_difference(snapshot, rows[others[0]], rows[ranked[0]]) if others else None,
        _mean_difference(snapshot, rows[FULL], rows[ranked[0]]) if FULL in others else None,
    )


def _ranked(means: Mapping[str, float]) -> list[str]:
    """The views from the highest mean to the lowest, equal ones in their order."""
    return sorted(means, key=lambda view: -means[view])


def _mean_difference(snapshot: Snapshot, rows_a: Sequence[int], rows_b: Sequence[int]) -> Difference:
    """The difference of means over blocks; their errors are of the same samples and do not average out."""
    changes = [nncs_difference(snapshot, a, b) for a, b in zip(rows_a, rows_b, strict=True)]
    return Difference(
        sum(change.value for change in changes) / len(changes), sum(change.error for change in changes) / len(changes)
    )


def _size(view: str) -> float:
    """The side of a view's window: 0 for no pooling, infinite for the whole map."""
    if view == FULL:
        return 0
    return np.inf if view == GLOBAL else int(view.removeprefix("avg"))


def _window(view: str) -> str:
    if view == FULL:
        return "no pooling"
    return "the global window" if view == GLOBAL else f"windows of {view.removeprefix('avg')}"
