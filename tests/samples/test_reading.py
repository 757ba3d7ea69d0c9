import io
import multiprocessing
import os
import pickle
import random
import signal
import time
import warnings

import numpy as np
import pytest
import torch
from rich.console import Console
from rich.progress import Progress
from torch.utils.data import DataLoader, Dataset, get_worker_info

import rra_monitor as rra
from rra_monitor.samples import reading
from rra_monitor.samples.reading import Reader
from tests.helpers.borrowed_data import (
    WRITERS,
    Counted,
    LazyFile,
    N,
    Once,
    OwnNumpy,
    OwnPython,
    OwnTorch,
    SpawnedAnew,
    content,
)


@pytest.fixture(params=["raw", "zip", "h5"])
def lazy(request, tmp_path):
    """A data set that opens its file at the first item."""
    if request.param == "h5":
        pytest.importorskip("h5py")
    path = tmp_path / f"data.{request.param}"
    WRITERS[request.param](path)
    return LazyFile(path, request.param)


def epoch(dataset, **options):
    """Items that were read wrongly, and those read through the handle of another process."""
    wrong = inherited = 0
    for x, _, index, other in DataLoader(dataset, 32, num_workers=2, **options):
        wrong += int((x != index[:, None].float()).any(1).sum())
        inherited += int(other.sum())
    return wrong, inherited


class TestABorrowedDataSet:
    def test_a_file_that_opens_at_the_first_item_stays_closed(self, lazy):
        sample = rra.FixedSample.from_dataset(lazy, n=40)
        assert (sample.read(range(40))[:, 0].numpy() == sample.ids).all()
        assert lazy.handle is None
        assert epoch(lazy, multiprocessing_context="fork") == (0, 0)

    def test_it_can_be_pickled_for_workers_that_are_spawned(self, tmp_path):
        WRITERS["zip"](tmp_path / "data.zip")
        dataset = SpawnedAnew(tmp_path / "data.zip", "zip")
        rra.FixedSample.from_dataset(dataset, n=40)
        assert pickle.loads(pickle.dumps(dataset))[3][2] == 3

    @pytest.mark.slow
    def test_a_loaders_context_starts_the_worker(self, tmp_path):
        WRITERS["zip"](tmp_path / "data.zip")
        dataset = SpawnedAnew(tmp_path / "data.zip", "zip")
        sample = rra.FixedSample.from_dataset(dataset, n=40, multiprocessing_context="spawn")
        assert (sample.read(range(40))[:, 0].numpy() == sample.ids).all()
        assert epoch(dataset, multiprocessing_context="spawn") == (0, 0)

    @pytest.mark.parametrize("kind", ["raw", "zip"])
    def test_a_file_that_is_open_already_keeps_its_place(self, kind, tmp_path, monkeypatch):
        monkeypatch.setattr(reading, "LONG_SECONDS", 0.0)  # two workers
        WRITERS[kind](tmp_path / "data")
        dataset = LazyFile(tmp_path / "data", kind)
        dataset[7]
        file = dataset.handle.fileno() if kind == "raw" else dataset.handle.fp.fileno()
        before = os.lseek(file, 0, os.SEEK_CUR)
        sample = rra.FixedSample.from_dataset(dataset, n=200)
        assert os.lseek(file, 0, os.SEEK_CUR) == before
        assert (sample.read(range(200))[:, 0].numpy() == sample.ids).all()

    @pytest.mark.parametrize("make", [OwnNumpy, OwnPython, OwnTorch])
    def test_its_generator_is_where_it_was(self, make):
        first, second = make(0.5), make(0.5)
        with pytest.raises(ValueError, match="random transform"):
            rra.FixedSample.from_dataset(Once(first), n=50)
        draws = [[float(transform(torch.zeros(()))) for _ in range(40)] for transform in (first, second)]
        assert draws[0] == draws[1]

    def test_what_its_items_leave_behind_is_not_there(self):
        class Caching(Dataset):
            cache = dict()  # noqa: C408, RUF012

            def __len__(self):
                return 60

            def __getitem__(self, index):
                self.cache[index] = True
                return torch.full((3,), float(index)), index % 3

        rra.FixedSample.from_dataset(Caching(), n=30, shrink=True)
        assert Caching.cache == {}

    def test_a_property_that_opens_a_file_is_read_elsewhere(self, tmp_path):
        class Opening(Counted):
            opened = None

            @property
            def labels(self):
                self.opened = open(self.counter)  # noqa: SIM115
                return [index % 4 for index in range(self.n)]

        dataset = Opening(tmp_path)
        del dataset.targets
        dataset.__class__.__getitem__ = lambda self, index: (torch.from_numpy(content(index)), index % 4)
        sample = rra.FixedSample.from_dataset(dataset, n=40)
        assert np.bincount(sample.labels).tolist() == [10] * 4
        assert dataset.opened is None

    def test_no_global_random_number_is_used_and_no_handler_set(self, tmp_path):
        before = random.getstate(), torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()
        handlers = [signal.getsignal(one) for one in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM)]
        rra.FixedSample.from_dataset(Counted(tmp_path), n=40)
        assert (random.getstate(), torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()) == before
        assert [signal.getsignal(one) for one in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM)] == handlers
        assert not multiprocessing.active_children()


