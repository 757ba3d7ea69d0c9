"""Batches are the same by every loader and for every number of ranks, and go on in the middle of an epoch."""

import numpy as np
import pytest
import torch

from rra_monitor.datasets.images import InMemory
from rra_monitor.recipes.batches import AHEAD_ON_GPU, BatchPlan, DeviceBatches, Preparation, WorkerBatches
from rra_monitor.recipes.choices import AUGMENTATIONS

SCALE = ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
PREPARATION = Preparation(tuple(AUGMENTATIONS.values()), SCALE)
PLAIN = Preparation((), SCALE)


@pytest.fixture(scope="module")
def split():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (50, 3, 16, 16), dtype=torch.uint8, generator=generator)
    return InMemory(images, torch.arange(50))


def device_batches(split, plan, preparation=PREPARATION, where=(0, 0)):
    return list(DeviceBatches(split, plan, preparation, torch.device("cpu"), lambda: where))


def same(first, second):
    return len(first) == len(second) and all(
        torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(first, second, strict=True)
    )


def test_every_image_comes_once_an_epoch_in_another_order(split):
    epochs = [
        torch.cat([labels for _, labels in device_batches(split, BatchPlan(50, 8, 0), where=(e, 0))]) for e in (0, 1)
    ]
    for labels in epochs:
        assert sorted(labels.tolist()) == list(range(50))
    assert (epochs[0] == epochs[1]).float().mean() < 0.2
    assert (epochs[0] == torch.arange(50)).float().mean() < 0.2


def test_the_last_batch_holds_the_rest(split):
    batches = device_batches(split, BatchPlan(50, 8, 0))
    assert [len(labels) for _, labels in batches] == [8] * 6 + [2]
    assert len(DeviceBatches(split, BatchPlan(50, 8, 0), PLAIN, torch.device("cpu"), lambda: (0, 0))) == 7


def test_validation_comes_in_order_unchanged_but_for_the_scale(split):
    images, labels = device_batches(split, BatchPlan(50, 20), PLAIN)[1]
    assert labels.tolist() == list(range(20, 40))
    mean, deviation = (torch.tensor(values)[:, None, None] for values in SCALE)
    torch.testing.assert_close(images * deviation + mean, split.images[20:40] / 255)


def test_augmentation_differs_by_epoch_and_seed(split):
    def pixels(seed, epoch):
        batches = device_batches(split, BatchPlan(50, 8, seed), where=(epoch, 0))
        images = torch.cat([images for images, _ in batches])
        return images[torch.cat([labels for _, labels in batches]).argsort()]

    first = pixels(0, 0)
    assert torch.equal(first, pixels(0, 0))
    for other in (pixels(0, 1), pixels(1, 0)):
        assert (first != other).flatten(1).any(1).float().mean() > 0.9


@pytest.mark.parametrize("first", [0, 3, 6])
def test_an_epoch_goes_on_where_it_was(split, first):
    assert same(
        device_batches(split, BatchPlan(50, 8, 5), where=(2, first)),
        device_batches(split, BatchPlan(50, 8, 5), where=(2, 0))[first:],
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_give_the_same_batches(split, workers):
    now = [(0, 0)]
    loader = WorkerBatches(split, BatchPlan(50, 8, 5), PREPARATION, workers, False, lambda: now[0])
    for where in ((0, 0), (1, 0), (2, 4)):
        now[0] = where
        assert same(list(loader), device_batches(split, BatchPlan(50, 8, 5), where=where))
    assert len(loader) == 7


def test_batches_prepared_ahead_are_the_same(split):
    ahead = DeviceBatches(split, BatchPlan(50, 4, 5), PREPARATION, torch.device("cpu"), lambda: (1, 2))
    ahead._ahead = AHEAD_ON_GPU
    for (images, labels), (other, names) in zip(
        ahead, device_batches(split, BatchPlan(50, 4, 5), where=(1, 2)), strict=True
    ):
        assert torch.equal(labels, names)
        torch.testing.assert_close(images, other, atol=1e-6, rtol=0)


def test_ranks_share_every_batch(split):
    whole = device_batches(split, BatchPlan(50, 8, 5))
    shares = [device_batches(split, BatchPlan(50, 8, 5, rank, 2)) for rank in range(2)]
    for (images, labels), (even, a), (odd, b) in zip(whole, *shares, strict=True):
        assert torch.equal(labels[::2], a)
        assert torch.equal(labels[1::2], b)
        assert torch.equal(images[::2], even)
        assert torch.equal(images[1::2], odd)


def test_ranks_train_on_equally_many_and_validate_on_each_once(split):
    training = [BatchPlan(50, 8, 5, rank, 3) for rank in range(3)]
    assert {len(plan.shard(np.arange(8))) for plan in training} == {3}
    assert sorted({int(i) for plan in training for i in plan.shard(np.arange(8))}) == list(range(8))
    validation = [BatchPlan(50, 8, None, rank, 3) for rank in range(3)]
    assert sorted(int(i) for plan in validation for i in plan.shard(np.arange(8))) == list(range(8))


@pytest.mark.parametrize(("n", "sizes"), [(49, [8] * 5 + [9]), (50, [8] * 5 + [10]), (51, [8] * 6 + [3]), (5, [5])])
def test_no_rank_validates_on_nothing(n, sizes):
    """Two images are no batch for three ranks, and go to the batch before."""
    plans = [BatchPlan(n, 8, None, rank, 3) for rank in range(3)]
    for plan in plans:
        whole = [plan.images(plan.order(0), step) for step in range(len(plan))]
        assert [len(images) for images in whole] == sizes
        assert np.array_equal(np.concatenate(whole), np.arange(n))
        assert all(len(plan.shard(images)) for images in whole)


def test_fewer_images_than_devices_are_refused():
    with pytest.raises(ValueError, match="2 images for 3 devices; give --devices 2 or fewer"):
        BatchPlan(2, 8, None, 0, 3)


def test_global_random_streams_are_left_alone(split):
    torch.manual_seed(3)
    np.random.seed(3)
    before, numpy = torch.get_rng_state(), np.random.get_state()[1].copy()
    device_batches(split, BatchPlan(50, 8, 5))
    list(WorkerBatches(split, BatchPlan(50, 8, 5), PREPARATION, 1, False, lambda: (0, 0)))
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy)
