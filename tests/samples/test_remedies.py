"""The remedies that texts about drawing, keeping and preparing samples name, each of them followed."""

import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch.utils.data import TensorDataset, default_collate

from rra_monitor import FixedSample
from rra_monitor.samples import sample as sample_module
from tests.helpers.remedies import Remedy

IMAGES = torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(0))
TWENTY = TensorDataset(IMAGES, torch.arange(60) % 20)
RARE = TensorDataset(IMAGES[:45], torch.tensor([0] * 20 + [1] * 20 + [2] * 5))
SAMPLE = FixedSample.from_tensors(IMAGES, torch.arange(60) % 3)


class Items:
    """Items of a function of their index."""

    def __init__(self, item):
        self.item = item

    def __len__(self):
        return 60

    def __getitem__(self, index):
        return self.item(index)


AGES = Items(lambda index: (IMAGES[index], 20 + 37 * index % 60))
TWO = Items(lambda index: (IMAGES[index], index % 3, index // 3 % 2))
MARKED = Items(lambda index: (IMAGES[index], index % 5 if index < 25 else -1))
UNEQUAL = Items(lambda index: (IMAGES[index][:, : 3 + index % 4], index % 2))


def cut(items):
    return torch.stack([item[0][:, :3] for item in items]), torch.tensor([item[1] for item in items])


def noisy(training):
    return SAMPLE.through(lambda batch: (batch[0] + (torch.rand(()) if training else 0), batch[1]))


@contextmanager
def above_the_limit():
    before, sample_module.MATERIALISE_BYTES = sample_module.MATERIALISE_BYTES, 100
    try:
        yield
    finally:
        sample_module.MATERIALISE_BYTES = before


def saved(sample):
    folder = Path(tempfile.mkdtemp())
    sample.save(folder / "sample")
    return folder / "sample"


def large():
    with above_the_limit():
        return FixedSample.from_dataset(TWENTY, n=40)


def damaged(change):
    path = saved(SAMPLE)
    path.write_bytes(change(path.read_bytes()))
    return FixedSample.load(path)


def without_inputs():
    path = saved(SAMPLE)
    data = path.read_bytes()
    was, is_now = rb"\"tree\": {\"tensor\": \"tensor.0\"}", rb"\"tree\": {\"constant\": 3}"
    assert was in data
    path.write_bytes(data.replace(was, is_now.ljust(len(was))))
    return FixedSample.load(path)


def loaded_again():
    return FixedSample.load(saved(SAMPLE))


def by_brightness(items):
    return default_collate(sorted(items, key=lambda item: float(item[0].sum())))


THREE = TensorDataset(IMAGES, torch.arange(60) % 3)

REMEDIES = [
    Remedy(
        "the collate_fn puts the items into another order (entry {} of a batch), so that inputs and labels do not "
        "belong together. Pass a sample in the order of its batch: FixedSample.from_tensors(…)",
        lambda: FixedSample.from_dataset(THREE, n=60, collate_fn=by_brightness),
        lambda: FixedSample.from_tensors(*by_brightness(list(THREE))),
    ),
    Remedy(
        "Pass n={} or so, ",
        lambda: FixedSample.from_dataset(TWENTY, n=30),
        lambda: FixedSample.from_dataset(TWENTY, n=60),
    ),
    Remedy(
        "shrink=True for two of each of some classes, or a subset of the classes.",
        lambda: FixedSample.from_dataset(TWENTY, n=30),
        lambda: FixedSample.from_dataset(TWENTY, n=30, shrink=True),
        lambda: FixedSample.from_dataset(TensorDataset(IMAGES, torch.arange(60) % 20 % 3), n=30),
    ),
    Remedy(
        "Pass n={} or less, ",
        lambda: FixedSample.from_dataset(RARE, n=45),
        lambda: FixedSample.from_dataset(RARE, n=15),
    ),
    Remedy(
        "shrink=True to draw more of the others, or choose the samples yourself with FixedSample.from_tensors.",
        lambda: FixedSample.from_dataset(RARE, n=45),
        lambda: FixedSample.from_dataset(RARE, n=45, shrink=True),
        lambda: FixedSample.from_tensors(*RARE.tensors),
    ),
    Remedy(
        "If there are classes, name them: FixedSample.from_dataset(…, labels=…), a key, a position, or a function of "
        "an item",
        lambda: FixedSample.from_dataset(AGES, n=40),
        lambda: FixedSample.from_dataset(AGES, n=40, labels=1),
        lambda: FixedSample.from_dataset(AGES, n=40, labels=lambda item: item[1] // 10),
        lambda: FixedSample.from_dataset(
            Items(lambda index: {"image": IMAGES[index], "age": 20 + 37 * index % 60}), n=40, labels="age"
        ),
    ),
    Remedy(
        "expected a class for each item, or None, as from labels=lambda item: …",
        lambda: FixedSample.from_dataset(TWO, n=40, labels=lambda item: item[1] / 7),
        lambda: FixedSample.from_dataset(TWO, n=40, labels=lambda item: item[1]),
        lambda: FixedSample.from_dataset(TWO, n=40, labels=lambda item: item[1] if item[2] else None, shrink=True),
    ),
    Remedy(
        "; another one by FixedSample.from_dataset(…, labels=…)",
        lambda: FixedSample.from_dataset(TWO, n=40),
        lambda: FixedSample.from_dataset(TWO, n=40, labels=2),
    ),
    Remedy(
        "for equally many of each class give it an attribute targets, one class per item",
        lambda: FixedSample.from_dataset(TWO, n=30, labels=1),
        lambda: FixedSample.from_dataset(with_targets(TWO), n=30, labels=1),
    ),
    Remedy(
        "have a label. Pass shrink=True for a smaller sample or one without labels",
        lambda: FixedSample.from_dataset(MARKED, n=40),
        lambda: FixedSample.from_dataset(MARKED, n=40, shrink=True),
    ),
    Remedy(
        "Let it augment only where the module's training is True, or pass a sample with prepare=False, of inputs as "
        "the network gets them",
        lambda: noisy(training=True),
        lambda: noisy(training=False),
        lambda: FixedSample.from_tensors(IMAGES, prepare=False),
    ),
    Remedy(
        "a collate_fn or a batch-transfer hook augments",
        lambda: FixedSample.from_dataset(TWO, n=30, collate_fn=lambda items: torch.rand(len(items), 2)),
        lambda: FixedSample.from_dataset(TWO, n=30, collate_fn=cut),
    ),
    Remedy(
        "FixedSample.save(path) keeps them for FixedSample.load(path)", large, lambda: FixedSample.load(saved(SAMPLE))
    ),
    Remedy("holds no inputs. Save it again with FixedSample.save(path).", without_inputs, loaded_again),
    Remedy(
        "its inputs have the fingerprint {}, expected {}. Save it again with FixedSample.save(path).",
        lambda: damaged(lambda data: data[:-4000] + bytes(2000) + data[-2000:]),
        loaded_again,
    ),
    Remedy(
        "is no complete sample of rra-monitor ({}). Save it again with FixedSample.save(path).",
        lambda: damaged(lambda data: data[:-1]),
        loaded_again,
    ),
    Remedy(
        "cannot be saved; convert the inputs first, as by torch.view_as_real",
        lambda: saved(FixedSample.from_tensors(IMAGES.to(torch.complex64))),
        lambda: saved(FixedSample.from_tensors(torch.view_as_real(IMAGES.to(torch.complex64)))),
    ),
    Remedy(
        "Give the data set a transform that returns tensors of one shape, pass the collate_fn of your loader, or build "
        "the sample with FixedSample.from_tensors.",
        lambda: FixedSample.from_dataset(UNEQUAL, n=20),
        lambda: FixedSample.from_dataset(Items(lambda index: (UNEQUAL[index][0][:, :3], index % 2)), n=20),
        lambda: FixedSample.from_dataset(UNEQUAL, n=20, collate_fn=cut),
        lambda: FixedSample.from_tensors(*cut([UNEQUAL[index] for index in range(20)])),
    ),
    Remedy(
        "Pass a collate_fn that returns such batches, or build the sample with FixedSample.from_tensors.",
        lambda: FixedSample.from_dataset(UNEQUAL, n=20, collate_fn=lambda items: cut(items)[0][1:]),
        lambda: FixedSample.from_dataset(UNEQUAL, n=20, collate_fn=cut),
        lambda: FixedSample.from_tensors(*cut([UNEQUAL[index] for index in range(20)])),
    ),
]


def with_targets(dataset):
    found = Items(dataset.item)
    found.targets = [dataset[index][1] for index in range(60)]
    return found


@pytest.mark.parametrize("remedy", REMEDIES, ids=str)
def test_sample_remedy_is_followed(remedy):
    remedy.check()
