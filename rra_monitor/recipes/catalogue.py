"""The table of recipes: every training of the thesis, by name."""

import difflib
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from rra_monitor.datasets.catalogue import DataName
from rra_monitor.recipes.choices import ABLATION_RATE, AUGMENTATIONS, BATCH
from rra_monitor.recipes.recipe import NetworkSpec, Recipe, StageWindow, Training

ALL = tuple(AUGMENTATIONS)
CHAPTER_4 = Training(100, 0.01, BATCH)
Base = Literal["resnet20", "resnet34"]

PAIRS: dict[tuple[Base, DataName], Training] = {
    ("resnet20", "cifar10"): Training(100, 0.1, 128),
    ("resnet34", "imagenet64-50"): Training(100, 0.01, 128),
    ("resnet34", "imagenet64"): Training(40, 0.01, 256),
}
"""Networks and data of Table 7.1, with the training of 7.2."""

MODELS: dict[str, tuple[str, NetworkSpec, tuple[tuple[float | None, float | None], ...]]] = {
    "base": ("base", NetworkSpec(), ((89.9, 0.2), (76.8, 0.5), (61.2, 0.1))),
    "deep": ("2x-deep", NetworkSpec(variant="deep"), ((90.7, 0.5), (76.5, 0.5), (62.4, 0.3))),
    "wide": ("sqrt(2)x-wide", NetworkSpec(variant="wide"), ((91.2, 0.2), (77.4, 0.6), (62.7, 0.1))),
    "se": ("SENet standard", NetworkSpec(attention="se"), ((90.5, 0.2), (77.6, 0.5), (62.3, 0.2))),
    "bam": ("BAM standard", NetworkSpec(attention="bam"), ((90.5, 0.2), (75.2, 0.7), (62.0, 0.1))),
    "stac": ("STAC standard", NetworkSpec(attention="stac"), ((90.6, 0.2), (77.7, 0.4), (62.8, 0.1))),
    "se-post": ("SENet post", NetworkSpec(attention="se", placement="post"), ((90.4, 0.2), (75.7, 0.5), (61.7, 0.2))),
    "bam-post": ("BAM post", NetworkSpec(attention="bam", placement="post"), ((90.7, 0.3), (None, None), (None, None))),
    "stac-post": (
        "STAC post",
        NetworkSpec(attention="stac", placement="post"),
        ((90.4, 0.2), (76.6, 0.4), (62.2, 0.2)),
    ),
}
"""Rows of Table 7.1: name, title, network, accuracy and standard deviation on the three pairs."""

ALONE = {
    "translate": (88.0, 0.21),
    "rotate": (87.0, 0.33),
    "flip": (85.1, 0.37),
    "colour": (82.0, 0.40),
    "greyscale": (80.6, 0.44),
    "blur": (78.8, 0.34),
}
"""Table 4.4: one augmentation alone."""

KERNELS = {
    "cifar10": {(1, 1): (90.3, 0.2), (1, 3): (90.4, 0.1), (3, 1): (90.6, 0.3)},
    "imagenet64-50": {(1, 1): (73.3, 0.4), (1, 3): (73.4, 0.5), (3, 1): (73.6, 0.6)},
}
"""Table 7.2 without its (3, 3), which is the STAC recipe."""

STAGES = {
    "cifar10": ((90.1, 0.2), (90.4, 0.3), (90.1, 0.2)),
    "imagenet64-50": ((71.7, 0.6), (72.2, 0.7), (73.0, 1.0)),
}
"""Table 7.3: one stage alone, with windows of 8."""

WINDOWS: dict[str, dict[StageWindow, tuple[float, float]]] = {
    "cifar10": {1: (90.7, 0.3), 2: (90.6, 0.2), 4: (90.5, 0.2)},
    "imagenet64-50": {1: (73.1, 0.5), 2: (73.7, 0.2), 4: (73.6, 0.2), 16: (73.6, 0.6)},
}
"""Table 7.4 without its 8, which is the STAC recipe, and its GAP, which is SE."""

STAGE_WINDOWS = {
    "cifar10": (
        (90.1, 90.0, 90.1, 90.1, 90.2, 90.2),
        (90.0, 90.1, 90.1, 90.4, 90.2),
        (90.4, 90.2, 90.2, 90.1),
    ),
    "imagenet64-50": (
        (71.6, 71.9, 72.0, 71.7, 72.0, 72.3, 71.9),
        (71.8, 71.8, 72.4, 72.2, 72.3, 72.1),
        (72.4, 73.0, 72.7, 73.0, 72.6),
    ),
}
"""Table 7.5: one stage alone, windows of 1, 2, 4, …; its 8 are Table 7.3's rows."""

STRATEGIES: dict[str, dict[str, tuple[tuple[int, int, int], tuple[float, float]]]] = {
    "cifar10": {"greedy": ((16, 8, 1), (90.8, 0.2)), "max-cs": ((8, 4, 8), (90.5, 0.2))},
    "imagenet64-50": {"greedy": ((32, 4, 2), (73.5, 0.6)), "max-cs": ((8, 8, 16), (73.4, 0.4))},
}
"""Table 7.6; the largest uniform windows are 8, 8, 8, the STAC recipe, and 16, 16, 16, that of Table 7.4."""


def recipe_named(name: str) -> Recipe:
    """The recipe of a name.

    Raises:
        ValueError: no such recipe; the nearest names are listed.
    """
    if name in RECIPES:
        return RECIPES[name]
    near = difflib.get_close_matches(name, RECIPES, n=5, cutoff=0.5)
    raise ValueError(
        f"there is no recipe {name!r}"
        + (f"; the nearest: {', '.join(near)}" if near else "")
        + ". `rra-monitor recipes` lists all"
    )


