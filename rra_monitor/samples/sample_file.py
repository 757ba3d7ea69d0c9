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

from rra_monitor.samples.stacked import Column

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
