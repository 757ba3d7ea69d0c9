"""The bytes of a run's files: safetensors, with facts about the arrays as JSON in the metadata.

The header is read here and not by the library, which drops the metadata and copies every array. The sizes in it are
compared with the size of the file before any array is allocated.
"""

import json
import math
import reprlib
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

SCHEMA = 1
"""Version of the files' contents; a reader refuses files of a later one."""

Arrays = dict[str, npt.NDArray[Any]]

HEADER_BYTES = 8 << 20
"""Largest header. Python's objects take up to 25 times the bytes of their JSON; 20,000 layers need 6 MB."""

KINDS = ("curves", "graphs", "sample")
LENGTH_BYTES = 8
METADATA, OURS = "__metadata__", "rra_monitor"
AXES = 8

DTYPES: Mapping[str, npt.DTypeLike] = {
    "F64": "<f8",
    "F32": "<f4",
    "I64": "<i8",
    "I32": "<i4",
    "U8": "u1",
    "U16": "<u2",
    "U32": "<u4",
}


def encoded(arrays: Arrays, about: dict[str, Any], kind: str) -> bytes:
    """The file of some arrays and the facts about them, with a checksum of both."""
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    whole = {"schema": SCHEMA, "kind": kind} | about
    text = json.dumps(whole | {"checksum": _checksum(arrays, whole)})
    return bytes(save(arrays, metadata={OURS: text}))


def decoded(data: bytes, kind: str, path: str) -> tuple[Arrays, dict[str, Any]]:
    """The arrays of a file, as read-only views of its bytes, and the facts about them.

    Raises:
        ValueError: a file that is truncated or foreign, of a later version, of another kind, or changed since it was
            written; `path` is named.
    """
    try:
        header, body = _header(data)
        about = _json(header[METADATA][OURS])
        schema, stored = about["schema"], about["kind"]
        if type(schema) is not int or schema < 1:
            raise ValueError(f"its schema is {reprlib.repr(schema)}")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(_incomplete(path, kind, error)) from error
    if schema > SCHEMA:
        raise ValueError(f"{path} has schema {schema}, this version reads up to {SCHEMA}; update rra-monitor")
    if stored != kind:
        raise ValueError(
            f"{path} holds {stored if stored in KINDS else reprlib.repr(stored)}, expected {kind}; it was renamed"
        )
    try:
        arrays = _arrays(data, header, body)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(_incomplete(path, kind, error)) from error
    # Earlier versions wrote no checksum.
    if "checksum" in about and about.pop("checksum") != _checksum(arrays, about):
        raise ValueError(f"{path} was changed after it was written: its checksum differs. {_remedy(kind)}")
    return arrays, about


def _header(data: bytes) -> tuple[dict[str, Any], int]:
    """The header of a file, and the position at which its arrays begin."""
    length = int.from_bytes(data[:LENGTH_BYTES], "little")
    body = LENGTH_BYTES + length
    if len(data) < LENGTH_BYTES or body > len(data):
        raise ValueError(f"its header would end at byte {body:,} of {len(data):,}")
    if length > HEADER_BYTES:
        raise ValueError(f"its header has {length:,} bytes, more than the {HEADER_BYTES:,} that are read")
    return _json(data[LENGTH_BYTES:body]), body


def _json(text: str | bytes) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except RecursionError:
        raise ValueError("its header is nested without end") from None
    if not isinstance(values, dict):
        raise ValueError(f"its header has {type(values).__name__} where names and values are expected")
    return values


def _arrays(data: bytes, header: dict[str, Any], body: int) -> Arrays:
    """The arrays named in a header; they must fill the rest of the file exactly."""
    arrays: Arrays = {}
    end = 0
    for name, entry in sorted(_entries(header).items(), key=lambda item: item[1]["data_offsets"]):
        dtype, shape, (first, last) = np.dtype(DTYPES[entry["dtype"]]), entry["shape"], entry["data_offsets"]
        count = math.prod(shape)
        if first != end or last - first != count * dtype.itemsize or body + last > len(data):
            raise ValueError(
                f"array {name!r:.40} of shape {reprlib.repr(shape)} does not fill its bytes {first} to {last}"
            )
        end = last
        flat = np.frombuffer(data, dtype, count, body + first) if count else np.empty(0, dtype)
        # Compiled code is built for aligned arrays.
        arrays[name] = (flat if flat.flags.aligned else flat.copy()).reshape(shape)
    if body + end != len(data):
        raise ValueError(f"its arrays end at byte {body + end:,} of {len(data):,}")
    return arrays


def _entries(header: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Name of each array to its entry, of the right types."""
    entries = {name: entry for name, entry in header.items() if name != METADATA}
    for name, entry in entries.items():
        shape, ends = entry["shape"], entry["data_offsets"]
        counts = [*shape, *ends]
        whole = all(type(count) is int and 0 <= count < 1 << 62 for count in counts)
        if not (isinstance(shape, list) and isinstance(ends, list) and len(ends) == 2 and len(shape) <= AXES and whole):
            raise ValueError(f"array {name!r:.40} has shape {reprlib.repr(shape)} at {reprlib.repr(ends)}")
        if entry["dtype"] not in DTYPES:
            raise ValueError(f"array {name!r:.40} is of type {reprlib.repr(entry['dtype'])}")
    return entries


def _checksum(arrays: Arrays, about: dict[str, Any]) -> int:
    """A checksum against damage, not malice: whoever changes a file on purpose can change this, too."""
    checksum = zlib.crc32(json.dumps(about).encode())
    for name in sorted(arrays):
        array = arrays[name]
        checksum = zlib.crc32(f"{name}{array.dtype.str}{array.shape}".encode(), checksum)
        checksum = zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, checksum)
    return checksum


def _incomplete(path: str, kind: str, error: Exception) -> str:
    reason = f"{error} is missing" if isinstance(error, KeyError) else error
    return (
        f"{path} is no complete file of rra-monitor ({reason}); it was cut off, or another program wrote it. "
        f"{_remedy(kind)}"
    )


def _remedy(kind: str) -> str:
    if kind == "sample":
        return "Copy it from another run with the same samples; snapshots of other samples stay readable."
    without = "this snapshot" if kind == "curves" else "the graphs of this snapshot"
    return f"Delete it to go on without {without}; the others stay readable."