def _chapter_4() -> Iterator[Recipe]:
    start = Recipe("resnet20-cifar10", "Table 4.3, model A", "cifar10", NetworkSpec(), CHAPTER_4, (), 81.0, 0.46)
    yield start
    yield replace(
        start, name=f"{start.name}-aug", source="Table 4.3, model B", augmentations=ALL, accuracy=89.8, deviation=0.2
    )
    for name, (accuracy, deviation) in ALONE.items():
        yield replace(
            start,
            name=f"{start.name}-{name}",
            source=f"Table 4.4, {name} alone",
            augmentations=(name,),
            accuracy=accuracy,
            deviation=deviation,
        )
    yield replace(
        start, name="resnet20-imagenet64-50", source="Table 5.1", data="imagenet64-50", accuracy=57.8, deviation=0.1
    )


def _models() -> Iterator[Recipe]:
    for column, ((base, data), training) in enumerate(PAIRS.items()):
        for name, (title, network, results) in MODELS.items():
            accuracy, deviation = results[column]
            yield Recipe(
                f"{base}-{data}-{name}",
                f"Table 7.1, {title}",
                data,
                _complete(replace(network, base=base)),
                training,
                ALL,
                accuracy,
                deviation,
                "" if accuracy is not None else "most of the thesis's runs stayed near chance",
            )


def _ablations() -> Iterator[Recipe]:
    trainings: dict[DataName, Training] = {
        "cifar10": replace(CHAPTER_4, learning_rate=ABLATION_RATE),
        "imagenet64-50": CHAPTER_4,
    }
    for data, training in trainings.items():
        stem = f"resnet20-{data}"
        stac = Recipe(
            f"{stem}-stac",
            "Tables 7.2 to 7.4, STAC",
            data,
            _complete(NetworkSpec(attention="stac")),
            training,
            ALL,
            73.6,
            0.5,
        )
        if data == "imagenet64-50":  # CIFAR-10's are in Table 7.1
            yield replace(
                stac, name=f"{stem}-base", source="Table 7.3, none", network=NetworkSpec(), accuracy=71.6, deviation=0.5
            )
            yield stac
            yield replace(
                stac,
                name=f"{stem}-se",
                source="Table 7.4, GAP",
                network=_complete(NetworkSpec(attention="se")),
                accuracy=73.0,
                deviation=0.5,
            )
        for kernels, (accuracy, deviation) in KERNELS[data].items():
            yield replace(
                stac,
                name=f"{stem}-stac-k{kernels[0]}{kernels[1]}",
                source=f"Table 7.2, kernels {kernels[0]}, {kernels[1]}",
                network=replace(stac.network, kernels=kernels),
                accuracy=accuracy,
                deviation=deviation,
            )
        for window, (accuracy, deviation) in WINDOWS[data].items():
            yield replace(
                stac,
                name=f"{stem}-stac-w{window}",
                source=f"Table 7.4, window {window}",
                network=replace(stac.network, windows=(window,) * 3),
                accuracy=accuracy,
                deviation=deviation,
            )
        yield from _stages(stac, data)
        for strategy, (windows, (accuracy, deviation)) in STRATEGIES[data].items():
            yield replace(
                stac,
                name=f"{stem}-stac-{strategy}",
                source=f"Table 7.6, {strategy} {', '.join(map(str, windows))}",
                network=replace(stac.network, windows=windows),
                accuracy=accuracy,
                deviation=deviation,
            )


def _stages(stac: Recipe, data: DataName) -> Iterator[Recipe]:
    """STAC in one stage alone, by window."""
    for stage, accuracies in enumerate(STAGE_WINDOWS[data]):
        for power, accuracy in enumerate(accuracies):
            window = 2**power
            # The 8 is Table 7.3's row, which has a deviation.
            here = STAGES[data][stage] if window == 8 else (accuracy, None)
            windows: list[StageWindow | None] = [None, None, None]
            windows[stage] = window
            yield replace(
                stac,
                name=f"{stac.name}-s{stage + 1}" + ("" if window == 8 else f"-w{window}"),
                source=f"Table 7.3, stage {stage + 1}" if window == 8 else f"Table 7.5, stage {stage + 1}, {window}",
                network=replace(stac.network, windows=tuple(windows)),
                accuracy=here[0],
                deviation=here[1],
            )


def _ours() -> Iterator[Recipe]:
    digits = Training(10, 0.05, 64)
    plain = Recipe(
        "resnet20-digits",
        "ours",
        "digits",
        NetworkSpec(),
        digits,
        note="minutes on a CPU, needs no data",
    )
    yield plain
    yield replace(plain, name="resnet20-digits-stac", network=NetworkSpec(attention="stac", windows=(4, 4, 4)))
    for base in ("resnet20", "resnet34"):
        yield Recipe(
            f"{base}-images",
            "ours",
            "images",
            NetworkSpec(base=base),
            PAIRS["resnet34", "imagenet64-50"],
            ALL,
            note="images of your own, in folders by class",
        )


def _complete(network: NetworkSpec) -> NetworkSpec:
    """Attention in every stage, STAC with the windows of 8 of 7.2."""
    if network.attention is None or network.windows:
        return network
    return replace(network, windows=(8,) * network.stages)


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe for part in (_chapter_4, _models, _ablations, _ours) for recipe in part()
}
"""Every recipe by name."""
