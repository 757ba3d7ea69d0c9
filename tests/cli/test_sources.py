import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rra_monitor.cli.sources import data_splits, named_model, samples
from rra_monitor.samples.sample import FixedSample


class TestNamedModel:
    @pytest.fixture
    def path_here(self, tmp_path, monkeypatch):
        """A working directory that is not on the path of modules, with files that would take the place of others."""
        monkeypatch.chdir(tmp_path)
        elsewhere = [entry for entry in sys.path if Path(entry).resolve() != tmp_path]
        monkeypatch.setattr(sys, "path", elsewhere)
        monkeypatch.setattr(sys, "modules", dict(sys.modules))
        (tmp_path / "matplotlib.py").write_text("raise SystemExit('foreign code')")
        (tmp_path / "own_module_here.py").write_text("def build():\n    import torch\n    return torch.nn.ReLU()\n")
        return list(elsewhere)

    @pytest.mark.parametrize("spec", ["rra_monitor.nn:resnet20", "torchvision:squeezenet1_1", "torch.nn:ReLU"])
    def test_modules_in_the_working_directory_are_not_found_where_none_was_named(self, path_here, spec):
        named_model(spec)
        assert sys.path == path_here

    def test_a_module_of_ones_own_is_found_in_the_working_directory_after_all_others(self, path_here, tmp_path):
        assert isinstance(named_model("own_module_here:build"), torch.nn.ReLU)
        assert sys.path == [*path_here, str(tmp_path)]

    def test_a_module_that_is_missing_is_named(self, path_here):
        with pytest.raises(ValueError, match="there is no module 'not_there', neither installed nor in the working"):
            named_model("not_there:build")

    @pytest.mark.parametrize(
        ("spec", "arguments", "text"),
        [
            ("os:system", None, "missing a required argument: 'command'; see --arguments"),
            ("rra_monitor.nn:resnet20", "nonsense=1", "nonsense"),
            ("rra_monitor.nn:resnet20", "num_classes=" + "(" * 500, "num_classes must be an integer of at least 1"),
            ("rra_monitor.nn:resnet20", "num_classes=" + "-" * 20_000 + "1", "have 20013 letters, expected at most"),
            ("rra_monitor.nn:resnet20", "num_classes=" + "-" * 1900 + "1", "num_classes must be an integer"),
        ],
    )
    def test_arguments_that_a_function_does_not_take_are_one_sentence(self, spec, arguments, text):
        with pytest.raises((ValueError, TypeError), match=text):
            named_model(spec, arguments)

    def test_a_torchvision_name_is_a_network_of_that_many_classes(self):
        assert named_model("torchvision:squeezenet1_1", "num_classes=7").num_classes == 7

    def test_a_function_gets_its_arguments(self):
        assert named_model("rra_monitor.nn:resnet20", "num_classes=3, in_channels=1").fc.out_features == 3

    @pytest.mark.parametrize(
        ("spec", "error", "text"),
        [
            ("torchvision:resnet19", ValueError, "torchvision has no model 'resnet19'; the nearest names: resnet18"),
            ("resnet18", ValueError, "expected module:function, torchvision:NAME or timm:NAME"),
            ("no_such:build", ValueError, "there is no module 'no_such'"),
            ("rra_monitor.nn:resnet2", ValueError, "rra_monitor.nn has no 'resnet2'; the nearest names: resnet20"),
            ("rra_monitor:__version__", TypeError, "is a str, expected a function"),
            ("rra_monitor.nn:resnet20", ValueError, "expected NAME=VALUE"),
            ("builtins:dict", TypeError, "gave a dict, expected a torch.nn.Module"),
        ],
    )
    def test_what_is_no_model_is_named(self, spec, error, text):
        with pytest.raises(error, match=text):
            named_model(spec, "10" if text.startswith("expected NAME") else None)

    def test_timm_says_how_to_get_it_where_it_is_missing(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "timm", None)
        with pytest.raises(ValueError, match="needs timm, which is not installed: pip install timm"):
            named_model("timm:resnet18")

    def test_an_error_in_code_of_ones_own_keeps_its_trace(self, tmp_path, monkeypatch):
        (tmp_path / "breaking_code.py").write_text('def broken():\n    raise ValueError("no weights today")\n')
        monkeypatch.syspath_prepend(tmp_path)
        # Not one of the errors that the command shows in one sentence.
        with pytest.raises(RuntimeError, match="'breaking_code:broken': calling it failed: no weights today") as caught:
            named_model("breaking_code:broken")
        assert isinstance(caught.value.__cause__, ValueError)


