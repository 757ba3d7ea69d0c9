"""Data sets in every form on disk, and what is said of those that do not fit."""

import io
import os
import pickle
from dataclasses import replace
from http.client import IncompleteRead
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import CIFAR10
from torchvision.datasets.utils import calculate_md5

from rra_monitor.datasets import imagenet64
from rra_monitor.datasets.catalogue import DATA
from rra_monitor.datasets.images import Files, Normalised
from rra_monitor.datasets.read import CIFAR10_CLASSES, read_splits
from tests.helpers.image_trees import tree

CIFAR, SUBSET, WHOLE, IMAGES = (DATA[name] for name in ("cifar10", "imagenet64-50", "imagenet64", "images"))


def test_a_tree_of_images_is_read_by_class(tmp_path):
    found = read_splits(CIFAR, tree(tmp_path))
    assert found.classes == CIFAR10_CLASSES
    assert found.train.labels.tolist() == [label for label in range(10) for _ in range(2)]
    pixels = np.asarray(Image.open(tmp_path / "test" / "frog" / "0001.png"))
    assert np.array_equal(found.val.images[13].permute(1, 2, 0), pixels)


def test_files_read_lazily_are_the_same_images(tmp_path):
    tree(tmp_path)
    lazy, eager = read_splits(CIFAR, tmp_path, lazy=True), read_splits(CIFAR, tmp_path)
    assert isinstance(lazy.train, Files)
    where = torch.tensor([3, 17, 0])
    assert torch.equal(lazy.train.read(where), eager.train.read(where))


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


def test_corrupt_images_are_counted_and_named(tmp_path):
    tree(tmp_path)
    (tmp_path / "train" / "cat" / "0000.png").write_bytes(b"no image")
    whole = (tmp_path / "train" / "dog" / "0001.png").read_bytes()
    (tmp_path / "train" / "dog" / "0001.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"2 of 40 images cannot be used: .*cat/0000.png is corrupt.*dog/0001.png"):
        read_splits(CIFAR, tmp_path)


def test_an_image_that_is_corrupt_when_it_is_read_is_named(tmp_path):
    tree(tmp_path)
    (tmp_path / "train" / "cat" / "0000.png").write_bytes(b"no image")
    lazy = read_splits(CIFAR, tmp_path, lazy=True, check=False)
    with pytest.raises(ValueError, match=r"0000.png is corrupt"):
        lazy.train.read(torch.tensor([6]))


@pytest.mark.parametrize("lazy", [False, True])
def test_corrupt_images_of_both_parts_are_named_at_once_and_before_the_training(tmp_path, lazy):
    tree(tmp_path)
    Image.new("RGB", (32, 32), "red").save(tmp_path / "train" / "cat" / "photo.jpg", quality=100)
    whole = (tmp_path / "train" / "cat" / "photo.jpg").read_bytes()
    (tmp_path / "train" / "cat" / "photo.jpg").write_bytes(whole[:-20])
    (tmp_path / "train" / "dog" / "0001.png").write_bytes(b"no image")
    (tmp_path / "test" / "ship" / "0000.png").write_bytes(b"")
    expected = r"^3 of 41 images cannot be used: .*cat/photo.jpg is corrupt.*dog/0001.png.*test/ship/0000.png"
    with pytest.raises(ValueError, match=expected):
        read_splits(CIFAR, tmp_path, lazy=lazy)


def test_many_corrupt_images_are_counted_and_the_first_named(tmp_path):
    tree(tmp_path)
    for file in tmp_path.glob("train/*/*.png"):
        file.write_bytes(b"")
    with pytest.raises(ValueError, match=r"20 of 40 images .*airplane/0000.png is corrupt.* and 15 more") as error:
        read_splits(CIFAR, tmp_path)
    assert str(error.value).count("is corrupt") == 5


def test_images_of_another_size_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"0000.png has 28 x 28 pixels, expected 32 x 32"):
        read_splits(CIFAR, tree(tmp_path, side=28))


