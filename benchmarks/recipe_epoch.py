"""Does a recipe cost more than the same training by hand? All in one process, one after another.

    python benchmarks/recipe_epoch.py --data DIR                  # resnet20-cifar10-aug, 2 epochs of each
    python benchmarks/recipe_epoch.py --data DIR --monitored      # and once more with the monitor on

DIR: see `rra-monitor train --help`. Two loops by hand: one with torchvision's transforms in two worker processes, as
most are written, and one that takes its batches from tensors and augments them as the recipe does, so that what is left
to tell them apart is the recipe's own machinery. Network, schedule, precision and memory layout are alike in all.
"""

import argparse
import json
import math
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from rra_monitor.datasets.images import InMemory, normalised
from rra_monitor.nn import resnet20
from rra_monitor.recipes.augment import augmented
from rra_monitor.recipes.choices import AUGMENTATIONS
from rra_monitor.recipes.data_module import VALIDATION_BATCH
from rra_monitor.recipes.options import TrainOptions
from rra_monitor.recipes.plan import training_plan
from rra_monitor.recipes.precision import chosen_precision
from rra_monitor.recipes.run_files import METRICS, MetricsFile
from rra_monitor.recipes.training import folder_of, read_data, train_one

SCALE = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
BATCH, DECAY = 128, 5e-4
TRANSFORM = v2.Compose(
    [
        v2.RandomCrop(32, padding=4),
        v2.RandomHorizontalFlip(),
        v2.RandomRotation(15),
        v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.2, 0.1)], 0.8),
        v2.RandomGrayscale(0.2),
        v2.RandomApply([v2.GaussianBlur(3, (0.1, 2.0))], 0.5),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(*SCALE),
    ]
)
Batches = Iterator[tuple[torch.Tensor, torch.Tensor]]


class Transformed(Dataset):
    def __init__(self, part: InMemory) -> None:
        self.part = part

    def __len__(self) -> int:
        return len(self.part.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return TRANSFORM(self.part.images[index]), int(self.part.labels[index])


def from_workers(part: InMemory) -> Callable[[], Batches]:
    loader = DataLoader(Transformed(part), BATCH, shuffle=True, num_workers=2, persistent_workers=True)
    return lambda: iter(loader)


def from_tensors(part: InMemory) -> Callable[[], Batches]:
    everything = tuple(AUGMENTATIONS.values())
    columns = sum(one.columns for one in everything)

    def batches() -> Batches:
        for rows in torch.randperm(len(part.labels)).split(BATCH):
            images = augmented(part.images[rows].float() / 255, torch.rand(len(rows), columns), everything)
            yield normalised(images, SCALE), part.labels[rows]

    return batches


def by_hand(
    make: Callable[[], Batches], val: InMemory, epochs: int, steps: int, rate: float, precision: str
) -> tuple[list[float], float]:
    """Seconds of each epoch, validation included, and the last validation accuracy."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def passed(images: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16) if precision == "bf16-mixed" else nullcontext():
            return network(images.to(device, memory_format=torch.channels_last)).float()

    torch.manual_seed(0)
    network = resnet20().to(device, memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(network.parameters(), rate, momentum=0.9, weight_decay=DECAY)
    total, warm_up = epochs * steps, round(0.1 * epochs * steps)

    def factor(step: int) -> float:
        if step < warm_up:
            return (step + 1) / warm_up
        return 0.01 + 0.99 * (1 + math.cos(math.pi * min(1, (step - warm_up) / (total - warm_up - 1)))) / 2

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
    seconds = []
    for _ in range(epochs):
        started = time.perf_counter()
        network.train()
        for _, (images, labels) in zip(range(steps), make(), strict=False):
            loss = nn.functional.cross_entropy(passed(images), labels.to(device))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        network.eval()
        with torch.no_grad():
            found = [passed(normalised(some.float() / 255, SCALE)) for some in val.images.split(VALIDATION_BATCH)]
        accuracy = (torch.cat(found).argmax(1).cpu() == val.labels).float().mean().item()
        seconds.append(time.perf_counter() - started)
    assert math.isfinite(loss.item())
    return seconds, accuracy


def by_recipe(options: TrainOptions, parts: object) -> tuple[list[float], float, float]:
    """Seconds of each epoch, the last validation accuracy, and the seconds of the whole fit."""
    folder = folder_of(options)
    result = train_one(training_plan(options), parts, folder)
    assert math.isfinite(result["train_loss"])
    seconds = [float(row["seconds"]) for row in MetricsFile(folder / METRICS).rows()]
    return seconds, result["val_accuracy"], result["seconds"]


def said(name: str, seconds: list[float], accuracy: float) -> None:
    print(
        f"{name}: {', '.join(f'{s:.1f}' for s in seconds)} s an epoch, validation accuracy {accuracy:.1%}", flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rate", type=float, default=0.1, help="0.01, the recipe's, learns little in 2 epochs")
    parser.add_argument("--images", type=int, default=50_000, help="of the training part, for a quick trial")
    parser.add_argument("--monitored", action="store_true", help="n = 2,000 in 5 views, every epoch")
    given = parser.parse_args()
    precision = chosen_precision("auto", "cuda" if torch.cuda.is_available() else "cpu")
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, {precision}")
    with tempfile.TemporaryDirectory() as scratch:
        options = TrainOptions(
            recipe="resnet20-cifar10-aug",
            data=given.data,
            max_epochs=given.epochs,
            learning_rate=given.rate,
            monitor=False,
            progress=False,
            out=str(Path(scratch, "plain")),
        )
        parts = read_data(training_plan(options))
        some = torch.randperm(len(parts.train.labels), generator=torch.Generator().manual_seed(0))[: given.images]
        parts = replace(parts, train=InMemory(parts.train.images[some], parts.train.labels[some]))
        steps = math.ceil(len(some) / BATCH)
        chosen = (given.epochs, steps, given.rate, precision)
        tensors, tensors_accuracy = by_hand(from_tensors(parts.train), parts.val, *chosen)
        said("by hand, from tensors", tensors, tensors_accuracy)
        seconds, accuracy, fit = by_recipe(options, parts)
        said("recipe               ", seconds, accuracy)
        workers, workers_accuracy = by_hand(from_workers(parts.train), parts.val, *chosen)
        said("by hand, torchvision ", workers, workers_accuracy)
        print(
            f"fastest epoch of the recipe over that by hand: {min(seconds) / min(tensors):.2f} from tensors, "
            f"{min(seconds) / min(workers):.2f} with torchvision; accuracy "
            f"{100 * (accuracy - tensors_accuracy):+.1f} and {100 * (accuracy - workers_accuracy):+.1f} points"
        )
        if given.monitored:
            watched = replace(options, monitor=True, n=2000, every=1, out=str(Path(scratch, "monitored")))
            _, _, longer = by_recipe(watched, parts)
            lines = (folder_of(watched) / "rra" / "records.jsonl").read_text().splitlines()
            each = [json.loads(line)["seconds"] for line in lines]
            print(f"monitored: {longer:.0f} s against {fit:.0f} s; snapshots {', '.join(f'{s:.0f}' for s in each)} s")


if __name__ == "__main__":
    main()
