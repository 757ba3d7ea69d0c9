"""Inputs for a probe: the same as those of a training."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.datasets import CIFAR10

from rra_monitor.datasets.catalogue import DATA
from rra_monitor.datasets.inputs import cifar10_inputs, digits_inputs, folder_inputs
from rra_monitor.datasets.normalization import CIFAR10_NORMALIZATION, IMAGENET_NORMALIZATION
from rra_monitor.datasets.read import read_splits
from rra_monitor.recipes.batches import BatchPlan, DeviceBatches, Preparation
from tests.helpers.image_trees import tree


def trained_inputs(data, folder, split):
    """The inputs of a training on the whole split, in the split's order."""
    found = getattr(read_splits(data, folder), split)
    plan, preparation = BatchPlan(len(found.labels), 7), Preparation((), data.normalization)
    batches = DeviceBatches(found, plan, preparation, torch.device("cpu"), lambda: (0, 0))
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


def all_of(inputs):
    images, labels = zip(*(inputs[position] for position in range(len(inputs))), strict=True)
    return torch.stack(images), torch.tensor(labels)


@pytest.mark.parametrize("split", ["train", "val"])
class TestOneImageIsTheSameInATrainingAndInAnAnalysis:
    def check(self, data, folder, split, found):
        for given, expected in zip(all_of(found[split]), trained_inputs(data, folder, split), strict=True):
            assert torch.equal(given, expected)

    def test_in_a_tree_of_images_that_are_scaled(self, split, tmp_path):
        tree(tmp_path, ("a", "b"), count=3, side=64)
        for at, (name, size) in enumerate((("wide.jpg", (90, 71)), ("high.png", (40, 101)), ("small.png", (30, 30)))):
            noise = np.random.default_rng(at).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            for part in ("train", "test"):
                Image.fromarray(noise).resize(size).save(tmp_path / part / "a" / name)
        Image.new("L", (64, 64), 77).save(tmp_path / "train" / "b" / "grey.png")
        Image.new("RGBA", (64, 64), (1, 2, 3, 4)).save(tmp_path / "test" / "b" / "clear.png")
        self.check(DATA["images"], tmp_path, split, folder_inputs(tmp_path, 64, IMAGENET_NORMALIZATION))

    def test_in_a_tree_of_cifar10(self, split, tmp_path):
        self.check(DATA["cifar10"], tree(tmp_path), split, cifar10_inputs(tmp_path))

    @pytest.mark.parametrize("inner", ["", "cifar-10-batches-py"])
    def test_in_cifar10s_batches(self, split, batches, inner):
        self.check(DATA["cifar10"], batches / inner, split, cifar10_inputs(batches / inner))

    def test_in_scikit_learns_digits(self, split):
        self.check(DATA["digits"], None, split, digits_inputs())


def test_images_are_scaled_and_normalised_as_by_torchvision(tmp_path):
    tree(tmp_path, ("a",), ("train",), side=50)
    noise = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((131, 77)).save(tmp_path / "train" / "a" / "wide.png")
    scaled = [transforms.Resize(37), transforms.CenterCrop(37)]
    for size, before in ((37, scaled), (None, [])):
        chain = transforms.Compose([*before, transforms.ToTensor(), transforms.Normalize(*IMAGENET_NORMALIZATION)])
        found = folder_inputs(tmp_path, size, IMAGENET_NORMALIZATION)["train"]
        files = sorted((tmp_path / "train" / "a").iterdir())
        assert len(found) == len(files) == 3
        for position, file in enumerate(files):
            assert torch.equal(found[position][0], chain(Image.open(file)))


def test_cifar10s_batches_are_normalised_as_by_torchvision(batches):
    found = cifar10_inputs(batches)
    chain = transforms.Compose([transforms.ToTensor(), transforms.Normalize(*CIFAR10_NORMALIZATION)])
    for split, train in (("train", True), ("val", False)):
        published = CIFAR10(batches, train=train, transform=chain)
        for given, expected in zip(all_of(found[split]), all_of(published), strict=True):
            assert torch.equal(given, expected)
