"""Data sets in every form on disk, and what is said of those that do not fit."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image

from rra_monitor.datasets.catalogue import DATA
from rra_monitor.datasets.cifar10 import CIFAR10_CLASSES
from rra_monitor.datasets.read import read_splits
from tests.helpers.image_trees import tree

CIFAR, SUBSET = DATA["cifar10"], DATA["imagenet64-50"]


def test_a_tree_of_images_is_read_by_class(tmp_path):
    found = read_splits(CIFAR, tree(tmp_path))
    assert found.classes == CIFAR10_CLASSES
    assert found.train.labels.tolist() == [label for label in range(10) for _ in range(2)]
    pixels = np.asarray(Image.open(tmp_path / "test" / "frog" / "0001.png"))
    assert np.array_equal(found.val.images[13].permute(1, 2, 0), pixels)


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


def test_digits_without_scikit_learn_say_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ValueError, match=r"the data 'digits' need sklearn.*: pip install 'rra-monitor\[recipes\]'"):
        read_splits(DATA["digits"], None)


def test_digits_need_no_directory(digits):
    found = read_splits(DATA["digits"], None)
    assert found.train.images.shape == (1400, 1, 16, 16)
    assert len(found.val.labels) == 397
    assert torch.equal(found.train.images[:, :, ::2, ::2], (255 * digits[0][:1400]).round().byte())
