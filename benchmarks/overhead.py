"""Does the monitor keep to the share of the time that it is given? A recipe's training, timed from outside.

    python benchmarks/overhead.py --data DIR [--write]                # half an hour on two cores
    python benchmarks/overhead.py --data DIR --images 500 --n 200     # a quick trial

DIR: see `rra-monitor train --help`. `rra-monitor train resnet20-cifar10 --views full --every 1 --max-overhead 0.05` is
run by its own code. Every hook of the callback is timed by the wall clock, so that what it does itself about its time
has no part in the share: the seconds within its hooks over those of the whole fit.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from results import Sheet, provenance, write_section

from rra_monitor.datasets.images import InMemory
from rra_monitor.integrations.lightning import RRACallback
from rra_monitor.recipes.options import TrainOptions
from rra_monitor.recipes.plan import training_plan
from rra_monitor.recipes.training import folder_of, read_data, train_one

TITLE = "## Does the monitor keep to its share of the time?"
HEADER = ["training", "wish", "epochs measured", "s in the monitor", "s of the fit", "share", "bar", "rra/overhead"]
SLACK = 0.01
"""What the share may be above the wish, which is kept at whole snapshots."""


class Watch:
    """The seconds that calls took; a call within another one counts once."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._within = False

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            if self._within:
                return function(*arguments, **options)
            self._within, started = True, time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self._within = False
                self.seconds += time.perf_counter() - started

        return call


@contextmanager
def watched() -> Iterator[Watch]:
    """A watch that runs within every hook of the callback."""
    watch = Watch()
    hooks = {name: hook for name, hook in vars(RRACallback).items() if name.startswith("on_")}
    with patch.multiple(RRACallback, **{name: watch.timed(hook) for name, hook in hooks.items()}):
        yield watch


def row(options: TrainOptions, images: int | None) -> tuple[list[str], bool]:
    """What was measured of one training, and whether the share was kept."""
    plan = training_plan(options)
    splits = read_data(plan)
    if images is not None:
        splits = replace(splits, train=_some(splits.train, images), val=_some(splits.val, images))
    with watched() as watch:
        result = train_one(plan, splits, folder_of(options))
    lines = (folder_of(options) / "rra" / "records.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    share, bar = watch.seconds / result["seconds"], (options.max_overhead or 1.0) + SLACK
    return [
        f"{options.recipe}, {result['epochs']} epochs, n = {plan.probe_n[0]:,}, views {options.views}",
        f"{options.max_overhead}",
        ", ".join(str(record["epoch"]) for record in records),
        f"{watch.seconds:.1f}",
        f"{result['seconds']:.1f}",
        f"{share:.3f}",
        f"at most {bar:.2f}",
        f"{records[-1]['overhead']:.3f}",
    ], share <= bar


def _some(split: Any, images: int) -> InMemory:
    chosen = torch.randperm(len(split.labels), generator=torch.Generator().manual_seed(0))[:images]
    return InMemory(split.images[chosen], split.labels[chosen])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--recipe", default="resnet20-cifar10")
    parser.add_argument("--views", default="full")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--max-overhead", type=float, default=0.05)
    parser.add_argument("--images", type=int, help="of each part, for a quick trial; all by default")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="put the table into RESULTS.md")
    given = parser.parse_args()
    os.environ["NUMBA_NUM_THREADS"] = f"{given.threads}"
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as scratch:
        options = TrainOptions(
            recipe=given.recipe,
            data=given.data,
            out=str(Path(scratch, "runs")),
            max_epochs=given.epochs,
            n=given.n,
            views=given.views,
            every=1,
            max_overhead=given.max_overhead,
            progress=False,
        )
        found, kept = row(options, given.images)
    for name, value in zip(HEADER, found, strict=True):
        print(f"{name}: {value}")
    print("kept" if kept else "NOT KEPT")
    if given.write:
        sheet = Sheet(
            "Every epoch asked for; the hooks of the callback by the wall clock", HEADER, texts=3, rows=[found]
        )
        about = provenance(given.threads, {"torch": torch.__version__})
        write_section("overhead", f"{TITLE}\n\n{about}\n\n{sheet.markdown()}")


if __name__ == "__main__":
    main()
