import pickle

import numpy as np
import pytest
from torchvision.datasets import CIFAR10
from torchvision.datasets.utils import calculate_md5

from rra_monitor.datasets.cifar10 import CIFAR10_CLASSES


@pytest.fixture
def batches(tmp_path, monkeypatch):
    """CIFAR-10 as torchvision has it, with 3 images a batch; its list of digests follows."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("train_list", "test_list"):
        digests = []
        for file, _ in getattr(CIFAR10, name):
            content = {"data": rng.integers(0, 256, (3, 3072), dtype=np.uint8), "labels": [0, 4, 9]}
            (folder / file).write_bytes(pickle.dumps(content))
            digests.append([file, calculate_md5(folder / file)])
        monkeypatch.setattr(CIFAR10, name, digests)
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(CIFAR10_CLASSES)}))
    monkeypatch.setitem(CIFAR10.meta, "md5", calculate_md5(folder / "batches.meta"))
    return tmp_path
