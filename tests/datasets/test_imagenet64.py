"""ImageNet64x64 in its batches, and what is said of those that do not fit."""

import pickle
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from rra_monitor.datasets import imagenet64
from rra_monitor.datasets.catalogue import DATA
from rra_monitor.datasets.read import read_splits
from rra_monitor.recipes.catalogue import RECIPES
from tests.helpers.image_trees import tree
from tests.helpers.remedies import Remedy, refusal

SUBSET, WHOLE = DATA["imagenet64-50"], DATA["imagenet64"]


@pytest.fixture
def small_imagenet(monkeypatch):
    """Images of 4 pixels, of which the subset takes 3 of each of 5 classes."""
    monkeypatch.setattr(imagenet64, "SUBSET_CLASSES", 5)
    monkeypatch.setattr(imagenet64, "SUBSET_IMAGES", 3)
    return replace(SUBSET, side=4, classes=5), replace(WHOLE, side=4)


def write_batches(folder, ending=".npz", entries=("data", "labels")):
    """All classes; those of odd label have 4 training images over ten batches, the others 2."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    classes = np.arange(1, 1001)
    labels = rng.permutation(np.repeat(classes, np.where(classes % 2, 4, 2)))
    batches = {f"train_data_batch_{number + 1}": held for number, held in enumerate(np.split(labels, 10))}
    for name, held in {**batches, "val_data": classes}.items():
        data = rng.integers(0, 256, (len(held), 48), dtype=np.uint8)
        content = dict(zip(entries, (data, held.tolist()), strict=True))
        if ending:
            np.savez(folder / f"{name}.npz", **content)
        else:
            (folder / name).write_bytes(pickle.dumps(content))
    return labels


def test_the_whole_of_imagenet_is_read_from_its_batches(tmp_path, small_imagenet):
    labels = write_batches(tmp_path / "inner")
    found = read_splits(small_imagenet[1], tmp_path)
    assert np.array_equal(found.train.labels, labels - 1)
    assert len(found.classes) == 1000
    second = np.load(tmp_path / "inner" / "train_data_batch_2.npz")["data"]
    assert np.array_equal(found.train.images[300:600].flatten(1), second)


def test_the_subset_takes_as_many_of_each_of_its_classes(tmp_path, small_imagenet):
    labels = write_batches(tmp_path)
    found = read_splits(small_imagenet[0], tmp_path)
    assert np.bincount(found.train.labels).tolist() == [3] * 5
    assert found.val.labels.tolist() == [0, 1, 2, 3, 4]
    # Only labels with enough images, which are odd, so even as the classes that count from 0.
    assert all(int(name) % 2 == 0 for name in found.classes)
    held = np.concatenate([np.load(tmp_path / f"train_data_batch_{n}.npz")["data"] for n in range(1, 11)])
    where = {row.tobytes(): label for row, label in zip(held, labels - 1, strict=True)}
    names = [where[image.flatten().numpy().tobytes()] for image in found.train.images]
    assert names == [int(found.classes[label]) for label in found.train.labels]


def test_the_subset_is_the_same_each_time_and_from_a_tree(tmp_path, small_imagenet):
    write_batches(tmp_path)
    first, again = (read_splits(small_imagenet[0], tmp_path) for _ in range(2))
    assert first.classes == again.classes
    assert torch.equal(first.train.images, again.train.images)


def test_pickles_need_permission(tmp_path, small_imagenet):
    write_batches(tmp_path, ending="")
    with refusal("{} is a pickle, and reading it runs what it contains. Give the npz batches, or --allow-pickle"):
        read_splits(small_imagenet[1], tmp_path)
    found = read_splits(small_imagenet[1], tmp_path, allow_pickle=True)
    assert found.train.images.shape == (3000, 3, 4, 4)
    write_batches(tmp_path / "npz")
    assert read_splits(small_imagenet[1], tmp_path / "npz").train.images.shape == (3000, 3, 4, 4)


def test_pickles_within_an_npz_need_permission(tmp_path, small_imagenet):
    write_batches(tmp_path)
    with np.load(tmp_path / "train_data_batch_1.npz") as held:
        np.savez(tmp_path / "train_data_batch_1.npz", data=held["data"], labels=held["labels"].astype(object))
    with pytest.raises(ValueError, match=r"train_data_batch_1.npz is a pickle"):
        read_splits(small_imagenet[1], tmp_path)
    assert len(read_splits(small_imagenet[1], tmp_path, allow_pickle=True).train.labels) == 3000


def test_batches_of_another_form_are_named(tmp_path, small_imagenet):
    write_batches(tmp_path)
    with pytest.raises(ValueError, match=r"uint8 of shape \(300, 48\), expected bytes of \(300, 12288\)"):
        read_splits(WHOLE, tmp_path)
    write_batches(tmp_path, entries=("pixels", "labels"))
    with pytest.raises(ValueError, match="has the entries pixels, labels, expected data and labels"):
        read_splits(small_imagenet[1], tmp_path)


@pytest.mark.parametrize("which", [0, 1])
def test_missing_batches_are_named(tmp_path, small_imagenet, which):
    write_batches(tmp_path)
    for number in (3, 10):
        (tmp_path / f"train_data_batch_{number}.npz").unlink()
    expected = r"8 of the 10 training batches; missing: train_data_batch_3, train_data_batch_10"
    with pytest.raises(ValueError, match=expected):
        read_splits(small_imagenet[which], tmp_path)


def test_batches_of_two_data_sets_are_refused(tmp_path, small_imagenet):
    write_batches(tmp_path / "small")
    write_batches(tmp_path / "large")
    with pytest.raises(ValueError, match=r"or one twice: train_data_batch_1, .* and 5 more; expected"):
        read_splits(small_imagenet[1], tmp_path)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(("name", "split"), [("train_data_batch_{}", "training"), ("val_data", "validation")])
def test_missing_classes_are_named(tmp_path, small_imagenet, which, name, split):
    write_batches(tmp_path)
    for file in {tmp_path / f"{name.format(number)}.npz" for number in range(1, 11)}:
        with np.load(file) as held:
            labels = held["labels"]
            np.savez(file, data=held["data"], labels=np.where(np.isin(labels, (7, 998)), 1, labels))
    expected = f"the {split} batches of .* have images of 998 of the 1000 classes; none of the labels 7, 998"
    with pytest.raises(ValueError, match=expected):
        read_splits(small_imagenet[which], tmp_path)


def test_the_remedies_for_missing_classes_are_followed(tmp_path, small_imagenet):
    whole, some = tmp_path / "whole", tmp_path / "some"
    write_batches(whole)
    write_batches(some)
    with np.load(some / "val_data.npz") as held:
        np.savez(some / "val_data.npz", data=held["data"][:9], labels=held["labels"][:9])
    own = tree(tmp_path / "own", ("a", "b"))
    Remedy(
        "Fetch them again; for classes of your own there are the recipes resnet20-images and resnet34-images",
        lambda: read_splits(small_imagenet[1], some),
        lambda: read_splits(small_imagenet[1], whole),
        *(partial(read_splits, DATA[RECIPES[f"{base}-images"].data], own) for base in ("resnet20", "resnet34")),
    ).check()


@pytest.mark.parametrize("allow_pickle", [False, True])
@pytest.mark.parametrize("damage", ["truncated", "junk", "empty", "bits", "compressed bits", "numpy"])
def test_corrupt_batches_of_imagenet_are_named(tmp_path, small_imagenet, damage, allow_pickle):
    write_batches(tmp_path)
    file = tmp_path / "train_data_batch_7.npz"
    if damage == "compressed bits":
        with np.load(file) as held:
            np.savez_compressed(file, **held)
    if damage == "numpy":
        np.save(file.with_suffix(".npy"), np.zeros(3))
        file.with_suffix(".npy").rename(file)
    whole = file.read_bytes()
    middle = len(whole) // 2
    content = {
        "truncated": whole[:middle],
        "junk": b"no npz at all" * 100,
        "empty": b"",
        "bits": whole[:middle] + bytes(byte ^ 255 for byte in whole[middle : middle + 8]) + whole[middle + 8 :],
    }
    file.write_bytes(content.get(damage.removeprefix("compressed "), whole))
    with pytest.raises(
        ValueError, match=r"train_data_batch_7.npz is corrupt or no npz \(.+\); fetch it again"
    ) as error:
        read_splits(small_imagenet[1], tmp_path, allow_pickle=allow_pickle)
    assert "allow_pickle" not in str(error.value)


def test_corrupt_pickles_are_named(tmp_path, small_imagenet):
    write_batches(tmp_path, ending="")
    whole = (tmp_path / "train_data_batch_7").read_bytes()
    (tmp_path / "train_data_batch_7").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"train_data_batch_7 is corrupt or no pickle \(.+\); fetch it again"):
        read_splits(small_imagenet[1], tmp_path, allow_pickle=True)


def test_batches_without_validation_are_named(tmp_path, small_imagenet):
    write_batches(tmp_path)
    (tmp_path / "val_data.npz").unlink()
    with pytest.raises(ValueError, match=r"but no val_data.npz"):
        read_splits(small_imagenet[1], tmp_path)


def test_batches_that_unpack_to_far_more_than_their_size_are_refused(tmp_path, small_imagenet):
    write_batches(tmp_path)
    np.savez_compressed(tmp_path / "val_data.npz", data=np.zeros((1, 1)), labels=np.zeros(30_000_000))
    with pytest.raises(ValueError, match=r"val_data\.npz is corrupt .*its \d+ bytes unpack to 240000128"):
        read_splits(small_imagenet[1], tmp_path)
