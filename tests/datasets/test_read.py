"""Data sets in every form on disk, and what is said of those that do not fit."""

import pickle
from http.client import IncompleteRead
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import CIFAR10
from torchvision.datasets.utils import calculate_md5

from rra_monitor.datasets.catalogue import DATA
from rra_monitor.datasets.read import CIFAR10_CLASSES, read_splits
from tests.helpers.image_trees import tree

CIFAR, SUBSET = DATA["cifar10"], DATA["imagenet64-50"]


def test_a_tree_of_images_is_read_by_class(tmp_path):
    found = read_splits(CIFAR, tree(tmp_path))
    assert found.classes == CIFAR10_CLASSES
    assert found.train.labels.tolist() == [label for label in range(10) for _ in range(2)]
    pixels = np.asarray(Image.open(tmp_path / "test" / "frog" / "0001.png"))
    assert np.array_equal(found.val.images[13].permute(1, 2, 0), pixels)


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


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (CIFAR, r"holds nothing, and no split train and no split val; expected for CIFAR-10: cifar-10-batches-py/"),
        (SUBSET, r"holds nothing, .* expected for ImageNet64x64, 50 classes: train_data_batch_1.npz"),
    ],
)
def test_an_empty_directory_says_what_is_expected(tmp_path, data, text):
    with pytest.raises(ValueError, match=text):
        read_splits(data, tmp_path)


def test_a_directory_of_another_kind_says_what_was_found(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "train").mkdir()
    with pytest.raises(ValueError, match=r"holds notes.txt, train/, and no split val; expected for CIFAR-10"):
        read_splits(CIFAR, tmp_path)


def test_no_directory_is_named(tmp_path):
    with pytest.raises(ValueError, match="is no directory"):
        read_splits(CIFAR, tmp_path / "nowhere")
    with pytest.raises(ValueError, match="CIFAR-10 needs --data DIR, a directory with cifar-10-batches-py/"):
        read_splits(CIFAR, None)


def test_other_classes_are_named(tmp_path):
    with pytest.raises(
        ValueError, match=r"only CIFAR-10 has airplane; only the directory has plane; .*resnet20-images"
    ):
        read_splits(CIFAR, tree(tmp_path, ("plane", *CIFAR10_CLASSES[1:])))


def test_parts_with_other_classes_are_named(tmp_path):
    tree(tmp_path, CIFAR10_CLASSES, ("train",))
    tree(tmp_path, (*CIFAR10_CLASSES[1:], "yak"), ("test",))
    with pytest.raises(ValueError, match="only train has airplane; only validation has yak"):
        read_splits(CIFAR, tmp_path)


def test_a_tree_with_another_number_of_classes_is_named(tmp_path):
    with pytest.raises(ValueError, match="has 3 classes, and ImageNet64x64, 50 classes has 50"):
        read_splits(SUBSET, tree(tmp_path, ("a", "b", "c"), side=64))


def test_digits_need_no_directory(digits):
    found = read_splits(DATA["digits"], None)
    assert found.train.images.shape == (1400, 1, 16, 16)
    assert len(found.val.labels) == 397
    assert torch.equal(found.train.images[:, :, ::2, ::2], (255 * digits[0][:1400]).round().byte())


def test_pickles_in_the_place_of_cifar10_are_not_read(tmp_path, monkeypatch):
    (tmp_path / "cifar-10-batches-py").mkdir()
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"):
        (tmp_path / "cifar-10-batches-py" / name).write_bytes(pickle.dumps({"data": []}))
    monkeypatch.setattr(pickle, "load", None)
    with pytest.raises(ValueError, match=r"6 of 6 files in .* are missing or corrupt"):
        read_splits(CIFAR, tmp_path)
