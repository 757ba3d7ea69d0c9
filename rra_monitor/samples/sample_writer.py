"""Writing a sample to a file, part by part: see `sample_file` for its layout."""

import json
import math
import os
import reprlib
from collections.abc import Mapping
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rra_monitor.samples.sample_file import DTYPES, METADATA, OURS, RESERVED, SCHEMA, Facts
from rra_monitor.samples.stacked import Column, cuts, leaves, take

NAMES = {dtype: name for name, dtype in DTYPES.items()}
WRITTEN_AT_ONCE = 128


class SampleWriter:
    """Writes batches to a file of known length, part by part.

    Args:
        path: the file; it appears under this name when it is complete.
        n: number of samples.
        batch: the first of them, for types and shapes.
        plain_columns: whether columns are saved, which must be of texts and numbers then.

    Raises:
        TypeError: tensors of a type that has no name in the format.
    """

    def __init__(self, path: Path, n: int, batch: Any, plain_columns: bool = True) -> None:
        self._plain_columns = plain_columns
        self._path, self._n = path, n
        self._unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        self._header: dict[str, Any] = {}
        self.columns: list[Column] = []
        self._end = 0
        self.tree = self._node(batch)
        # The widest types first, so that each tensor is aligned.
        self._end = 0
        for name in sorted(self._header, key=lambda name: -DTYPES[self._header[name]["dtype"]].itemsize):
            entry = self._header[name]
            self._header[name] = self._entry(entry["dtype"], entry["shape"])
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self._unfinished, "w+b")  # noqa: SIM115 - closed by finish() or abandon()
        self._file.truncate(RESERVED + self._end)

    def _node(self, part: Any) -> dict[str, Any]:
        """The structure of a part of a batch; its tensors get their places in the file."""
        if isinstance(part, torch.Tensor):
            if part.dtype not in NAMES:
                raise TypeError(
                    f"tensors of type {part.dtype} cannot be saved; convert the inputs first, as by torch.view_as_real"
                )
            shape = [self._n, *part.shape[1:]] if part.ndim else []
            return {"tensor": self._placed(f"tensor.{len(self._header)}", NAMES[part.dtype], shape)}
        if isinstance(part, Column):
            self.columns.append(Column([None] * self._n))
            return {"column": len(self.columns) - 1}
        if isinstance(part, Mapping):
            if not all(isinstance(key, (str, int)) for key in part):
                raise TypeError(f"a batch with the keys {reprlib.repr(list(part))} cannot be saved; use names")
            return {"dict": [[key, self._node(value)] for key, value in part.items()]}
        if isinstance(part, (list, tuple)):
            return {"tuple" if isinstance(part, tuple) else "list": [self._node(value) for value in part]}
        if isinstance(part, bytes):
            raise TypeError("a batch that holds bytes cannot be saved; use a tensor or a text")
        return {"constant": part}

    def _placed(self, name: str, dtype: str, shape: list[int]) -> str:
        self._header[name] = self._entry(dtype, shape)
        return name

    def _entry(self, dtype: str, shape: list[int]) -> dict[str, Any]:
        """The entry of the header for the next array."""
        begin = self._end
        self._end += math.prod(shape) * DTYPES[dtype].itemsize
        return {"dtype": dtype, "shape": shape, "data_offsets": [begin, self._end]}

    def put(self, start: int, batch: Any) -> None:
        """Write the samples from position `start` on."""
        numbers = iter(range(len(self.columns)))
        names = iter(list(self._header))
        for leaf in leaves(batch):
            if isinstance(leaf, Column):
                self.columns[next(numbers)][start : start + len(leaf)] = leaf
            elif isinstance(leaf, torch.Tensor):
                entry = self._header[next(names)]
                row = math.prod(entry["shape"][1:]) * leaf.element_size() if entry["shape"] else 0
                self._file.seek(RESERVED + entry["data_offsets"][0] + start * row)
                flat = leaf.detach().cpu().contiguous().reshape(-1)
                if flat.numel():
                    self._file.write(flat.view(torch.uint8).numpy().data)

    def finish(self, facts: Facts, ids: npt.NDArray[np.int64], labels: npt.NDArray[np.int64] | None) -> None:
        """Write the rest and the header, and give the file its name.

        Raises:
            TypeError: a column that is not of texts and numbers.
        """
        arrays = {"ids": ids} | ({} if labels is None else {"labels": labels})
        for name, array in arrays.items():
            self._append(name, "I64", np.ascontiguousarray(array, "<i8").tobytes(), 8)
        for number, column in enumerate(self.columns):
            if not self._plain_columns:
                column = Column([None] * self._n)
            try:
                text = json.dumps(column)
            except TypeError as error:
                raise TypeError(
                    f"a list of {type(column[0]).__name__} cannot be saved; use tensors or texts"
                ) from error
            self._append(f"column.{number}", "U8", text.encode(), 1)
        about = {"schema": SCHEMA, "tree": self.tree} | asdict(facts)
        text = json.dumps(self._header | {METADATA: {OURS: json.dumps(about)}})
        if len(text) > RESERVED - 8:
            raise TypeError(f"the structure of the batches takes {len(text):,} bytes, more than {RESERVED - 8:,}")
        self._file.seek(0)
        self._file.write((RESERVED - 8).to_bytes(8, "little") + text.encode().ljust(RESERVED - 8))
        self._file.close()
        os.replace(self._unfinished, self._path)

    def abandon(self) -> None:
        """Remove what was written."""
        self._file.close()
        self._unfinished.unlink(missing_ok=True)

    def _append(self, name: str, dtype: str, data: bytes, size: int) -> None:
        self._placed(name, dtype, [len(data) // size])
        self._file.seek(0, os.SEEK_END)
        self._file.write(data)


def write_sample(
    path: Path, batch: Any, facts: Facts, ids: npt.NDArray[np.int64], labels: npt.NDArray[np.int64] | None
) -> None:
    """Write a whole sample, see `SampleWriter`."""
    writer = SampleWriter(path, facts.n, take(batch, range(1)))
    try:
        for start, stop in pairwise(cuts(facts.n, WRITTEN_AT_ONCE)):
            writer.put(start, take(batch, range(start, stop)))
        writer.finish(facts, ids, labels)
    except BaseException:
        writer.abandon()
        raise