class TestSamples:
    @pytest.fixture
    def images(self, tmp_path):
        """Two classes of 12 images, in two parts, the second of several sizes."""
        rng = np.random.default_rng(0)
        for part, sizes in (("train", [20]), ("test", [20, 24])):
            for label in ("cat", "dog"):
                (tmp_path / part / label).mkdir(parents=True)
                for number in range(12):
                    size = sizes[number % len(sizes)]
                    pixels = rng.integers(0, 255, (size, size + 4, 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(tmp_path / part / label / f"{number}.png")
        return tmp_path

    def test_folders_of_two_parts_are_two_samples(self, images):
        found = samples(str(images), 10, 16, None, 0)
        assert {name: (part.n, part.classes) for name, part in found.items()} == {"train": (10, 2), "val": (10, 2)}
        assert found["train"].read([0]).shape == (1, 3, 16, 16)

    def test_a_folder_of_classes_is_one_sample(self, images):
        assert list(data_splits(str(images / "train"))) == ["data"]
        assert samples(str(images / "train"), 10, None, "val", 0)["val"].read([0]).shape == (1, 3, 20, 24)

    def test_a_saved_sample_is_measured_as_it_is(self, tmp_path):
        saved = FixedSample.from_tensors(torch.arange(60.0).reshape(20, 3), torch.arange(20) % 2)
        saved.save(tmp_path / "sample.safetensors")
        (found,) = samples(str(tmp_path / "sample.safetensors"), 10, None, "val", 0).values()
        assert (found.n, found.fingerprint) == (20, saved.fingerprint)
        assert found.labels.tolist() == saved.labels.tolist()

    def test_images_of_several_sizes_need_one(self, images):
        with pytest.raises(TypeError, match="differ in size; --size 224 makes them alike"):
            samples(str(images / "test"), 10, None, None, 0)

    def test_fewer_samples_are_drawn_where_there_are_not_enough(self, images):
        assert samples(str(images / "train"), 2000, 16, None, 0)["data"].n == 24

    def test_images_of_a_format_that_starts_a_program_and_pipes_are_not_opened(self, images):
        Image.new("RGB", (20, 20)).save(images / "train" / "cat" / "0.png", "EPS")
        (images / "train" / "cat" / "1.png").unlink()
        os.mkfifo(images / "train" / "cat" / "1.png")
        part = data_splits(str(images))["train"]
        with pytest.raises(ValueError, match=r"cat/0\.png is corrupt \(cannot identify image file"):
            part[0]
        with pytest.raises(ValueError, match=r"1\.png is no file"):
            part[1]

    def test_only_the_images_of_a_sample_are_decoded(self, images):
        before = samples(str(images), 4, 16, "train", 0)["train"]
        # Every eighth is looked at for its label.
        used = {*before.ids.tolist(), 0, 8, 16}
        for position, file in enumerate(sorted((images / "train").rglob("*.png"))):
            if position not in used:
                file.write_bytes(b"")
        assert samples(str(images), 4, 16, "train", 0)["train"].fingerprint == before.fingerprint
        with pytest.raises(ValueError, match=r"\.png is corrupt"):
            samples(str(images), 10, 16, "train", 0)

    def test_pickles_in_the_place_of_cifar10_are_not_read(self, tmp_path, monkeypatch):
        (tmp_path / "cifar-10-batches-py").mkdir()
        (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"a pickle")
        monkeypatch.setattr("pickle.load", None)
        with pytest.raises(ValueError, match="holds another CIFAR-10 than the published one"):
            data_splits(f"cifar10:{tmp_path}")

    def test_cifar10_is_read_from_folders_in_its_own_scale(self, images):
        part = data_splits(f"cifar10:{images}")["train"]
        pixel = np.asarray(Image.open(images / "train" / "cat" / "0.png"))[0, 0, 0] / 255
        assert part[0][0][0, 0, 0].item() == pytest.approx((pixel - 0.4914) / 0.2470, abs=1e-5)

    @pytest.mark.parametrize(
        ("spec", "size", "probe", "text"),
        [
            ("nowhere", None, None, "are no folder, and not of the form"),
            ("/no/where:at", None, None, "are no folder, and not of the form"),
            ("cifar10:/no/where", None, None, "/no/where is no tree of images"),
            ("digits", 16, None, "--size is for folders of images"),
            ("digits", None, "test", "have the splits train, val, no 'test'"),
        ],
    )
    def test_what_is_no_data_is_named(self, spec, size, probe, text):
        with pytest.raises(ValueError, match=text):
            samples(spec, 10, size, probe, 0)

    def test_a_function_that_returns_no_data_set_is_named(self):
        with pytest.raises(TypeError, match="gave a set for 'data', expected a Dataset with length and indexing"):
            data_splits("builtins:set")
