"""Damage that formats share: of bytes, of JSON values, of arrays and safetensors files."""

import copy
import json
import struct
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import numpy as np
from safetensors.numpy import load, save

NASTY: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 3, 29, 30, 31, 10**6, 2**31 - 1, 2**31, 2**32, 2**63, 2**64, 10**30, -(10**9)),
    *(0.5, -0.0, 1e308, float("nan"), float("inf"), -float("inf"), 10**400, -(10**400)),
    *("", "x", "é\u202e\ud800", "a" * 300, "a" * 5000, "0", "-1", "nan", "\0", "\x1b[2J", "a\nb", "..", "../../x"),
    *("../secret/rra/secret", "../../secret/secret.txt", "/etc/passwd", "<script>alert(1)</script>"),
    *([], {}, [[]], [None], [1, 2], ["a", "a"], {"a": 1}, {"a": "a"}, [{}], "full", ["full"], ["avg4", "full"]),
    *("euclidean", "cosine"),
]
"""Values that a reader may meet where it expects others."""

DTYPES = (
    *(np.float64, np.float32, np.float16, np.int64, np.int32, np.int16, np.int8),
    *(np.uint8, np.uint16, np.uint32, np.uint64, np.bool_),
)


def damaged_bytes(random: Random, data: bytes, pool: Sequence[bytes] = ()) -> bytes:
    """Some bits, bytes or ranges changed, cut out, inserted, or taken from other files of the pool."""
    found = bytearray(data)
    for _ in range(random.choice([1, 1, 2, 4, 8])):
        if not found:
            break
        at, what = random.randrange(len(found)), random.randrange(8)
        if what == 0:
            found[at] ^= 1 << random.randrange(8)
        elif what == 1:
            del found[at:]
        elif what == 2 and pool:
            other, length = random.choice(pool), random.randrange(1, 200)
            start = random.randrange(len(other) + 1)
            found[at : at + length] = other[start : start + length]
        elif what == 3:
            del found[at : at + random.randrange(1, 64)]
        elif what == 4:
            found[at:at] = random.randbytes(random.randrange(1, 32))
        elif what == 5:
            lengths = [0, 1, 2, 7, len(found), 2**31, 2**32, 2**63, 2**64 - 1, random.randrange(2 * len(found) + 1)]
            found[:8] = struct.pack("<Q", random.choice(lengths))
        elif what == 6:
            found[random.randrange(min(len(found), 1200))] = random.choice(b'0123456789-{}[]",:e.\\')
        else:
            found[at] = random.randrange(256)
    return bytes(found)


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value within a JSON value, except the value itself."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inside:
        yield (*at, key)
        yield from places(each, (*at, key))


def damaged_json(random: Random, value: Any, nasty: Sequence[Any] = NASTY) -> Any:
    """One value within a JSON value replaced by a nasty one, or taken out."""
    found = copy.deepcopy(value)
    if not (ways := list(places(found))):
        return random.choice(nasty)
    *way, last = random.choice(ways)
    parent = found
    for key in way:
        parent = parent[key]
    if random.random() < 0.2:
        del parent[last]
    else:
        parent[last] = copy.deepcopy(random.choice(nasty))
    return found


def damaged_array(random: Random, array: np.ndarray) -> np.ndarray:
    """An array of another type or shape, or with other values."""
    what = random.randrange(8)
    with np.errstate(all="ignore"):
        if what == 0:
            return array.astype(random.choice(DTYPES))
        if what == 1:
            several = [array[None], array.reshape(-1), array[..., None], array.T, np.zeros(0, array.dtype)]
            several += [np.zeros((), array.dtype), np.zeros((1, 1), array.dtype), np.zeros((2, 2, 2), array.dtype)]
            return random.choice([*several, *([array[:-1], np.concatenate([array, array])] if array.ndim else [])])
        if not array.size:
            return array
        flat = array.reshape(-1).copy()
        if what == 2:
            flat[random.randrange(flat.size)] = random.choice([0, 1, 127])
        elif what == 3 and array.dtype.kind == "f":
            flat[random.randrange(flat.size)] = random.choice([np.nan, np.inf, -np.inf, -1, 2, 1e30, -0.0, 1e-45])
        elif what == 4 and array.dtype.kind == "f":
            flat[:] = random.choice([np.nan, np.inf, -np.inf, -1.0, 0.0, 1e30, 5.0])
        elif what == 5 and array.dtype.kind in "iu":
            wide = flat.astype(random.choice([np.int64, np.int32, np.uint32, np.uint64, np.float32, np.float64]))
            value = random.choice([-1, -30, 29, 30, 31, 100, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**32 + 5, 2**63 - 1])
            wide[random.randrange(wide.size)] = np.array([value]).astype(wide.dtype)[0]
            flat = wide
        elif what == 6 and array.ndim == 2:
            return np.repeat(array[:, :1], array.shape[1], axis=1) if random.random() < 0.5 else array[:, ::-1]
        elif what == 7 and array.dtype != np.bool_:
            flat = np.frombuffer(random.randbytes(array.nbytes), array.dtype)
        return flat.reshape(array.shape)


def parsed_safetensors(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and the metadata of a file in order."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return load(data), header["__metadata__"]


def built_safetensors(arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> bytes:
    """A file of arrays and metadata."""
    return bytes(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, metadata=metadata))


def damaged_header(random: Random, data: bytes) -> bytes:
    """A safetensors file whose header says other types, shapes or places than its body has, or other metadata."""
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    for _ in range(random.choice([1, 1, 2])):
        name = random.choice([name for name in header if name != "__metadata__"] or ["x"])
        entry, what = header.setdefault(name, {}), random.randrange(7)
        if what == 0:
            types = ["F64", "F32", "F16", "BF16", "I64", "I32", "I8", "U8", "U16", "U32", "U64", "BOOL", "F8_E4M3", "x"]
            entry["dtype"] = random.choice([*types, 3, None])
        elif what == 1:
            shape = entry.get("shape", [])
            odd = [[], [0], [1], [2**62], [2**32, 2**32], [-1], [1.5], "x", [[1]], [10**9], [True], None]
            entry["shape"] = random.choice([*odd, [*shape, 1], shape[::-1], [*shape, 0], shape[:-1]])
        elif what == 2:
            odd_ends = [[0, 0], [0, 8], [0, len(body)], [0, 2**63], [2**63, 0], [-8, 8], [8], [], None, "x", [0.0, 8.0]]
            entry["data_offsets"] = random.choice([*odd_ends, entry.get("data_offsets", [0, 8])[::-1]])
        elif what == 3:
            del header[name]
        elif what == 4:
            header[random.choice(["", "id", "0.indices", "match.x", "ids", "labels", "é" * 50])] = copy.deepcopy(entry)
        elif what == 5:
            odd_metadata = [{}, None, [], "x", {"other": "x"}]
            texts = ["", "[]", "1", "null", '"x"', "[" * 5000, '{"schema":' + "9" * 5000 + "}"]
            header["__metadata__"] = random.choice([*odd_metadata, *({"rra_monitor": text} for text in texts)])
        else:
            entry["extra"] = random.choice([1, [], {}])
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body
