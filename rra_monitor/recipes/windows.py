"""Windows of STAC by the three strategies of the thesis (Table 7.6)."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from rra_monitor.capture.names import FULL, is_view, layer_view, split_view
from rra_monitor.conclusions.evidence import SURE, TIED, Difference, nncs_difference
from rra_monitor.measure.snapshot import Snapshot
from rra_monitor.recipes.recipe import StageWindow
from rra_monitor.utils.text import some

BLOCK = re.compile(r"(?:.*\.)?layer([0-9]{1,4})\.[0-9]+")
"""Residual blocks, as ResNets name them, here and in torchvision."""


@dataclass(frozen=True)
class StageChoice:
    """The window of one stage.

    Attributes:
        stage: number of the stage, from 1.
        window: chosen window.
        scores: score of every window that was compared, in their order: NNCS, or accuracy in percent.
        margin: lead of the chosen window over the second best.
        sure: whether the margin exceeds the sampling error, with a confidence of 0.99; None if unknown.
    """

    stage: int
    window: StageWindow
    scores: Mapping[StageWindow, float]
    margin: float
    sure: bool | None


def max_cs(snapshot: Snapshot, sides: Sequence[int] | None) -> list[StageChoice]:
    """For each stage the average-pooling window of the highest NNCS, the mean over its blocks; 1 is no pooling.

    The global view counts as a window of the map's side. A view in which most samples are tied does not count. Of
    windows with equal NNCS the smallest is taken.

    Args:
        snapshot: a snapshot with pooled views and labels.
        sides: side of each stage's map, in pixels; None if unknown: the window is then called "global".

    Raises:
        ValueError: no labels, no pooled views, no stages.

    Source: thesis, 7.3.4.
    """
    if snapshot.nncs is None:
        raise ValueError(f"the probe {snapshot.probe!r} has no labels, and so no NNCS to choose windows by")
    views = [view for view in snapshot.settings.views if view == FULL or (view.startswith("avg") and is_view(view))]
    if len(views) < 2:
        raise ValueError(
            f"the probe {snapshot.probe!r} was measured without pooled views (it has "
            f"{', '.join(snapshot.settings.views)})"
        )
    stages = stage_blocks(snapshot)
    if sides is not None and len(sides) != len(stages):
        raise ValueError(f"the run has {len(stages)} stages of blocks, and {len(sides)} were expected")
    return [
        _stage_choice(snapshot, number, blocks, views, None if sides is None else sides[at])
        for at, (number, blocks) in enumerate(stages.items())
    ]


def stage_blocks(snapshot: Snapshot) -> dict[int, list[str]]:
    """The blocks of each stage, by its number.

    Raises:
        ValueError: there are none.
    """
    names = [name for name in snapshot.layers if split_view(name)[1] == FULL]
    found: dict[int, list[str]] = {}
    for number, blocks in groupby(names, lambda name: int(match[1]) if (match := BLOCK.fullmatch(name)) else 0):
        if number:
            found.setdefault(number, []).extend(blocks)
    if not found:
        raise ValueError(f"the run has no residual stages: no layers layer1.0, … among {some(names, 20)}")
    return found


def largest_uniform(sides: Sequence[int]) -> list[StageChoice]:
    """One window for all stages, the largest that fits the last one: the side of its map."""
    return [StageChoice(stage, sides[-1], {}, 0.0, None) for stage in range(1, len(sides) + 1)]


def greedy(accuracies: Mapping[tuple[int, int], Sequence[float]]) -> list[StageChoice]:
    """For each stage the window at which STAC in that stage alone is most accurate; of equal ones the smallest.

    Accuracies are equal if their means are equal to a tenth of a percent, as printed in the thesis.

    Args:
        accuracies: stage, from 1, and window to the accuracies of its runs, in percent.
    """
    means: dict[int, dict[StageWindow, float]] = defaultdict(dict)
    for (stage, size), values in sorted(accuracies.items()):
        means[stage][size] = round(sum(values) / len(values), 1)
    choices = []
    for stage, scores in means.items():
        window, margin = _best(scores)
        choices.append(StageChoice(stage, window, scores, margin, None))
    return choices


def _best(scores: Mapping[StageWindow, float]) -> tuple[StageWindow, float]:
    """The first key with the highest score, and its lead over the second best; 0 if there is only one."""
    best = max(scores, key=lambda window: scores[window])
    others = [score for window, score in scores.items() if window != best]
    return best, scores[best] - max(others) if others else 0.0


def _stage_choice(
    snapshot: Snapshot, number: int, blocks: Sequence[str], views: Sequence[str], side: int | None
) -> StageChoice:
    assert snapshot.nncs is not None
    position = {name: row for row, name in enumerate(snapshot.layers)}
    rows: dict[StageWindow, list[int]] = {}
    for view in sorted(views, key=_size):
        names = [layer_view(block, view) for block in blocks]
        at = [position[name] for name in (snapshot.aliases.get(name, name) for name in names) if name in position]
        window: StageWindow = 1 if view == FULL else "global"
        if view not in (FULL, "avg-global"):
            window = int(view.removeprefix("avg"))
        # Another name of the global view.
        if side is not None and (window == "global" or window > side):
            window = side
        # Equal views count once, under the global view's name, whose size only the map knows.
        known = next((other for other, there in rows.items() if there == at), None)
        if known is not None and window == "global":
            del rows[known]
        elif known is not None:
            continue
        if len(at) == len(blocks) and (snapshot.ties[at] <= TIED).all():
            rows[window] = at
    if len(rows) < 2:
        raise ValueError(
            f"stage {number} has {len(rows)} window to choose from; measure more of them, as in "
            "--views full,avg2,avg4,avg8,avg-global"
        )
    scores = {window: float(snapshot.nncs[at].mean()) for window, at in rows.items()}
    best, margin = _best(scores)
    second = max((window for window in scores if window != best), key=lambda window: scores[window])
    changes = [nncs_difference(snapshot, a, b) for a, b in zip(rows[second], rows[best], strict=True)]
    # The blocks are of the same samples, so their errors do not average out.
    change = Difference(
        sum(change.value for change in changes) / len(changes), sum(change.error for change in changes) / len(changes)
    )
    return StageChoice(number, best, scores, margin, change.confidence(len(rows)) >= SURE)


def _size(view: str) -> int:
    """Sort key of views by their windows: full, avg2, …, global."""
    digits = view.removeprefix("avg")
    return 1 if view == FULL else int(digits) if digits.isdecimal() else 1 << 30
