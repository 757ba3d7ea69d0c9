import os

import numpy as np
import pytest

from rra_monitor.samples import serving
from rra_monitor.samples.offsets import offsets_kept, restore_offsets
from rra_monitor.samples.reading import Reader
from tests.helpers.borrowed_data import LazyFile, write_raw


@pytest.fixture
def opened(tmp_path):
    """A data set whose file is open in this process."""
    write_raw(tmp_path / "data")
    dataset = LazyFile(tmp_path / "data", "raw")
    dataset[7]
    return dataset


def test_a_worker_moves_offsets_of_its_own(opened):
    descriptor = opened.handle.fileno()
    before = os.lseek(descriptor, 0, os.SEEK_CUR)
    with Reader(opened) as reader:
        for one in reader.read(np.arange(20, 40)):
            assert os.lseek(descriptor, 0, os.SEEK_CUR) == before
            assert int(one.item[0][0]) == one.item[2]


def test_they_are_restored_where_it_cannot_have_its_own(opened, monkeypatch):
    monkeypatch.setattr(serving, "own_offsets", lambda: None)
    before = os.lseek(opened.handle.fileno(), 0, os.SEEK_CUR)
    with Reader(opened) as reader:
        list(reader.read(np.arange(20, 40)))
    assert os.lseek(opened.handle.fileno(), 0, os.SEEK_CUR) == before


def test_offsets_of_files_that_are_read_are_restored_and_others_left_alone(opened, tmp_path):
    with open(tmp_path / "log", "wb", buffering=0) as log:
        kept = offsets_kept()
        before = os.lseek(opened.handle.fileno(), 0, os.SEEK_CUR)
        opened[20]
        log.write(b"a line that must not be overwritten")
        restore_offsets(kept)
        assert os.lseek(opened.handle.fileno(), 0, os.SEEK_CUR) == before
        assert os.lseek(log.fileno(), 0, os.SEEK_CUR) == 35


def test_a_file_that_was_closed_since_is_passed_over(opened):
    kept = offsets_kept()
    number = opened.handle.fileno()
    opened.handle.close()
    restore_offsets(kept)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
