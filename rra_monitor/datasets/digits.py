"""scikit-learn's handwritten digits."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.utils.data import TensorDataset

TRAINING_IMAGES = 1400


def digits() -> tuple[TensorDataset, TensorDataset]:
    """Training and validation split of the 1,797 digits, (n, 1, 16, 16) in 0 to 1: pixels doubled, order shuffled."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.images))
    images = torch.tensor(data.images[order] / 16, dtype=torch.float32)[:, None]
    images = images.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    labels = torch.tensor(data.target[order])
    return (
        TensorDataset(images[:TRAINING_IMAGES], labels[:TRAINING_IMAGES]),
        TensorDataset(images[TRAINING_IMAGES:], labels[TRAINING_IMAGES:]),
    )