class TestReads:
    def test_each_item_is_read_once_and_the_first_twice(self, tmp_path):
        dataset = Counted(tmp_path)
        rra.FixedSample.from_dataset(dataset, n=200)
        assert dataset.reads <= 200 + 32

    def test_two_workers_give_the_items_in_order(self, tmp_path, monkeypatch):
        monkeypatch.setattr(reading, "LONG_SECONDS", 0.0)
        order = np.random.default_rng(0).permutation(N)
        with Reader(Counted(tmp_path)) as reader:
            list(reader.read(order[:3]))
            found = [one.item[2] for one in reader.read(order)]
            assert len(reader._workers) == 2
        assert found == order.tolist()

    @pytest.mark.parametrize(("seconds", "shown"), [(0.0, True), (1000.0, False)])
    def test_a_long_read_has_a_progress_bar(self, seconds, shown, tmp_path, monkeypatch):
        stream = io.StringIO()
        console = Console(file=stream, force_terminal=True)
        monkeypatch.setattr(reading, "passing_progress", lambda: Progress(console=console, transient=True))
        monkeypatch.setattr(reading, "LONG_SECONDS", seconds)
        rra.FixedSample.from_dataset(Counted(tmp_path), n=40)
        assert ("reading the sample" in stream.getvalue()) == shown

    def test_a_loaders_function_starts_the_worker(self, tmp_path):
        class Started(Counted):
            ready = False

            def __getitem__(self, index):
                assert self.ready
                return super().__getitem__(index)

        def start(worker):
            get_worker_info().dataset.ready = worker == 0

        dataset = Started(tmp_path)
        assert rra.FixedSample.from_dataset(dataset, n=40, worker_init_fn=start).n == 40
        assert not dataset.ready

    def test_views_of_a_large_tensor_are_sent_alone(self):
        big = torch.zeros(1 << 22)

        class Views(Dataset):
            def __len__(self):
                return 20

            def __getitem__(self, index):
                return big[index : index + 2].bfloat16(), big[:0], index % 2

        with Reader(Views()) as reader:
            found = list(reader.read(np.arange(5)))
            assert reader._bytes < 10_000
        assert found[0].item[0].dtype == torch.bfloat16
        assert found[0].item[1].shape == (0,)


def no_cuda():
    raise RuntimeError("Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, …")


class Hanging(Counted):
    def __getitem__(self, index):
        if self.caller != os.getpid():
            self.misbehave()
        return super().__getitem__(index)


class TestWhereNoWorkerCanRead:
    @pytest.mark.parametrize(
        ("misbehave", "words"),
        [
            (lambda: os._exit(3), "it ended with code 3"),
            (lambda: os.kill(os.getpid(), signal.SIGKILL), "it ended with code -9"),
            (lambda: time.sleep(60), "it has not answered for 0.3 s"),
            (lambda: no_cuda(), "Cannot re-initialize CUDA in forked subprocess"),
        ],
    )
    def test_items_are_read_here_with_a_remark(self, misbehave, words, tmp_path, monkeypatch):
        monkeypatch.setattr(reading, "TIMEOUT", 0.3)
        dataset = Hanging(tmp_path)
        dataset.caller, dataset.misbehave = os.getpid(), misbehave
        with pytest.warns(UserWarning, match=f"Hanging is read in this process, .*{words}"):
            sample = rra.FixedSample.from_dataset(dataset, n=40)
        assert (sample.read(range(40))[:, 0].numpy() == sample.ids).all()
        assert not multiprocessing.active_children()

    def test_what_cannot_be_pickled_is_read_here(self, tmp_path):
        dataset = Counted(tmp_path)
        dataset.function = lambda: None
        with pytest.warns(UserWarning, match="it does not start"):
            assert rra.FixedSample.from_dataset(dataset, n=40, multiprocessing_context="spawn").n == 40

    def test_a_generator_is_restored_there_too(self, monkeypatch):
        monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])
        first, second = OwnNumpy(0.5), OwnNumpy(0.5)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(ValueError, match="random transform"):
                rra.FixedSample.from_dataset(Once(first), n=50)
        assert first.rng.random() == second.rng.random()

    def test_tensors_on_an_accelerator_are_read_here(self):
        class Held(Dataset):
            data = None

            def __init__(self):
                self.data = torch.zeros(3, device="meta")

            def __len__(self):
                return 30

            def __getitem__(self, index):
                return torch.full((2,), float(index) + os.getpid()), index % 3

        sample = rra.FixedSample.from_dataset(Held(), n=12, shrink=True)
        assert sorted(sample.read(range(12))[:, 0] - os.getpid()) == sorted(sample.ids)

    def test_an_error_of_the_data_set_comes_as_it_is(self, tmp_path):
        class MissingFileError(OSError):
            pass

        class Failing(Counted):
            def __getitem__(self, index):
                raise FileNotFoundError(2, "no such image", f"{index}.jpg")

        with pytest.raises(FileNotFoundError, match=r"no such image: '\d+.jpg'") as caught:
            rra.FixedSample.from_dataset(Failing(tmp_path), n=40)
        assert "in __getitem__" in caught.value.__notes__[0]
