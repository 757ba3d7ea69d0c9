import random

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

import rra_monitor as rra
from tests.helpers.borrowed_data import (
    Counted,
    GlobalNumpy,
    GlobalPython,
    GlobalTorch,
    Once,
    OwnNumpy,
    OwnPython,
    OwnTorch,
    content,
    in_a_closure,
)


class Wrapped:
    """A chain of transforms, as of torchvision."""

    def __init__(self, *transforms):
        self.transforms = list(transforms)

    def __call__(self, x):
        for transform in self.transforms:
            x = transform(x)
        return x


@pytest.mark.parametrize("make", [GlobalPython, GlobalNumpy, GlobalTorch, OwnNumpy, OwnPython, OwnTorch, in_a_closure])
@pytest.mark.parametrize("p", [0.01, 0.0001])
def test_a_transform_that_hardly_ever_changes_anything_is_found(make, p):
    with pytest.raises(ValueError, match=r"random transform.*transform used for evaluation"):
        rra.FixedSample.from_dataset(Once(Wrapped(make(p))), n=50)


def test_it_is_found_before_anything_is_read_in_bulk(tmp_path):
    class Late(Counted):
        def __getitem__(self, index):
            x, *rest = super().__getitem__(index)
            return (x + torch.rand(()), *rest)

    dataset = Late(tmp_path)
    with pytest.raises(ValueError, match="32 of 32 items differ when read twice"):
        rra.FixedSample.from_dataset(dataset, n=200)
    assert dataset.reads <= 64


def test_a_transform_of_one_class_alone_is_found(tmp_path):
    class Rarely(Counted):
        def __getitem__(self, index):
            self.note()
            x = torch.from_numpy(content(index))
            return (x + (random.random() < 0.01) if index == 250 else x), index % 4

    with pytest.raises(ValueError, match="random transform"):
        rra.FixedSample.from_dataset(Rarely(tmp_path), n=300)


@pytest.mark.parametrize("seeded", ["generator", "global"])
def test_noise_that_is_seeded_by_the_item_is_not_random(seeded):
    class Seeded(Dataset):
        targets = tuple(index % 4 for index in range(80))

        def __len__(self):
            return 80

        def __getitem__(self, index):
            if seeded == "generator":
                return torch.rand(3, generator=torch.Generator().manual_seed(index)), index % 4
            torch.manual_seed(index)
            np.random.seed(index)
            return torch.rand(3) + np.random.rand(), index % 4

    assert rra.FixedSample.from_dataset(Seeded(), n=40).n == 40


def test_a_random_label_or_time_beside_fixed_inputs_is_told_from_random_inputs():
    class Timed(Dataset):
        reads = 0

        def __len__(self):
            return 80

        def __getitem__(self, index):
            self.reads += 1
            return torch.full((3,), float(index)), index % 4, float(self.reads) / 7

    sample = rra.FixedSample.from_dataset(Timed(), n=40)
    assert sample.classes == 4
    assert sample.read(range(3)).shape == (3, 3)


class TestACollateFunction:
    def test_one_that_mixes_at_random_is_refused(self, dataset):
        def mixed(items):
            images = torch.stack([item[0] for item in items])
            return images + (random.random() < 0.001), torch.tensor([int(item[1]) for item in items])

        with pytest.raises(ValueError, match=r"batch of the sample is random \(it draws from python's random"):
            rra.FixedSample.from_dataset(dataset, n=50, collate_fn=mixed)

    def test_its_generator_is_where_it_was(self, dataset):
        class Mixed:
            def __init__(self):
                self.rng = np.random.default_rng(0)

            def __call__(self, items):
                return torch.stack([item[0] for item in items]) * float(self.rng.random()), torch.zeros(len(items))

        first, second = Mixed(), Mixed()
        with pytest.raises(ValueError, match="batch of the sample is random"):
            rra.FixedSample.from_dataset(dataset, n=50, collate_fn=first)
        assert first.rng.random() == second.rng.random()
