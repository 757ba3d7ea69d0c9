"""The command `rra-monitor suggest`: from the analysis of runs to the next training."""

import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_type_hints

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from rra_monitor.capture.names import FULL
from rra_monitor.conclusions.pooling import window_views
from rra_monitor.datasets.catalogue import DATA
from rra_monitor.measure.snapshot import Snapshot
from rra_monitor.recipes.catalogue import STRATEGIES
from rra_monitor.recipes.described import fits
from rra_monitor.recipes.networks import stage_sides
from rra_monitor.recipes.options import FLAGS, VIEWS, TrainOptions
from rra_monitor.recipes.plan import named_windows
from rra_monitor.recipes.recipe import NetworkSpec
from rra_monitor.recipes.run_files import CHECKPOINT, RUN, read_description, read_result
from rra_monitor.recipes.windows import StageChoice, greedy, largest_uniform, max_cs, stage_blocks
from rra_monitor.runs.locate import open_run
from rra_monitor.runs.store import RunStore
from rra_monitor.utils.terminal import print_line
from rra_monitor.utils.text import visible

Strategy = Literal["max-cs", "uniform", "greedy"]
THESIS = {(data, name): windows for data, rows in STRATEGIES.items() for name, (windows, _) in rows.items()} | {
    ("cifar10", "uniform"): (8, 8, 8),
    ("imagenet64-50", "uniform"): (16, 16, 16),
}
"""The windows of Table 7.6, by data and strategy."""


def run_suggest(runs: Sequence[str], strategy: Strategy, probe: str, side: int | None) -> None:
    """Choose the windows, print them and the command that trains with them.

    Raises:
        ValueError: runs from which the strategy cannot choose, with what is missing and how to get it.
    """
    if strategy != "greedy" and len(runs) > 1:
        raise ValueError(f"{strategy} reads one run, got {len(runs)}; several are for --strategy greedy")
    if side is not None and side < 1:
        raise ValueError(f"--side {side}: expected the side of an image in pixels, at least 1")
    console = Console()
    about = _described(Path(runs[0]))
    if strategy == "max-cs":
        choices = _max_cs(runs[0], probe, side, about)
    elif strategy == "uniform":
        stages = 0 if about is not None else len(stage_blocks(_last(open_run(runs[0]), probe)))
        choices = largest_uniform(_sides(about, side, stages, runs[0]))
    else:
        choices = _greedy([Path(run) for run in runs])
    recipe = None if about is None else about["plan"]["recipe"]
    data, network = (None, None) if recipe is None else (recipe["data"], recipe["network"]["base"])
    # Table 7.6 is of ResNet20.
    known = THESIS.get((str(data), str(strategy))) if network == "resnet20" else None
    console.print(_table(choices, strategy, known))
    for line in (*_notes(choices, strategy), _command(choices, about), *_permission(about)):
        print_line(console, line, soft_wrap=True)


def _max_cs(run: str, probe: str, side: int | None, about: dict[str, Any] | None) -> list[StageChoice]:
    try:
        store = open_run(run)
    except ValueError as error:
        if about is None or not (_folder(Path(run)) / CHECKPOINT).exists():
            raise
        raise ValueError(f"{run} was trained without the monitor. {_way(run, probe, about)}") from error
    snapshot = _last(store, probe)
    if window_views(snapshot) == [FULL]:
        raise ValueError(f"{store.path} was measured without average-pooled views. {_way(run, probe, about)}")
    # With graphs the error of the margin is smaller.
    steps = store.graph_steps(probe)
    if steps and steps[-1] == snapshot.step:
        snapshot = store.load(probe, snapshot.step)
    known = about is not None or side is not None
    return max_cs(snapshot, _sides(about, side, len(stage_blocks(snapshot)), run) if known else None)


def _last(store: RunStore, probe: str) -> Snapshot:
    """The last snapshot of a probe, without graphs."""
    if probe not in store.probes():
        raise ValueError(f"{store.path} has no probe {probe!r}; it has {', '.join(store.probes())}; see --probe")
    return store.load(probe, store.steps(probe)[-1], graphs=False)


def _greedy(runs: Sequence[Path]) -> list[StageChoice]:
    """Windows from finished trainings with STAC in one stage alone."""
    accuracies: dict[tuple[int, int], list[float]] = defaultdict(list)
    stages = set()
    for run in runs:
        about, result = _described(run), read_result(run)
        if about is None or result is None:
            raise ValueError(f"{run} holds no finished training of `rra-monitor train`, whose accuracy greedy goes by")
        network = about["plan"]["recipe"]["network"]
        placed = [(stage, window) for stage, window in enumerate(network["windows"], 1) if window is not None]
        if network["attention"] != "stac" or len(placed) != 1 or not isinstance(placed[0][1], int):
            raise ValueError(
                f"{run} has {network['attention'] or 'no'} attention with the windows {network['windows']}, and greedy "
                "compares STAC in one stage alone, as resnet20-cifar10-stac-s1-w4 has it"
            )
        stages.add(len(network["windows"]))
        accuracies[placed[0]].append(100 * result["val_accuracy"])
    if missing := sorted(set(range(1, max(stages) + 1)) - {stage for stage, _ in accuracies}):
        raise ValueError(
            f"no run has STAC in stage {', '.join(map(str, missing))} alone; train one for each stage and window, as "
            "the recipes resnet20-cifar10-stac-s1-w1, …"
        )
    return greedy(accuracies)


