"""CIFAR-10 in its published batches, as torchvision downloads them."""

from http.client import HTTPException
from pathlib import Path

import torch

from rra_monitor.datasets.folders import SPLITS
from rra_monitor.datasets.images import InMemory
from rra_monitor.utils.imports import required
from rra_monitor.utils.text import some

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR10_FOLDER = "cifar-10-batches-py"


def cifar10_folder(folder: Path, download: bool = False) -> Path | None:
    """The folder in which the batches' folder is, or is to be put; None if there are no batches."""
    if folder.name == CIFAR10_FOLDER and folder.is_dir():
        return folder.parent
    return folder if download or (folder / CIFAR10_FOLDER).is_dir() else None


def read_cifar10(folder: Path, download: bool = False) -> dict[str, InMemory]:
    """The splits `train` and `val` of the published batches; their classes are `CIFAR10_CLASSES`.

    Args:
        folder: folder that `cifar10_folder` found.
        download: whether to fetch the batches if they are not there.

    Raises:
        ValueError: batches that are missing, corrupt or others than the published ones, or no network for the download.
    """
    datasets = required("torchvision.datasets", "CIFAR-10")
    published = datasets.CIFAR10
    try:
        held = [published(folder, train=name == "train", download=download) for name in SPLITS]
    except RuntimeError as error:  # its files are pickles: torchvision reads none but the published ones
        files = [
            (folder / CIFAR10_FOLDER / name, digest) for name, digest in published.train_list + published.test_list
        ]
        bad = [file.name for file, digest in files if not datasets.utils.check_integrity(file, digest)]
        raise ValueError(
            f"{folder} holds another CIFAR-10 than the published one, or a part of it: {len(bad)} of {len(files)} "
            f"files in {folder / CIFAR10_FOLDER} are missing or corrupt: {some(bad)}. Delete that folder and fetch it "
            "again, as rra-monitor train does with --download"
        ) from error
    except (OSError, HTTPException) as error:
        if not download:
            raise
        raise ValueError(
            f"CIFAR-10 could not be fetched from {published.url} to {folder / published.filename} ({error}). Try again "
            "with a network, or put the file there yourself: --download then unpacks it"
        ) from error
    return {
        name: InMemory(torch.from_numpy(split.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(split.targets))
        for name, split in zip(SPLITS, held, strict=True)
    }
