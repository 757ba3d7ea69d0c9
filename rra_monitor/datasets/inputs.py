"""Inputs of a network by class, of which a probe's sample is drawn: of any classes and size, decoded when used."""

from pathlib import Path

import torch

from rra_monitor.datasets.catalogue import DATA
from rra_monitor.datasets.cifar10 import cifar10_folder, read_cifar10
from rra_monitor.datasets.digits import read_digits
from rra_monitor.datasets.folders import class_folders, split_folders
from rra_monitor.datasets.images import Files, Normalised
from rra_monitor.datasets.normalization import CIFAR10_NORMALIZATION, Normalization

ONE_SPLIT = "data"
"""Name of the sample of data in one split."""

TREE = "DIR/<class>/*.jpg (or png, …), or DIR/train/<class>/* and DIR/val/<class>/*"


def digits_inputs() -> dict[str, Normalised]:
    """scikit-learn's digits, in two splits.

    Raises:
        ValueError: scikit-learn is not installed.
    """
    return {name: Normalised(split, DATA["digits"].normalization) for name, split in read_digits().items()}


def cifar10_inputs(folder: Path) -> dict[str, Normalised]:
    """CIFAR-10's two splits, as downloaded by torchvision or unpacked to folders of images.

    Raises:
        ValueError: neither of them, or other batches than the published ones.
    """
    batches = cifar10_folder(folder)
    if batches is None:
        return folder_inputs(folder, None, CIFAR10_NORMALIZATION)
    return {name: Normalised(split, CIFAR10_NORMALIZATION) for name, split in read_cifar10(batches).items()}


def folder_inputs(folder: Path, size: int | None, normalization: Normalization) -> dict[str, Normalised]:
    """The images of the folders `train` and `val` (or `validation`, `test`) in a folder, or of its own class folders.

    Args:
        folder: folder of the data.
        size: height and width of the images in pixels: their shorter side is scaled and the centre cut out; unscaled
            if None.
        normalization: mean and standard deviation of each channel.

    Raises:
        ValueError: no folders of classes.
    """
    found = {}
    for name, path in (split_folders(folder) or {ONE_SPLIT: folder}).items():
        listed = class_folders(path, TREE)
        files = Files([file for file, _ in listed.samples], torch.tensor(listed.targets), size, resize=True)
        found[name] = Normalised(files, normalization)
    return found
