import time

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from rra_monitor.utils.paths import directories_matching


@pytest.fixture
def bucket():
    """Runs of two recipes at two depths, and a file beside them."""
    filesystem = MemoryFileSystem()
    for place in ("a0/rra/x", "a1/rra/x", "b[0]/rra/x", "deep/down/a2/x", "a-file"):
        filesystem.pipe(f"/bucket/{place}", b"")
    yield filesystem
    filesystem.rm("/bucket", recursive=True)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("/bucket/a*", ["/bucket/a0", "/bucket/a1"]),
        ("/bucket/a?/rra", ["/bucket/a0/rra", "/bucket/a1/rra"]),
        ("/bucket/[!ab]*/down/a2", ["/bucket/deep/down/a2"]),
        ("/bucket/**/a*", ["/bucket/a0", "/bucket/a1", "/bucket/deep/down/a2"]),
        ("/bucket/a1", ["/bucket/a1"]),
        ("/bucket/a-f*", []),
        ("/bucket/none/*", []),
    ],
)
def test_directories_matching_a_pattern_are_those_of_fsspec(pattern, found, bucket):
    assert sorted(directories_matching(bucket, pattern)) == found
    assert [one for one in sorted(bucket.glob(pattern)) if bucket.isdir(one)] == found


def test_directories_matching_takes_linear_time_whatever_the_names(bucket):
    bucket.pipe(f"/bucket/{'a' * 250}/x", b"")
    started = time.monotonic()
    assert directories_matching(bucket, f"/bucket/{'*a' * 20}*b") == []
    assert time.monotonic() - started < 20  # a busy machine; fsspec's own would take years
