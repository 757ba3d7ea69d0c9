"""The command `rra-monitor train`: one seed of a recipe, or several one after another and compared."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from rich.table import Table

from rra_monitor.cli.compare import run_compare
from rra_monitor.recipes.options import TrainOptions
from rra_monitor.recipes.plan import TrainingPlan, training_plan
from rra_monitor.recipes.recipe import thesis_accuracy
from rra_monitor.recipes.run_files import (
    CHECKPOINT,
    METRICS,
    differing_options,
    read_result,
)
from rra_monitor.recipes.training import begun, folder_of, read_data, train_one
from rra_monitor.runs.locate import CALLBACK_FOLDER
from rra_monitor.utils.terminal import print_line

MOST, LARGEST = 1000, 1 << 32
"""Largest number of seeds in one command; upper bound of a seed."""


def train_seeds(options: TrainOptions) -> None:
    """Train each seed that is not finished, continue an interrupted one, then compare all of them.

    Raises:
        ValueError: what does not fit, named; nothing is trained then.
    """
    assert options.seeds is not None
    # Of several devices each has a process that comes here.
    console = Console(quiet=rank_zero_only.rank != 0)  # type: ignore[attr-defined]
    plan = training_plan(options)
    each = {seed: plan.of_seed(seed, options.resume) for seed in read_seeds(options.seeds)}
    folders = {seed: folder_of(one.options) for seed, one in each.items()}
    for seed, folder in folders.items():
        if begun(folder) and (differing := differing_options(folder, each[seed])):
            raise ValueError(f"{folder} holds another training: {'; '.join(differing)}; give another --out")
    splits = None
    results: dict[int, dict[str, Any]] = {}
    for seed, folder in folders.items():
        if (result := read_result(folder)) is not None:
            print_line(console, f"seed {seed} is finished, in {folder}")
            results[seed] = result
            continue
        splits = splits or read_data(plan)
        with _saying_how_to_resume():
            results[seed] = train_one(plan.of_seed(seed, begun(folder)), splits, folder)
        print_report(console, each[seed], folder, results[seed])
    console.print(_table(plan, results))
    if options.monitor and len(each) > 1:
        _compare(plan, list(folders.values()))


@rank_zero_only
def _compare(plan: TrainingPlan, folders: Sequence[Path]) -> None:
    first, *others = (str(folder / CALLBACK_FOLDER) for folder in folders)
    run_compare([], [[f"{plan.recipe.name}={first}", *others]], None, None, str(folders[0].parent / "comparison"))


def read_seeds(text: str) -> list[int]:
    """The seeds named in a text, each once, in the given order.

    Raises:
        ValueError: another text.

    >>> read_seeds("0-2,7")
    [0, 1, 2, 7]
    """
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        if not _is_number(first) or (dash and not _is_number(last)):
            raise ValueError(f"--seeds {text!r}: expected numbers and ranges with commas, as in 0-7 or 0,3,5-6")
        several = range(min(int(first), LARGEST), min(int(last or first), LARGEST) + 1)
        if not several:
            raise ValueError(f"--seeds {text!r}: the range {part.strip()} is empty; give the smaller number first")
        if several[-1] == LARGEST or len(found) + len(several) > MOST:
            raise ValueError(f"--seeds {text!r:.80}: expected at most {MOST} seeds, each less than {LARGEST}")
        found += several
    return list(dict.fromkeys(found))


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) < 20


def _table(plan: TrainingPlan, results: dict[int, dict[str, Any]]) -> Table:
    """The accuracy of each seed, their mean and standard deviation, beside the thesis's."""
    table = Table("seed", title=plan.recipe.name, title_justify="left")
    for name in ("training %", "validation %"):
        table.add_column(name, justify="right")
    values = np.array([[result["train_accuracy"], result["val_accuracy"]] for result in results.values()]) * 100
    for seed, row in zip(results, values, strict=True):
        table.add_row(str(seed), *(f"{value:.2f}" for value in row))
    table.add_section()
    spread = values.std(axis=0, ddof=1) if len(values) > 1 else [None, None]
    table.add_row(
        "mean",
        *(
            f"{mean:.2f}" + ("" if sd is None else f" ± {sd:.2f}")
            for mean, sd in zip(values.mean(axis=0), spread, strict=True)
        ),
    )
    if known := thesis_accuracy(plan.recipe):
        table.add_row("thesis", "", known)
    return table


def run_train(options: TrainOptions) -> None:
    """Train one seed, or several, and print the results and what to do next.

    Raises:
        ValueError: what does not fit, named.
    """
    if options.seeds is not None:
        train_seeds(options)
        return
    plan = training_plan(options)
    folder = folder_of(options)
    splits = read_data(plan)
    with _saying_how_to_resume():
        result = train_one(plan, splits, folder)
    print_report(Console(), plan, folder, result)


@contextmanager
def _saying_how_to_resume() -> Iterator[None]:
    """A context in which an interrupted training says how to go on."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        Console(stderr=True).print("Interrupted. The same command with --resume goes on after the last whole epoch.")
        raise


@rank_zero_only
def print_report(console: Console, plan: TrainingPlan, folder: Path, result: dict[str, Any]) -> None:
    """Print the results, and what to do next."""
    recipe = plan.recipe
    known = f"; the thesis has {thesis_accuracy(recipe)} % ({recipe.source})" if recipe.accuracy is not None else ""
    print_line(
        console,
        f"{recipe.name}, seed {result['seed']}: validation accuracy {100 * result['val_accuracy']:.1f} % after "
        f"{result['epochs']} epochs{known}",
    )
    lines = [f"Files: {folder}/ ({METRICS}, {CHECKPOINT}, config.json, run.json)"]
    if plan.options.monitor:
        lines += [f"Windows for STAC: rra-monitor suggest {folder}"]  # the callback has named the report
    if find_spec("tensorboard"):
        lines += [f"Curves: tensorboard --logdir {folder.parent}"]
    for line in lines:
        print_line(console, line, soft_wrap=True)
