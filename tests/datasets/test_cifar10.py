"""CIFAR-10's published batches, and what is said of others."""

import pickle
from http.client import IncompleteRead
from urllib.error import URLError

import numpy as np
import pytest

from rra_monitor.datasets.catalogue import DATA
from rra_monitor.datasets.cifar10 import CIFAR10_CLASSES
from rra_monitor.datasets.read import read_splits

CIFAR = DATA["cifar10"]


@pytest.mark.parametrize("inner", ["", "cifar-10-batches-py"])
def test_torchvisions_batches_are_read(batches, inner):
    found = read_splits(CIFAR, batches / inner)
    assert found.classes == CIFAR10_CLASSES
    assert found.train.images.shape == (15, 3, 32, 32)
    assert found.val.labels.tolist() == [0, 4, 9]
    raw = pickle.loads((batches / "cifar-10-batches-py" / "data_batch_2").read_bytes())["data"]
    assert np.array_equal(found.train.images[3:6].flatten(1), raw)


def test_corrupt_batches_are_named(batches):
    for name in ("data_batch_2", "test_batch"):
        (batches / "cifar-10-batches-py" / name).write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"2 of 6 files in .* are missing or corrupt: data_batch_2, test_batch"):
        read_splits(CIFAR, batches)


@pytest.mark.parametrize("error", [URLError("no route to host"), TimeoutError("timed out"), IncompleteRead(b"")])
def test_a_download_without_a_network_says_what_to_do(tmp_path, monkeypatch, error):
    def unreachable(*arguments, **options):
        raise error

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", unreachable)
    with pytest.raises(ValueError, match=r"could not be fetched from https://.* to .*cifar-10-python.tar.gz .* put"):
        read_splits(CIFAR, tmp_path, download=True)


def test_pickles_in_the_place_of_cifar10_are_not_read(tmp_path, monkeypatch):
    (tmp_path / "cifar-10-batches-py").mkdir()
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"):
        (tmp_path / "cifar-10-batches-py" / name).write_bytes(pickle.dumps({"data": []}))
    monkeypatch.setattr(pickle, "load", None)
    with pytest.raises(ValueError, match=r"6 of 6 files in .* are missing or corrupt"):
        read_splits(CIFAR, tmp_path)
