"""Images on disk, and what is said of those that cannot be used."""

import io
import os

import pytest
import torch
from PIL import Image

from rra_monitor.datasets.catalogue import DATA
from rra_monitor.datasets.images import Files, Normalised
from rra_monitor.datasets.read import read_splits
from tests.helpers.image_trees import tree
from tests.helpers.remedies import refusal

CIFAR, IMAGES = DATA["cifar10"], DATA["images"]


buffer = io.BytesIO()
Image.new("RGB", (64, 64)).save(buffer, "PNG")
PNG = buffer.getvalue()
"""An image of 64 pixels."""


def test_files_read_lazily_are_the_same_images(tmp_path):
    tree(tmp_path)
    lazy, eager = read_splits(CIFAR, tmp_path, lazy=True), read_splits(CIFAR, tmp_path)
    assert isinstance(lazy.train, Files)
    where = torch.tensor([3, 17, 0])
    assert torch.equal(lazy.train.read(where), eager.train.read(where))


def test_corrupt_images_are_counted_and_named(tmp_path):
    tree(tmp_path)
    (tmp_path / "train" / "cat" / "0000.png").write_bytes(b"no image")
    whole = (tmp_path / "train" / "dog" / "0001.png").read_bytes()
    (tmp_path / "train" / "dog" / "0001.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"2 of 40 images cannot be used: .*cat/0000.png is corrupt.*dog/0001.png"):
        read_splits(CIFAR, tmp_path)
    with refusal(". Replace or delete them"):
        read_splits(CIFAR, tmp_path)
    (tmp_path / "train" / "cat" / "0000.png").unlink()
    (tmp_path / "train" / "dog" / "0001.png").write_bytes(whole)
    assert len(read_splits(CIFAR, tmp_path).train.labels) == 19


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