def test_images_of_your_own_are_scaled(tmp_path):
    found = read_splits(IMAGES, tree(tmp_path, ("a", "b", "c"), side=80))
    assert found.classes == ("a", "b", "c")
    assert found.train.images.shape == (6, 3, 64, 64)


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
    with pytest.raises(ValueError, match="train_data_batch_1 is a pickle, and reading it runs what it contains"):
        read_splits(small_imagenet[1], tmp_path)
    found = read_splits(small_imagenet[1], tmp_path, allow_pickle=True)
    assert found.train.images.shape == (3000, 3, 4, 4)


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


def test_digits_need_no_directory(digits):
    found = read_splits(DATA["digits"], None)
    assert found.train.images.shape == (1400, 1, 16, 16)
    assert len(found.val.labels) == 397
    assert torch.equal(found.train.images[:, :, ::2, ::2], (255 * digits[0][:1400]).round().byte())


def test_a_sample_sees_what_the_network_sees(tmp_path):
    found = read_splits(CIFAR, tree(tmp_path))
    image, label = Normalised(found.train, CIFAR.normalization)[13]
    assert label == 6
    pixel = found.train.images[13, 1, 5, 7].item() / 255
    assert image[1, 5, 7].item() == pytest.approx((pixel - 0.4822) / 0.2435, abs=1e-6)


class TestForeign:
    """Data sets that somebody else made: images and arrays, nothing else."""

    @pytest.fixture
    def one(self, tmp_path):
        """A way to put one image into a tree, and to read it."""

        def read(save, data=CIFAR):
            tree(tmp_path, count=1)
            save(path := tmp_path / "train" / "airplane" / "0000.png")
            return read_splits(data, tmp_path, lazy=True, check=False).train.image(0), path

        return read

    def test_an_image_of_a_format_that_starts_a_program_is_not_decoded(self, one, monkeypatch):
        monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", None)
        with pytest.raises(ValueError, match=r"0000\.png is corrupt \(cannot identify image file"):
            one(lambda path: Image.new("RGB", (32, 32)).save(path, "EPS"))

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF"])
    def test_images_of_every_honest_format_are_decoded(self, one, kind):
        assert one(lambda path: Image.new("RGB", (32, 32), (255, 0, 0)).save(path, kind))[0].shape == (3, 32, 32)

    def test_an_image_of_another_size_is_refused_before_it_is_decoded(self, one, monkeypatch):
        def save(path):
            path.write_bytes(PNG)
            monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)

        with pytest.raises(ValueError, match=r"0000\.png has 64 x 64 pixels, expected 32 x 32"):
            one(save)

    def test_a_pipe_among_the_images_is_not_waited_for(self, one):
        with pytest.raises(ValueError, match=r"0000\.png is no file"):
            one(lambda path: (path.unlink(), os.mkfifo(path)))

    def test_pickles_in_the_place_of_cifar10_are_not_read(self, tmp_path, monkeypatch):
        (tmp_path / "cifar-10-batches-py").mkdir()
        for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"):
            (tmp_path / "cifar-10-batches-py" / name).write_bytes(pickle.dumps({"data": []}))
        monkeypatch.setattr(pickle, "load", None)
        with pytest.raises(ValueError, match=r"6 of 6 files in .* are missing or corrupt"):
            read_splits(CIFAR, tmp_path)

    def test_batches_that_unpack_to_far_more_than_their_size_are_refused(self, tmp_path, small_imagenet):
        write_batches(tmp_path)
        np.savez_compressed(tmp_path / "val_data.npz", data=np.zeros((1, 1)), labels=np.zeros(30_000_000))
        with pytest.raises(ValueError, match=r"val_data\.npz is corrupt .*its \d+ bytes unpack to 240000128, "):
            read_splits(small_imagenet[1], tmp_path)


PNG = io.BytesIO()
Image.new("RGB", (64, 64)).save(PNG, "PNG")
PNG = PNG.getvalue()
"""An image of 64 pixels."""
