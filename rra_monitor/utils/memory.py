"""Total and free memory of a device, or of the container that a process runs in."""

import os
from collections.abc import Iterator
from pathlib import Path

import torch

ROOT = Path("/sys/fs/cgroup")


def total_memory(device: torch.device) -> int:
    """Bytes of a CUDA device; else those of the host, or the limit of the container where that is lower."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return min([_physical(), *(limit for limit, _ in _limits())])


def free_memory(device: torch.device) -> int:
    """Bytes that are free now, with those that torch holds for later use on a CUDA device."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    return min([_available(), *(limit - used for limit, used in _limits())])


def _physical() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        return 16 << 30


def _available() -> int:
    """Bytes that processes can have, caches of files included."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):  # not Linux: nothing is known
        return _physical()


def _limits() -> Iterator[tuple[int, int]]:
    """Limit and use of each control group that the process is in, without caches of files that can go."""
    for folder in _groups():
        for limit, used, inactive in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            try:
                most = int((folder / limit).read_text())  # "max" where there is none
                stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                yield most, int((folder / used).read_text()) - int(stat.get(inactive, 0))
            except (OSError, ValueError):
                continue


def _groups() -> Iterator[Path]:
    """Folders of the process's control groups, and of those around them; a container sees its own as the root."""
    yield from (ROOT, ROOT / "memory")
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            own = ROOT / controllers / path.lstrip("/")
            yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(ROOT))
