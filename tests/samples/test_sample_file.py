import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import Dataset

import rra_monitor as rra
from rra_monitor.samples import sample as sample_module
from rra_monitor.samples.sample_file import RESERVED
from tests.helpers.borrowed_data import Counted, content


class Pictures(Dataset):
    """A folder of JPEGs, whose reads are counted over all processes."""

    def __init__(self, folder, n, side):
        from PIL import Image

        self.counter, self.side = Counted(folder), side
        self.targets = [index % 10 for index in range(n)]
        rng = np.random.default_rng(0)
        self.files = [folder / f"{number}.jpg" for number in range(20)]
        for file in self.files:
            Image.fromarray(rng.integers(0, 255, (side, side, 3), np.uint8)).save(file)

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        from PIL import Image, ImageChops

        self.counter.note()
        with Image.open(self.files[index % 20]) as image:
            return ImageChops.offset(image.convert("RGB"), index), self.targets[index]


def as_batch(items):
    """What makes tensors of pictures."""
    pictures = np.stack([np.asarray(item[0]) for item in items])
    return torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255, torch.tensor([item[1] for item in items])


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 16, 16)
        self.blocks = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(2))

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return x


def measured(folder, n, side, budget):
    """Five snapshots of pictures, and the number of reads of the whole run."""
    dataset = Pictures(folder, n, side)
    sample = rra.FixedSample.from_dataset(dataset, n=n, collate_fn=as_batch)
    sample = sample.through(lambda batch: [(batch[0] - 0.5) / 0.25, batch[1]])
    monitor = rra.Monitor({"train": sample}, layers=["blocks.*"], memory_budget=budget)
    for step in range(5):
        monitor.measure(Net(), step=step, epoch=step)
    return dataset.counter.reads


def test_pictures_are_decoded_once_in_a_run_of_five_snapshots(tmp_path, monkeypatch):
    monkeypatch.setattr(sample_module, "MATERIALISE_BYTES", 1 << 20)
    with pytest.warns(UserWarning, match=r"4\.9 MB of inputs are kept in a temporary file"):
        assert measured(tmp_path, 100, 64, 1 << 16) <= 105 + 32


@pytest.mark.slow
def test_two_thousand_pictures_of_224_pixels_take_at_most_2100_reads(tmp_path):
    with pytest.warns(UserWarning, match="1,204.2 MB of inputs are kept in a temporary file"):
        assert measured(tmp_path, 2000, 224, 64 << 20) <= 2100


@pytest.fixture
def mixed():
    """A sample whose batches hold all that a file can: types, a dictionary, texts, a constant, no rows."""

    class Mixed(Dataset):
        targets = tuple(index % 3 for index in range(60))

        def __len__(self):
            return 60

        def __getitem__(self, index):
            image = torch.full((2, 3), float(index))
            return {"image": image, "half": image.bfloat16(), "mask": image > 3, "tokens": torch.arange(3) + index,
                    "name": f"{index}.jpg", "empty": torch.zeros(0), "label": index % 3}  # fmt: skip

    return rra.FixedSample.from_dataset(Mixed(), n=30, prepare=False)


def equal(first, second):
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)
    return torch.equal(first, second) and first.dtype == second.dtype if torch.is_tensor(first) else first == second


class TestSaveAndLoad:
    def test_a_saved_sample_is_the_same(self, mixed, tmp_path):
        mixed.save(tmp_path / "sample.safetensors")
        loaded = rra.FixedSample.load(tmp_path / "sample.safetensors")
        assert equal(loaded.read(range(30)), mixed.read(range(30)))
        assert (loaded.ids == mixed.ids).all()
        assert (loaded.labels == mixed.labels).all()
        assert (loaded.fingerprint, loaded.prepare) == (mixed.fingerprint, False)
        assert loaded.path == tmp_path / "sample.safetensors"

    def test_a_loaded_sample_hands_on_batches_as_the_loader_did(self, mixed, tmp_path):
        mixed.save(tmp_path / "sample")
        seen = []
        rra.FixedSample.load(tmp_path / "sample").through(lambda batch: seen.append(set(batch)) or batch)
        assert seen[0] == {"image", "half", "mask", "tokens", "name", "empty", "label"}

    def test_an_unlabelled_one_of_tensors_stays_so(self, tmp_path):
        sample = rra.FixedSample.from_tensors((torch.rand(9, 2), torch.arange(9)), ids=np.arange(9) + 5)
        sample.save(tmp_path / "sample")
        loaded = rra.FixedSample.load(tmp_path / "sample")
        assert loaded.labels is None
        assert loaded.ids.tolist() == list(range(5, 14))
        assert loaded.read(range(9))[1].tolist() == list(range(9))

    def test_other_programs_read_the_tensors(self, mixed, tmp_path):
        mixed.save(tmp_path / "sample.safetensors")
        there = load_file(tmp_path / "sample.safetensors")
        assert torch.equal(there["tensor.0"], mixed.read(range(30))["image"])
        assert there["labels"].tolist() == mixed.labels.tolist()

    def test_what_a_network_writes_to_its_inputs_is_in_no_file(self, mixed, tmp_path):
        mixed.save(tmp_path / "sample")
        before = (tmp_path / "sample").read_bytes()
        loaded = rra.FixedSample.load(tmp_path / "sample")
        loaded.read(range(30))["image"].zero_()
        assert equal(loaded.read(range(30)), mixed.read(range(30)))
        assert (tmp_path / "sample").read_bytes() == before

    def test_a_failed_save_leaves_nothing(self, tmp_path):
        sample = rra.FixedSample.from_tensors(torch.zeros(5, 2, dtype=torch.complex64))
        with pytest.raises(TypeError, match=r"tensors of type torch.complex64 cannot be saved"):
            sample.save(tmp_path / "sample")
        assert list(tmp_path.iterdir()) == []


