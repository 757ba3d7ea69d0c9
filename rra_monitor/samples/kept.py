"""Where the batches of a sample are kept: in memory, or in a file that is mapped."""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from rra_monitor.samples.sample_file import Facts, mapped
from rra_monitor.samples.sample_writer import SampleWriter
from rra_monitor.samples.stacked import Column, RaggedError, joined, leaves, map_leaves, tensor_bytes

TEMPORARY = "sample.safetensors"


def kept(
    batches: Iterable[tuple[int, Any]], n: int, limit: int, folder: Path | None = None, origin: str = ""
) -> tuple[Any, Path | None]:
    """Batches as one, in memory up to `limit` bytes, else in a mapped file; and that file if it stays.

    Args:
        batches: size of each batch and the batch; together n samples.
        n: number of samples.
        limit: most bytes in memory.
        folder: directory of the file; a temporary one, which is gone with the process, if None.
        origin: digest of what the batches are made from, which names the file.

    Raises:
        RaggedError: batches whose samples differ in shape or type.
    """
    iterator = iter(batches)
    size, first = next(iterator)
    if tensor_bytes(first) / size * n <= limit:
        return joined([first, *(batch for _, batch in iterator)]), None
    if folder is not None:
        path = file_of(folder, origin)
        return _written(path, n, size, first, iterator, origin), path
    # A file that is deleted while it is mapped takes no name and no space after the process, however that ends.
    with tempfile.TemporaryDirectory(prefix="rra-sample-", ignore_cleanup_errors=True) as temporary:
        return _written(Path(temporary, TEMPORARY), n, size, first, iterator, origin), None


def file_of(folder: Path, origin: str) -> Path:
    """The file of batches that are made from the given origin."""
    return folder / f"sample-{origin}.safetensors"


def found(folder: Path, origin: str, n: int) -> tuple[Any, Path] | None:
    """The batches that an earlier run kept in a folder, if it did."""
    path = file_of(folder, origin)
    try:
        there = mapped(path)
    except (OSError, ValueError):
        return None
    return (there.batch, path) if there.facts.origin == origin and there.facts.n == n else None


def _written(path: Path, n: int, size: int, first: Any, rest: Iterable[tuple[int, Any]], origin: str) -> Any:
    writer = SampleWriter(path, n, first, plain_columns=False)
    shapes = _shapes(first)
    try:
        writer.put(0, first)
        at = size
        for count, batch in rest:
            if _shapes(batch) != shapes:
                raise RaggedError(f"samples differ in shape or type: {shapes} and {_shapes(batch)}")
            writer.put(at, batch)
            at += count
        # A file with columns is not found again, since they stay in memory: they may be anything.
        origin = "" if writer.columns else origin
        facts = Facts(n=n, fingerprint="", entry=None, length=None, labelled=False, prepare=True, origin=origin)
        writer.finish(facts, np.arange(n), None)
    except BaseException:
        writer.abandon()
        raise
    columns = iter(writer.columns)
    return map_leaves(lambda leaf: next(columns) if isinstance(leaf, Column) else leaf, mapped(path).batch)


def _shapes(batch: Any) -> list[Any]:
    return [
        (str(leaf.dtype), tuple(leaf.shape[1:])) if hasattr(leaf, "dtype") else type(leaf).__name__
        for leaf in leaves(batch)
    ]
