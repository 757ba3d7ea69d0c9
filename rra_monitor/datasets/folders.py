"""Folders of images as data sets of torchvision."""

from pathlib import Path
from typing import Any

from rra_monitor.datasets.image_file import rgb
from rra_monitor.datasets.normalization import CIFAR10_NORMALIZATION, Normalization
from rra_monitor.utils.imports import required

ONE_SPLIT = "data"
"""Name of the sample of data in one split."""

SPLITS = {"train": ("train",), "val": ("val", "validation", "test")}
"""Names of samples, with the folders that hold them."""


def cifar10(folder: Path) -> dict[str, Any]:
    """CIFAR-10's two splits, as downloaded by torchvision or unpacked to folders of images."""
    if not (folder / "cifar-10-batches-py").is_dir():
        return folder_splits(folder, None, CIFAR10_NORMALIZATION)
    datasets = required("torchvision.datasets", "CIFAR-10")
    transform = image_transform(None, CIFAR10_NORMALIZATION)
    try:
        return {name: datasets.CIFAR10(folder, train=name == "train", transform=transform) for name in SPLITS}
    except RuntimeError as error:  # its files are pickles: torchvision reads none but the published ones
        raise ValueError(f"{folder} holds another CIFAR-10 than the published one, or a part of it: {error}") from error


def folder_splits(folder: Path, size: int | None, normalization: Normalization) -> dict[str, Any]:
    """Data sets of the folders `train` and `val` (or `validation`, `test`) in a folder, or of its own class folders."""
    present = {name: [folder / one for one in folders if (folder / one).is_dir()] for name, folders in SPLITS.items()}
    found = {name: paths[0] for name, paths in present.items() if paths}
    datasets = required("torchvision.datasets", f"the images of {folder}")
    try:
        return {
            name: datasets.ImageFolder(path, image_transform(size, normalization), loader=rgb)
            for name, path in (found or {ONE_SPLIT: folder}).items()
        }
    except FileNotFoundError as error:
        raise ValueError(
            f"{folder} is no tree of images: {error}. Expected DIR/<class>/*.jpg (or png, …), or DIR/train/<class>/* "
            "and DIR/val/<class>/*"
        ) from error


def image_transform(size: int | None, normalization: Normalization) -> Any:
    """An image as a normalised tensor; its shorter side scaled to `size` and the centre cut out, if that is given."""
    transforms = required("torchvision.transforms", "images")
    resized = [] if size is None else [transforms.Resize(size), transforms.CenterCrop(size)]
    return transforms.Compose([*resized, transforms.ToTensor(), transforms.Normalize(*normalization)])
