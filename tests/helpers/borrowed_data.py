"""Data sets with state that a reader could change: files opened at the first item, generators, counters."""

import os
import random
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

N, WIDTH = 300, 64


def content(index):
    return np.full(WIDTH, index, np.float32)


def write_raw(path):
    path.write_bytes(b"".join(content(index).tobytes() for index in range(N)))


def write_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(N):
            archive.writestr(str(index), content(index).tobytes())


def write_h5(path):
    import h5py

    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.stack([content(index) for index in range(N)]), chunks=(1, WIDTH))


WRITERS = {"raw": write_raw, "zip": write_zip, "h5": write_h5}


class Counted(Dataset):
    """Items (x, i % 4, i) whose reads are counted over all processes, in the length of a file."""

    def __init__(self, folder, n=N):
        self.counter, self.n = Path(folder, "reads"), n
        self.counter.touch()
        self.targets = [index % 4 for index in range(n)]

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        self.note()
        return torch.from_numpy(content(index)), self.targets[index], index

    def note(self):
        file = os.open(self.counter, os.O_WRONLY | os.O_APPEND)
        os.write(file, b".")
        os.close(file)

    @property
    def reads(self):
        return self.counter.stat().st_size


class LazyFile(Dataset):
    """Opens its file at the first item, as is usual for workers; items (x, class, index, read by another process)."""

    def __init__(self, path, kind):
        self.path, self.kind, self.handle, self.process = str(path), kind, None, None
        self.targets = [index % 4 for index in range(N)]

    def __len__(self):
        return N

    def open(self):
        self.process = os.getpid()
        if self.kind == "raw":
            self.handle = open(self.path, "rb", buffering=0)  # noqa: SIM115
        elif self.kind == "zip":
            self.handle = zipfile.ZipFile(self.path)
        else:
            import h5py

            self.handle = h5py.File(self.path, "r")

    def read(self, index):
        if self.kind == "raw":
            self.handle.seek(index * WIDTH * 4)
            return self.handle.read(WIDTH * 4)
        return self.handle.read(str(index)) if self.kind == "zip" else self.handle["x"][index].tobytes()

    def __getitem__(self, index):
        if self.handle is None:
            self.open()
        data = torch.from_numpy(np.frombuffer(self.read(index), np.float32).copy())
        return data, self.targets[index], index, int(self.process != os.getpid())


class SpawnedAnew(LazyFile):
    """Cannot be pickled once its file is open."""

    def __getstate__(self):
        if self.handle is not None:
            raise TypeError("cannot pickle an open file")
        return self.__dict__


class Once(Dataset):
    """Images that a transform is applied to."""

    def __init__(self, transform, n=200):
        self.transform, self.targets = transform, [index % 5 for index in range(n)]

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        return self.transform(torch.full((4,), float(index))), self.targets[index]


class OwnNumpy:
    """A transform with a generator of its own, that hardly ever changes anything."""

    def __init__(self, p):
        self.rng, self.p = np.random.default_rng(7), p

    def __call__(self, x):
        return x + 1 if self.rng.random() < self.p else x


class OwnPython(OwnNumpy):
    def __init__(self, p):
        self.rng, self.p = random.Random(7), p


class OwnTorch(OwnNumpy):
    def __init__(self, p):
        self.generator, self.p = torch.Generator().manual_seed(7), p

    def __call__(self, x):
        return x + 1 if torch.rand((), generator=self.generator) < self.p else x


class GlobalPython(OwnNumpy):
    def __init__(self, p):
        self.p = p

    def __call__(self, x):
        return x + 1 if random.random() < self.p else x


class GlobalNumpy(GlobalPython):
    def __call__(self, x):
        return x + 1 if np.random.rand() < self.p else x


class GlobalTorch(GlobalPython):
    def __call__(self, x):
        return x + 1 if torch.rand(()) < self.p else x


def in_a_closure(p):
    """A function that holds its generator in a closure."""
    rng = np.random.default_rng(7)
    return lambda x: x + 1 if rng.random() < p else x
