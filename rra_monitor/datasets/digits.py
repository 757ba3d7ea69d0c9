"""scikit-learn's handwritten digits."""

import numpy as np
import torch
from torch.utils.data import TensorDataset

from rra_monitor.datasets.images import InMemory

TRAINING_IMAGES = 1400


def digits() -> tuple[TensorDataset, TensorDataset]:
    """Training and validation split of the 1,797 digits, (n, 1, 16, 16) in 0 to 1: pixels doubled, order shuffled.

    Raises:
        ValueError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise ValueError(f"the data 'digits' need {error.name}: pip install 'rra-monitor[recipes]'") from error
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.images))
    images = torch.tensor(data.images[order] / 16, dtype=torch.float32)[:, None]
    images = images.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    labels = torch.tensor(data.target[order])
    return (
        TensorDataset(images[:TRAINING_IMAGES], labels[:TRAINING_IMAGES]),
        TensorDataset(images[TRAINING_IMAGES:], labels[TRAINING_IMAGES:]),
    )


def read_digits() -> dict[str, InMemory]:
    """The splits `train` and `val` of the digits, in bytes like all images.

    Raises:
        ValueError: scikit-learn is not installed.
    """
    splits = (split.tensors for split in digits())
    return {
        name: InMemory((255 * images).round().to(torch.uint8), labels.to(torch.int64))
        for name, (images, labels) in zip(("train", "val"), splits, strict=True)
    }
