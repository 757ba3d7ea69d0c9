"""The parts of a recipe: network, data, augmentations, schedule, and the row of the thesis that it reproduces."""

from dataclasses import dataclass
from typing import Literal

from rra_monitor.datasets.catalogue import DataName

StageWindow = int | Literal["global"]


@dataclass(frozen=True)
class NetworkSpec:
    """A residual network with or without attention.

    Attributes:
        base: "resnet20" or "resnet34".
        variant: "deep" has twice the blocks, "wide" sqrt(2) times the channels.
        attention: "stac", "se", "bam" or None.
        placement: "standard" (before the addition) or "post" (after it).
        windows: windows of STAC, one for each stage; None for a stage without attention. For other attention it
            only matters which are None.
        kernels: kernels of STAC's two convolutions.
    """

    base: Literal["resnet20", "resnet34"] = "resnet20"
    variant: Literal["deep", "wide"] | None = None
    attention: Literal["stac", "se", "bam"] | None = None
    placement: Literal["standard", "post"] = "standard"
    windows: tuple[StageWindow | None, ...] = ()
    kernels: tuple[int, int] = (3, 3)

    @property
    def stages(self) -> int:
        """Number of stages."""
        return {"resnet20": 3, "resnet34": 4}[self.base]


@dataclass(frozen=True)
class Training:
    """Training by SGD with momentum.

    Attributes:
        epochs: number of epochs.
        learning_rate: base rate.
        batch: number of images of a step, over all devices.
    """

    epochs: int
    learning_rate: float
    batch: int


@dataclass(frozen=True)
class Recipe:
    """One training of the thesis.

    Attributes:
        name: name for the command.
        source: row of the thesis that it reproduces, "ours" for none.
        data: name of its data set.
        network: network to train.
        training: settings of the training.
        augmentations: names, in the order in which they are applied.
        accuracy: top-1 on the validation data in the thesis, in percent; None if not stated.
        deviation: standard deviation over the thesis's 8 runs, in percent; None if not stated.
        note: further remarks.
    """

    name: str
    source: str
    data: DataName
    network: NetworkSpec
    training: Training
    augmentations: tuple[str, ...] = ()
    accuracy: float | None = None
    deviation: float | None = None
    note: str = ""


def thesis_accuracy(recipe: Recipe) -> str:
    """The thesis's accuracy with its standard deviation, empty if not stated."""
    if recipe.accuracy is None:
        return ""
    return f"{recipe.accuracy:.1f}" + ("" if recipe.deviation is None else f" ± {recipe.deviation:.1f}")


@dataclass(frozen=True)
class Optimisation:
    """Optimiser settings and schedule.

    Attributes:
        learning_rate: base rate, or the peak of one cycle.
        weight_decay: weight decay of all weights.
        schedule: "cosine" with a warm-up, or "one-cycle".
        warm_up: fraction of the steps that the warm-up of the cosine takes.
    """

    learning_rate: float
    weight_decay: float
    schedule: Literal["cosine", "one-cycle"]
    warm_up: float
