"""A payload in few bytes: its arrays separate from its JSON, as differences between frames, byte by byte.

The container is the length of the JSON (4 bytes, little-endian), the JSON, and the arrays, together compressed with
gzip. In the JSON an array's `data` is replaced by `at` and `length` in bytes from the end of the JSON, and by how it
was stored: if `symmetric`, only the lower triangle of each matrix is kept, row by row. Then the differences of each
frame to the one before are taken in whole numbers modulo 2^16 or 2^32 (floats by their bits), and the first bytes
of all numbers are stored, then the second bytes, and so on. Nothing is rounded.
"""

import base64
import gzip
import json
from typing import Any

import numpy as np
import numpy.typing as npt

WHOLE = {"u2": "<u2", "f4": "<u4"}
"""Type of an array to the integer type of the same width."""


def packed_payload(payload: dict[str, Any]) -> bytes:
    """The container of a payload, compressed."""
    blobs: list[bytes] = []
    header = json.dumps(_apart(payload, blobs, [0]), separators=(",", ":"), allow_nan=False).encode()
    return gzip.compress(b"".join([len(header).to_bytes(4, "little"), header, *blobs]), 9, mtime=0)


def _apart(value: Any, blobs: list[bytes], end: list[int]) -> Any:
    if isinstance(value, dict):
        if value.keys() >= {"shape", "type", "data"}:
            symmetric, blob = _encoded(value)
            start, end[0] = end[0], end[0] + len(blob)
            blobs.append(blob)
            about = {name: part for name, part in value.items() if name != "data"}
            return about | {"at": start, "length": len(blob), "symmetric": symmetric}
        return {name: _apart(part, blobs, end) for name, part in value.items()}
    return [_apart(part, blobs, end) for part in value] if isinstance(value, list | tuple) else value


def _encoded(array: dict[str, Any]) -> tuple[bool, bytes]:
    values = np.frombuffer(base64.b64decode(array["data"]), WHOLE[array["type"]]).reshape(array["shape"])
    symmetric = values.ndim > 2 and _is_symmetric(values)
    if symmetric:
        rows, columns = np.tril_indices(values.shape[-1])
        values = values[..., rows, columns]
    differences = values.copy()
    differences[1:] -= values[:-1]
    planes = np.ascontiguousarray(differences).view(np.uint8).reshape(-1, values.itemsize).T
    return symmetric, planes.tobytes()


def _is_symmetric(values: npt.NDArray[Any]) -> bool:
    return values.shape[-1] == values.shape[-2] and np.array_equal(values, np.swapaxes(values, -1, -2))
