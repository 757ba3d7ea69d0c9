"""What do the augmentations of Table 4.2 cost: the recipes' batched ones, kornia's, and torchvision's by the image?

    pip install kornia                           # a peer, no dependency
    python benchmarks/augment.py                 # half a minute on two cores

One batch, float32 in 0 to 1, every image with random parameters of its own. kornia's classes are set to torchvision's
distributions (its rotation interpolates by default, its grey has other weights), but for the order of the changes of
colour, of which it draws one for the whole batch. In each repeat every library augments the batch once, in an order
that turns by one, after two untimed batches of each; ratios are of the same repeat.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import kornia
import torch
import torchvision
from kornia import augmentation as k
from results import Sheet, provenance, write_section
from rich.console import Console
from rich.progress import track
from torch import nn
from torchvision.transforms import v2

from rra_monitor.recipes.augment import augmented, uniform_numbers
from rra_monitor.recipes.choices import AUGMENTATIONS
from rra_monitor.recipes.colour import LUMA

Augment = Callable[[torch.Tensor], torch.Tensor]

EVERYTHING = tuple(AUGMENTATIONS.values())
OURS = "recipes, batched"


def recipes(images: torch.Tensor) -> torch.Tensor:
    return augmented(images, torch.from_numpy(uniform_numbers(0, 0, 0, len(images), EVERYTHING)), EVERYTHING)


def with_kornia(side: int) -> Augment:
    return nn.Sequential(
        k.RandomCrop((side, side), padding=4, p=1.0),
        k.RandomHorizontalFlip(p=0.5),
        k.RandomRotation(15.0, resample="nearest", align_corners=False, p=1.0),
        k.ColorJitter(0.4, 0.4, 0.2, 0.1, p=0.8),
        k.RandomGrayscale(torch.tensor(LUMA), p=0.2),
        k.RandomGaussianBlur((3, 3), (0.1, 2.0), p=0.5),
    )


def with_torchvision(side: int) -> Augment:
    """One call draws one set of parameters, so there is a call for each image."""
    transform = v2.Compose(
        [
            v2.RandomCrop(side, padding=4),
            v2.RandomHorizontalFlip(0.5),
            v2.RandomRotation(15),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.2, 0.1)], 0.8),
            v2.RandomGrayscale(0.2),
            v2.RandomApply([v2.GaussianBlur(3, (0.1, 2.0))], 0.5),
        ]
    )
    return lambda images: torch.stack([transform(image) for image in images])


def seconds_of(augment: Augment, images: torch.Tensor) -> float:
    started = time.perf_counter()
    augment(images)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=128, help="(default: %(default)s)")
    parser.add_argument("--side", type=int, default=32, help="of an image, in pixels (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=50, help="(default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="(default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="replace the section of benchmarks/RESULTS.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    images = torch.rand(options.batch, 3, options.side, options.side)
    libraries: dict[str, Augment] = {
        OURS: recipes,
        "kornia, batched": with_kornia(options.side),
        "torchvision v2, a call for each image": with_torchvision(options.side),
    }
    seconds: dict[str, list[float]] = {name: [] for name in libraries}
    for augment in libraries.values():
        for _ in range(2):
            seconds_of(augment, images)
    names = list(libraries)
    for repeat in track(range(options.repeats), "repeats"):
        for position in range(len(names)):
            name = names[(repeat + position) % len(names)]
            seconds[name].append(seconds_of(libraries[name], images))
    sheet = Sheet(
        f"Table 4.2 in full, {options.batch} images of {options.side} x {options.side}",
        ("library", "ms, median (quartiles)", "images a second", "time, of ours"),
    )
    for name, found in seconds.items():
        low, middle, high = statistics.quantiles(found, n=4)
        ratio = statistics.median(its / ours for its, ours in zip(found, seconds[OURS], strict=True))
        cells = f"{1e3 * middle:.1f} ({1e3 * low:.1f}, {1e3 * high:.1f})", f"{options.batch / middle:,.0f}"
        sheet.rows.append([name, *cells, f"{ratio:.2f}"])
    sheet.print(Console(width=None if sys.stdout.isatty() else 120))
    if options.write:
        versions = {one.__name__: one.__version__ for one in (torch, torchvision, kornia)}
        where = provenance(options.threads, versions)
        write_section("augment", f"## What does augmentation cost?\n\n{where}\n\n{sheet.markdown()}")


if __name__ == "__main__":
    main()