def _described(run: Path) -> dict[str, Any] | None:
    """The description of a run by `rra-monitor train`, given its folder or that of its snapshots."""
    return read_description(_folder(run))


def _folder(run: Path) -> Path:
    """The folder of a training, given that folder or that of its snapshots."""
    return run if (run / RUN).exists() else run.parent


def _sides(about: dict[str, Any] | None, side: int | None, stages: int, run: str) -> tuple[int, ...]:
    """The side of each stage's map; the stages are counted if no recipe names the network."""
    if about is not None:
        recipe = about["plan"]["recipe"]
        return stage_sides(NetworkSpec(base=recipe["network"]["base"]).stages, side or DATA[recipe["data"]].side)
    if side is None:
        raise ValueError(f"{run} does not say how large its images were; give --side, in pixels")
    return stage_sides(stages, side)


def _table(choices: Sequence[StageChoice], strategy: Strategy, known: Sequence[int] | None) -> Table:
    title = {"max-cs": "NNCS by window", "greedy": "validation accuracy by window, %", "uniform": "window"}[strategy]
    windows = sorted({window for choice in choices for window in choice.scores}, key=lambda one: (str(one) == one, one))
    # Without lines between the columns it fits a terminal of 80.
    table = Table("stage", title=f"{strategy}: {title}", title_justify="left", box=SIMPLE_HEAD, padding=0)
    for window in windows:
        table.add_column(str(window), justify="right")
    table.add_column("chosen", justify="right")
    if strategy != "uniform":
        table.add_column("margin", justify="right")
    if known is not None:
        table.add_column("thesis", justify="right")
    digits = 3 if strategy == "max-cs" else 1
    for at, choice in enumerate(choices):
        cells = [f"{choice.scores[window]:.{digits}f}" if window in choice.scores else "" for window in windows]
        cells.append(str(choice.window))
        if strategy != "uniform":
            cells.append(f"{choice.margin:.{digits}f}" + ("" if choice.sure in (True, None) else " ?"))
        table.add_row(str(choice.stage), *cells, *([str(known[at])] if known is not None else []))
    return table


def _notes(choices: Sequence[StageChoice], strategy: Strategy) -> list[str]:
    found = []
    if strategy == "max-cs":
        found.append("NNCS: fraction of neighbours of the same class, of average-pooled features; 1 is no pooling.")
    if any(choice.sure is False for choice in choices):
        found.append("?: within the sampling error; a larger n tells more (rra-monitor train --n).")
    return found


def _command(choices: Sequence[StageChoice], about: dict[str, Any] | None) -> str:
    """The training that uses the windows, and differs from the run in its attention alone."""
    windows = named_windows(tuple(choice.window for choice in choices))
    if about is None:
        return f"With a recipe of yours: rra-monitor train RECIPE --attention stac --window {windows}"
    recipe = about["options"]["recipe"]
    # What begins with a hyphen would be an option of its own.
    words = [f"--recipe={recipe}" if recipe.startswith("-") else recipe]
    words += ["--attention", "stac", "--window", windows, *_kept(about["options"])]
    return f"Train with them: rra-monitor train {visible(shlex.join(words))} --out runs/suggested"


def _permission(about: Mapping[str, Any] | None) -> list[str]:
    """Permissions of a run that its suggestion does not get."""
    if about is None or not about["options"].get("allow_pickle"):
        return []
    return ["The run read pickles, which runs what they contain. Add --allow-pickle if you trust those of --data."]


def _kept(options: Mapping[str, Any]) -> Iterator[str]:
    """The options of a run as words, without those that the next one sets itself: all others stay the same.

    Permissions are not among them: a run may come from somebody else.
    """
    own = {"recipe", "attention", "window", "out", "resume", "seeds", "download", "allow_pickle"}
    kinds = get_type_hints(TrainOptions)
    for field in fields(TrainOptions):
        value = options.get(field.name, field.default)
        if field.name in own or value == field.default or not fits(value, kinds[field.name]):
            continue
        option, text = f"--{field.name.replace('_', '-')}", str(value)
        if field.name in FLAGS:
            yield option if value else f"--no-{option[2:]}"
        else:
            yield from [f"{option}={text}"] if text.startswith("-") else [option, text]


def _way(run: str, probe: str, about: dict[str, Any] | None) -> str:
    """How to measure a run's checkpoint with pooled views, and to suggest windows from that."""
    words = ["MODEL", "--checkpoint", "FILE", "--data", "DATA"]
    side = ""
    if about is not None:
        folder = _folder(Path(run))
        named = f"'{folder}'" if "," in str(folder) else folder
        words = ["rra_monitor.recipes.trained:network_of", "--arguments", f"run={named}"]
        words += ["--checkpoint", str(folder / CHECKPOINT)]
        words += ["--data", f"run:{folder}"]
        side = f" --side {DATA[about['plan']['recipe']['data']].side}"
    words += ["--views", VIEWS, "--probe", probe, "--out", "rra-pooled"]
    return (
        "The windows are read off average-pooled views, which its checkpoint gives: "
        f"rra-monitor analyze {visible(shlex.join(words))}; then: rra-monitor suggest rra-pooled{side}"
    )
