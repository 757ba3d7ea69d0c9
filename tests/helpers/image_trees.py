"""Folders of random images by class."""

import numpy as np
from PIL import Image

from rra_monitor.datasets.cifar10 import CIFAR10_CLASSES


def tree(folder, classes=CIFAR10_CLASSES, parts=("train", "test"), count=2, side=32):
    """FOLDER/<part>/<class>/0000.png, …; returns the folder."""
    rng = np.random.default_rng(0)
    for part in parts:
        for name in classes:
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{number:04}.png")
    return folder