def changed_header(data, change):
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    about = json.loads(header["__metadata__"]["rra_monitor"])
    change(header, about)
    header["__metadata__"]["rra_monitor"] = json.dumps(about)
    return data[:8] + json.dumps(header).encode().ljust(length) + data[8 + length :]


class TestAFileOfAnybody:
    @pytest.fixture
    def file(self, mixed, tmp_path):
        mixed.save(tmp_path / "sample")
        return tmp_path / "sample"

    @pytest.mark.parametrize("size", [0, 3, 8, 4000, RESERVED, RESERVED + 50, -1])
    def test_a_truncated_one_is_named(self, file, size):
        file.write_bytes(file.read_bytes()[:size])
        with pytest.raises(ValueError, match=f"{file} is no complete sample of rra-monitor"):
            rra.FixedSample.load(file)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda header, about: about.update(schema=2), "it has schema 2, this version reads up to 1"),
            (lambda header, about: about.update(n=10**12), "its facts are"),
            (lambda header, about: about.update(n=29), "is not of 29 values"),
            (lambda header, about: about.pop("tree"), "'tree' is missing"),
            (lambda header, about: about.update(tree=[]), "is no complete sample"),
            (lambda header, about: about.update(tree={"tensor": "labels", "more": 1}), "a part of its batches"),
            (lambda header, about: about.update(tree={"pickle": "x"}), "a part of its batches"),
            (lambda header, about: about.update(tree={"constant": 3}), "holds no inputs"),
            (lambda header, about: about.update(entry=["x"]), "its facts are"),
            (lambda header, about: header["ids"].update(dtype="F64"), "its ids are torch.float64"),
            (lambda header, about: header["ids"].update(dtype="OBJECT"), "is of type 'OBJECT'"),
            (lambda header, about: header["ids"].update(shape=[2**60]), "has shape"),
            (lambda header, about: header["ids"].update(shape=[31]), "does not fill its bytes"),
            (lambda header, about: header["ids"].update(data_offsets=[0, 240]), "does not fill its bytes"),
            (lambda header, about: header.pop("labels"), "does not fill its bytes"),
            (lambda header, about: about.update(fingerprint="0" * 16), "was changed after it was written"),
        ],
    )
    def test_an_odd_header_is_refused(self, file, change, words):
        file.write_bytes(changed_header(file.read_bytes(), change))
        with pytest.raises(ValueError, match=words) as caught:
            rra.FixedSample.load(file)
        assert str(file) in str(caught.value)

    def test_other_inputs_are_noticed(self, file):
        data = bytearray(file.read_bytes())
        data[RESERVED + 700] ^= 1
        file.write_bytes(data)
        with pytest.raises(ValueError, match=r"was changed after it was written: its inputs have the fingerprint"):
            rra.FixedSample.load(file)

    def test_there_is_no_such_file(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            rra.FixedSample.load(tmp_path / "nothing")


class TestAboveTheLimit:
    @pytest.fixture(autouse=True)
    def small(self, monkeypatch):
        monkeypatch.setattr(sample_module, "MATERIALISE_BYTES", 1000)

    def test_a_change_is_kept_in_the_folder_and_found_again(self, dataset, tmp_path):
        calls = []

        def doubled(batch):
            calls.append(len(batch[0]))
            return [batch[0] * 2, batch[1]]

        with pytest.warns(UserWarning, match="temporary file"):
            sample = rra.FixedSample.from_dataset(dataset, n=600)
        first = sample.through(doubled, folder=tmp_path)
        assert sum(calls) == 600 + 120 + 120
        assert [file.name for file in tmp_path.iterdir()] == [first.path.name]
        again = sample.through(doubled, folder=tmp_path)
        assert sum(calls) == 840 + 4 * 120
        assert again.path == first.path
        assert again.fingerprint == first.fingerprint
        assert torch.equal(again.read(range(600)), sample.read(range(600)) * 2)
        other = sample.through(lambda batch: [batch[0] * 3, batch[1]], folder=tmp_path)
        assert other.path != first.path

    def test_texts_beside_the_inputs_are_right_when_it_is_found_again(self, tmp_path):
        inputs = {"image": torch.rand(60, 4), "index": torch.arange(60)}
        sample = rra.FixedSample.from_tensors(inputs)

        def named(batch):
            return batch | {"image": batch["image"] * 2, "name": [f"{int(index)}.jpg" for index in batch["index"]]}

        for _ in range(2):
            assert sample.through(named, folder=tmp_path).read(range(3))["name"] == ["0.jpg", "1.jpg", "2.jpg"]

    def test_a_large_draw_is_kept_in_the_folder_and_not_read_again(self, tmp_path, monkeypatch):
        monkeypatch.setattr(sample_module, "MATERIALISE_BYTES", 1000)
        dataset, folder = Pictures(tmp_path, 120, 32), tmp_path / "inputs"
        samples, reads = [], [0]
        for _ in range(2):
            with pytest.warns(UserWarning, match="MB of inputs are kept in .*inputs"):
                samples.append(rra.FixedSample.from_dataset(dataset, n=100, collate_fn=as_batch, folder=folder))
            reads.append(dataset.counter.reads)
        first, again = samples
        assert (again.fingerprint, again.ids.tolist()) == (first.fingerprint, first.ids.tolist())
        assert again.labels.tolist() == first.labels.tolist()
        assert (reads[1], reads[2] - reads[1]) == (132, 64)
        assert len(list(folder.iterdir())) == 1

    def test_a_damaged_file_is_written_anew(self, dataset, tmp_path):
        with pytest.warns(UserWarning, match="temporary file"):
            sample = rra.FixedSample.from_dataset(dataset, n=100)
        path = sample.through(lambda batch: [batch[0] * 2, batch[1]], folder=tmp_path).path
        path.write_bytes(path.read_bytes()[:-1])
        again = sample.through(lambda batch: [batch[0] * 2, batch[1]], folder=tmp_path)
        assert torch.equal(again.read(range(100)), sample.read(range(100)) * 2)

    def test_a_temporary_file_is_gone_however_the_process_ends(self, tmp_path):
        code = (
            "import os, signal, torch, rra_monitor as rra; from rra_monitor.samples import sample as m;"
            "from torch.utils.data import TensorDataset; m.MATERIALISE_BYTES = 0;"
            "s = rra.FixedSample.from_dataset(TensorDataset(torch.rand(50, 9), torch.arange(50) % 2), n=20);"
            "print(s.read(range(20)).shape, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
        )
        done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"TMPDIR": str(tmp_path)},
                              capture_output=True, text=True)  # fmt: skip
        assert "torch.Size([20, 9])" in done.stdout, done.stderr
        assert list(tmp_path.iterdir()) == []

    def test_values_of_any_type_beside_the_inputs_stay_in_memory(self):
        class Boxes(Dataset):
            targets = tuple(index % 3 for index in range(60))

            def __len__(self):
                return 60

            def __getitem__(self, index):
                return torch.from_numpy(content(index)), index % 3, {"boxes": torch.zeros(index % 4, 4)}

        with pytest.warns(UserWarning, match="temporary file"):
            sample = rra.FixedSample.from_dataset(Boxes(), n=30)
        seen = []
        sample.through(lambda batch: seen.append(batch[2][0]["boxes"].shape) or batch)
        assert tuple(seen[0]) == (sample.ids[0] % 4, 4)

    def test_samples_without_a_label_make_room_in_the_file(self):
        class Few(Dataset):
            def __len__(self):
                return 600

            def __getitem__(self, index):
                return torch.from_numpy(content(index)), -1 if index % 5 < 3 else index % 5

        with pytest.warns(UserWarning, match="temporary file"):
            sample = rra.FixedSample.from_dataset(Few(), n=200, shrink=True)
        assert 100 < sample.n < 200
        assert set(sample.labels) == {3, 4}
        assert (sample.read(range(sample.n))[:, 0].numpy() == sample.ids).all()
        assert (sample.labels == sample.ids % 5).all()
