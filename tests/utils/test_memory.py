"""Total and free memory of the machine and of the container."""

import pytest
import torch

from rra_monitor.utils import memory

CPU = torch.device("cpu")
V2 = ("memory.max", "memory.current", "inactive_file")
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def group(folder, names, limit):
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in zip(names, (limit, 300 << 20, "total_rss 5\n" + names[2] + f" {100 << 20}\n"), strict=True):
        (folder / (name if "file" not in name else "memory.stat")).write_text(f"{value}")


@pytest.mark.parametrize(("names", "inner"), [(V2, ""), (V1, "memory")])
def test_the_limit_of_a_container_counts(tmp_path, monkeypatch, names, inner):
    monkeypatch.setattr(memory, "ROOT", tmp_path)
    host = memory.total_memory(CPU)
    assert host > 1 << 28
    group(tmp_path / inner, names, 500 << 20)
    assert memory.total_memory(CPU) == 500 << 20
    assert memory.free_memory(CPU) == (500 - 300 + 100) << 20
    group(tmp_path / inner, names, 1 << 62)  # none
    assert memory.total_memory(CPU) == host
    group(tmp_path / inner, names, "max")
    assert memory.total_memory(CPU) == host


def test_no_more_is_free_than_there_is():
    assert 0 < memory.free_memory(CPU) <= memory.total_memory(CPU)
