"""What a recipe is: a network, data, augmentations and a schedule, and the row of the thesis that it reproduces."""

from dataclasses import dataclass
from typing import Literal

from rra_monitor.recipes.choices import CIFAR10_INPUTS, IMAGENET_INPUTS, IMAGENET_PROBES, SUBSET_PROBES
from rra_monitor.sources import Scale

DataName = Literal["cifar10", "imagenet64-50", "imagenet64", "images", "digits"]
Window = int | Literal["global"]


@dataclass(frozen=True)
class Data:
    """A data set by name.

    Attributes:
        name: of it.
        title: in words.
        classes: how many; None for any.
        channels: of an image.
        side: of an image, in pixels.
        scale: mean and deviation of each channel in 0 to 1, by which inputs are normalised.
        probe_n: samples of the training and of the validation probe (4.1, 5.4, and choices.py); at most as many as
            there are of a class are drawn.
    """

    name: DataName
    title: str
    classes: int | None
    channels: int
    side: int
    scale: Scale
    probe_n: tuple[int, int]


DATA: dict[str, Data] = {
    data.name: data
    for data in (
        Data("cifar10", "CIFAR-10", 10, 3, 32, CIFAR10_INPUTS, (15_000, 10_000)),
        Data("imagenet64-50", "ImageNet64x64, 50 classes", 50, 3, 64, IMAGENET_INPUTS, SUBSET_PROBES),
        Data("imagenet64", "ImageNet64x64", 1000, 3, 64, IMAGENET_INPUTS, IMAGENET_PROBES),
        Data("images", "a tree of images", None, 3, 64, IMAGENET_INPUTS, (2_000, 2_000)),
        Data("digits", "scikit-learn's digits", 10, 1, 16, ((0.0,), (1.0,)), (1_000, 300)),
    )
}


@dataclass(frozen=True)
class Network:
    """A residual network with or without attention.

    Attributes:
        base: "resnet20" or "resnet34".
        variant: "deep" has twice the blocks, "wide" sqrt(2) times the channels.
        attention: "stac", "se", "bam" or None.
        placement: "standard" (before the addition) or "post" (after it).
        windows: of STAC, one for each stage; None in the place of a stage without attention. Of other attention only
            which stages have it counts.
        kernels: of STAC's two convolutions.
    """

    base: Literal["resnet20", "resnet34"] = "resnet20"
    variant: Literal["deep", "wide"] | None = None
    attention: Literal["stac", "se", "bam"] | None = None
    placement: Literal["standard", "post"] = "standard"
    windows: tuple[Window | None, ...] = ()
    kernels: tuple[int, int] = (3, 3)

    @property
    def stages(self) -> int:
        """Number of stages."""
        return {"resnet20": 3, "resnet34": 4}[self.base]


@dataclass(frozen=True)
class Training:
    """SGD with momentum, by the epoch.

    Attributes:
        epochs: of training.
        learning_rate: base rate.
        batch: images of a step, over all devices.
    """

    epochs: int
    learning_rate: float
    batch: int


@dataclass(frozen=True)
class Recipe:
    """One training of the thesis.

    Attributes:
        name: by which the command knows it.
        source: the row of the thesis that it reproduces, "ours" for none.
        data: name of its data set.
        network: what is trained.
        training: how.
        augmentations: names, in the order in which they are applied.
        accuracy: top-1 on the validation data in the thesis, in percent; None where it prints none.
        deviation: over the thesis's 8 runs, in percent; None where it prints none.
        note: what else there is to know.
    """

    name: str
    source: str
    data: DataName
    network: Network
    training: Training
    augmentations: tuple[str, ...] = ()
    accuracy: float | None = None
    deviation: float | None = None
    note: str = ""
