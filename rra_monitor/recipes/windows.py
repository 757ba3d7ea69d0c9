"""Windows of STAC by the three strategies of the thesis (Table 7.6)."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rra_monitor.capture.names import FULL, split_view
from rra_monitor.conclusions.pooling import GLOBAL, StageWindows, best_windows, stages, window_views
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
        ValueError: no labels, no pooled views, no stages, or a stage with fewer than two windows or with larger ones
            than its map.

    Source: thesis, 7.3.4.
    """
    if snapshot.nncs is None:
        raise ValueError(f"the probe {snapshot.probe!r} has no labels, and so no NNCS to choose windows by")
    if len(window_views(snapshot)) < 2:
        raise ValueError(
            f"the probe {snapshot.probe!r} was measured without pooled views (it has "
            f"{', '.join(snapshot.settings.views)})"
        )
    numbers = {blocks: number for number, blocks in stage_blocks(snapshot).items()}
    if sides is not None and len(sides) != len(numbers):
        raise ValueError(f"the run has {len(numbers)} stages of blocks, and {len(sides)} were expected")
    found = {numbers[stage.layers]: stage for stage in best_windows(snapshot) if stage.layers in numbers}
    return [
        _stage_choice(number, stage, None if sides is None else sides[at])
        for at, (number, stage) in enumerate(found.items())
    ]


def stage_blocks(snapshot: Snapshot) -> dict[int, tuple[str, ...]]:
    """The blocks of each residual stage, by its number.

    Raises:
        ValueError: there are none, or two stages of one number.
    """
    found: dict[int, tuple[str, ...]] = {}
    for blocks in stages(snapshot):
        match = BLOCK.fullmatch(blocks[0])
        number = int(match[1]) if match else 0
        if number in found:
            raise ValueError(
                f"the run has two stages {number}, of {found[number][0]} and of {blocks[0]}; analyze one network "
                "alone, see --layers"
            )
        if number:
            found[number] = blocks
    if not found:
        names = [name for name in snapshot.layers if split_view(name)[1] == FULL]
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


def _stage_choice(number: int, stage: StageWindows, side: int | None) -> StageChoice:
    if stage.lead is None:
        raise ValueError(
            f"stage {number} has {len(stage.means)} window to choose from; measure more of them, as in "
            "--views full,avg2,avg4,avg8,avg-global"
        )
    windows = {view: _window(view, side) for view in stage.means}
    inner = [window for view, window in windows.items() if view != GLOBAL]
    # A window as large as the map would be the global view.
    if side is not None and (larger := [window for window in inner if int(window) >= side]):
        raise ValueError(
            f"stage {number} has windows of {larger[0]} that are not its whole map, which is therefore larger than "
            f"{side} x {side}; give the side of the images with --side"
        )
    scores = {windows[view]: mean for view, mean in stage.means.items()}
    return StageChoice(number, windows[stage.best], scores, stage.lead.value, stage.sure)


def _window(view: str, side: int | None) -> StageWindow:
    """The window of a view, on a map of a side."""
    if view == FULL:
        return 1
    return (side or "global") if view == GLOBAL else int(view.removeprefix("avg"))
