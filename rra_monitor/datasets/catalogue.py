"""The data sets of the recipes by name: sizes, normalisation, samples of the probes."""

from dataclasses import dataclass
from typing import Literal

from rra_monitor.datasets.normalization import CIFAR10_NORMALIZATION, IMAGENET_NORMALIZATION, Normalization

SUBSET_PROBES = (30_000, 2_500)
"""Samples of the training and of the validation probe of ImageNet64x64-50: the first is printed (5.4), the second is
not, and is all of its validation images (50 of each class)."""

IMAGENET_PROBES = (30_000, 30_000)
"""Samples of the probes of ImageNet64x64, for which none are printed: as many training images as of its subset, 30 of
each class, and as many validation images, so that k is the same (3) and the two curves can be compared."""

DataName = Literal["cifar10", "imagenet64-50", "imagenet64", "images", "digits"]


@dataclass(frozen=True)
class Data:
    """A data set by name.

    Attributes:
        name: name of the data set.
        title: its name for readers.
        classes: number of classes; None for any.
        channels: channels of an image.
        side: side of an image in pixels.
        normalization: mean and standard deviation of each channel in 0 to 1, for the normalisation of inputs.
        probe_n: samples of the training and of the validation probe (4.1, 5.4, and above); no more are drawn
            than there are of a class.
    """

    name: DataName
    title: str
    classes: int | None
    channels: int
    side: int
    normalization: Normalization
    probe_n: tuple[int, int]


DATA: dict[str, Data] = {
    data.name: data
    for data in (
        Data("cifar10", "CIFAR-10", 10, 3, 32, CIFAR10_NORMALIZATION, (15_000, 10_000)),
        Data("imagenet64-50", "ImageNet64x64, 50 classes", 50, 3, 64, IMAGENET_NORMALIZATION, SUBSET_PROBES),
        Data("imagenet64", "ImageNet64x64", 1000, 3, 64, IMAGENET_NORMALIZATION, IMAGENET_PROBES),
        Data("images", "a tree of images", None, 3, 64, IMAGENET_NORMALIZATION, (2_000, 2_000)),
        Data("digits", "scikit-learn's digits", 10, 1, 16, ((0.0,), (1.0,)), (1_000, 300)),
    )
}
