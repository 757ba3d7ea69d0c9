"""Folders of images: where the splits and the classes lie."""

from pathlib import Path
from typing import Any

from rra_monitor.utils.imports import required

SPLITS = {"train": ("train",), "val": ("val", "validation", "test")}
"""Names of the splits, with the folders that may hold them."""


def split_folders(folder: Path) -> dict[str, Path]:
    """The folder of each split, by name; without the splits that are missing."""
    present = {name: [folder / one for one in folders if (folder / one).is_dir()] for name, folders in SPLITS.items()}
    return {name: paths[0] for name, paths in present.items() if paths}


def class_folders(folder: Path, expected: str) -> Any:
    """The images of a split, one folder for each class, as torchvision lists them: nothing is opened.

    Args:
        folder: folder of the split.
        expected: form of a data directory, for the message.

    Raises:
        ValueError: no folders of classes, or one without images.
    """
    datasets = required("torchvision.datasets", f"the images of {folder}")
    try:
        return datasets.ImageFolder(folder)
    except FileNotFoundError as error:
        raise ValueError(f"{folder} is no tree of images: {error}; expected {expected}") from error
