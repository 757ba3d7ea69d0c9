"""A sample on disk: safetensors, with the structure of its batches as JSON in the metadata; mapped, not loaded.

Layout: a header of a reserved length, the tensors one after the other, then ids, labels and the columns as JSON.
"""

import json
import math
import os
import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rra_monitor.capture.stacked import Column, leaves

SCHEMA = 1
METADATA, OURS = "__metadata__", "rra_monitor"
RESERVED = 64 << 10
"""Bytes before the tensors: the header, which is written last, and spaces."""

AXES = 16
DEPTH = 16
"""How deeply the structure of a batch may be nested in a file."""

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Facts:
    """What a sample knows besides its batches.

    Attributes:
        n: number of samples.
        fingerprint: hash of the inputs.
        entry: where the label stands, see `Place`.
        length: see `Place`.
        labelled: whether there are labels.
        prepare: see `FixedSample`.
        origin: digest of what the batches were made from, by which a file is found again.
    """

    n: int
    fingerprint: str
    entry: str | int | None
    length: int | None
    labelled: bool
    prepare: bool
    origin: str = ""


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


@dataclass(frozen=True)
class Mapped:
    """The contents of a file: `batch` is a view of the file, which is read when it is used."""

    batch: Any
    ids: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64] | None
    facts: Facts


def mapped(path: str | os.PathLike[str]) -> Mapped:
    """The sample in a file, checked but for its numbers. The file may come from anybody.

    Raises:
        OSError: no such file.
        ValueError: a file that is truncated, foreign or of a later version, named.
    """
    try:
        return _mapped(Path(path))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError, OverflowError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ValueError(
            f"{os.fspath(path)} is no complete sample of rra-monitor ({reason}). Save it again with "
            "FixedSample.save(path)."
        ) from error


def _mapped(path: Path) -> Mapped:
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= RESERVED or 8 + length > size:
            raise ValueError(f"its header would have {length:,} bytes")
        header = json.loads(file.read(length))
    about = json.loads(header.pop(METADATA)[OURS])
    if type(about["schema"]) is not int or about["schema"] > SCHEMA:
        raise ValueError(f"it has schema {about['schema']!r:.40}, this version reads up to {SCHEMA}")
    facts = _facts(about)
    whole = np.memmap(path, np.uint8, mode="c")  # what is written to its tensors stays in this process
    arrays = _tensors(header, whole, 8 + length)
    columns = {name: _column(arrays[name], facts.n) for name in arrays if name.startswith("column.")}
    batch = _batch(about["tree"], arrays, columns, facts.n, 0)
    ids = _whole_numbers(arrays["ids"], facts.n, "ids")
    if len(np.unique(ids)) != facts.n:
        raise ValueError("its ids are not all different")
    labels = _whole_numbers(arrays["labels"], facts.n, "labels") if facts.labelled else None
    return Mapped(batch, ids, labels, facts)


def _facts(about: Mapping[str, Any]) -> Facts:
    facts = Facts(**{name: about[name] for name in Facts.__dataclass_fields__})
    entry = facts.entry is None or type(facts.entry) in (str, int)
    length = facts.length is None or type(facts.length) is int
    flags = type(facts.labelled) is bool and type(facts.prepare) is bool
    texts = isinstance(facts.fingerprint, str) and isinstance(facts.origin, str)
    if type(facts.n) is not int or not 3 <= facts.n < 1 << 31 or not (entry and length and flags and texts):
        raise ValueError(f"its facts are {reprlib.repr(asdict(facts))}")
    return facts


def _tensors(header: Mapping[str, Any], whole: npt.NDArray[np.uint8], body: int) -> dict[str, torch.Tensor]:
    """Name of each array to its tensor; they must fill the file exactly."""
    found: dict[str, torch.Tensor] = {}
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        if entry["dtype"] not in DTYPES:
            raise ValueError(f"array {name!r:.40} is of type {reprlib.repr(entry['dtype'])}")
        shape, (first, last), dtype = entry["shape"], entry["data_offsets"], DTYPES[entry["dtype"]]
        counts = [*shape, first, last]
        if len(shape) > AXES or not all(type(count) is int and 0 <= count < 1 << 48 for count in counts):
            raise ValueError(f"array {name!r:.40} has shape {reprlib.repr(shape)}")
        if first != end or last - first != math.prod(shape) * dtype.itemsize or body + last > len(whole):
            raise ValueError(f"array {name!r:.40} of shape {reprlib.repr(shape)} does not fill its bytes")
        end = last
        part = whole[body + first : body + last]
        if first % dtype.itemsize or (body % dtype.itemsize):
            part = part.copy()
        flat = torch.from_numpy(part) if len(part) else torch.empty(0, dtype=torch.uint8)
        found[name] = flat.view(dtype).reshape(shape) if len(part) else torch.empty(shape, dtype=dtype)
    if body + end != len(whole):
        raise ValueError(f"its arrays end at byte {body + end:,} of {len(whole):,}")
    return found


def _column(data: torch.Tensor, n: int) -> Column:
    values = json.loads(data.numpy().tobytes())
    if not isinstance(values, list) or len(values) != n:
        raise ValueError(f"a list is not of {n} values")
    return Column(values)


def _batch(
    node: Mapping[str, Any], arrays: dict[str, torch.Tensor], columns: dict[str, Column], n: int, depth: int
) -> Any:
    if depth > DEPTH:
        raise ValueError("its batches are nested without end")
    (kind, value), *more = node.items()
    if more:
        raise ValueError(f"a part of its batches is {reprlib.repr(dict(node))}")
    if kind == "tensor":
        tensor = arrays[value]
        if tensor.ndim and len(tensor) != n:
            raise ValueError(f"array {value!r:.40} has {len(tensor)} entries, expected {n}")
        return tensor
    if kind == "column":
        return columns[f"column.{int(value)}"]
    if kind == "dict":
        return {key: _batch(inner, arrays, columns, n, depth + 1) for key, inner in value}
    if kind in ("tuple", "list"):
        parts = [_batch(inner, arrays, columns, n, depth + 1) for inner in value]
        return tuple(parts) if kind == "tuple" else parts
    if kind == "constant" and isinstance(value, (str, int, float, bool, type(None))):
        return value
    raise ValueError(f"a part of its batches is {reprlib.repr(dict(node))}")


def _whole_numbers(tensor: torch.Tensor, n: int, name: str) -> npt.NDArray[np.int64]:
    if tensor.dtype != torch.int64 or tensor.shape != (n,):
        raise ValueError(f"its {name} are {tensor.dtype} of shape {tuple(tensor.shape)}, expected int64 of ({n},)")
    return tensor.numpy().copy()
