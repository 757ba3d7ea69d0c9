"""The worker process that reads a data set's items, and how they come back: pickled, without shared memory."""

import hashlib
import io
import pickle
import random
import signal
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch

from rra_monitor.samples.items import item_of
from rra_monitor.samples.offsets import own_offsets
from rra_monitor.samples.stored_labels import stored_columns
from rra_monitor.samples.streams import Streams, drawn_from

WORKER_SEED = 0
STOP = "stop"

Request = list[tuple[int, bool]] | str | None
"""Positions and whether each is read twice; or `STOP`; or None for the stored columns."""


@dataclass(frozen=True)
class Read:
    """An item that was read.

    Attributes:
        item: the item.
        stream: the random stream from which reading it draws, or None.
        digests: of an item that was read twice, entry to the digests of both times.
    """

    item: Any
    stream: str | None = None
    digests: Mapping[Any, tuple[str, str]] | None = None


@dataclass(frozen=True)
class Failure:
    """What the data set raised.

    Attributes:
        error: the error itself; another one in its words if it cannot be pickled.
        trace: where it was raised.
    """

    error: Exception
    trace: str


class Looker:
    """Reads items and watches the random streams that are drawn from.

    Args:
        dataset: data set to read.
    """

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        self.streams = Streams(dataset)
        self._searched = False

    def read(self, position: int, twice: bool) -> Read:
        """An item; read a second time if wanted, or if the first time moved a random stream."""
        before = self.streams.states()
        item = item_of(self._dataset, position)
        between = self.streams.states()
        if before == between and not twice:
            return Read(item)
        first = digests(item)
        again = digests(item_of(self._dataset, position))
        stream = drawn_from(before, between, self.streams.states())
        if not self._searched:
            self._searched = True
            self.streams.search_again()
        return Read(item, stream, {key: (first[key], again.get(key, "")) for key in first})


def digests(item: Any) -> dict[Any, str]:
    """Digest of each entry of an item; of the whole, under None, where it has no entries."""
    if isinstance(item, Mapping):
        return {key: _digest(value) for key, value in item.items()}
    if isinstance(item, (tuple, list)):
        return {position: _digest(value) for position, value in enumerate(item)}
    return {None: _digest(item)}


def serve(connection: Connection, dataset: Any, init: Callable[[int], None] | None, worker: int, workers: int) -> None:
    """Answer requests for items until `STOP`, or until the other side hangs up.

    Args:
        connection: see `Request`; answers are pickled bytes: a list of `Read`, columns, or a `Failure`.
        dataset: data set, a copy by fork or by pickle.
        init: the loader's `worker_init_fn`.
        worker: number of this process.
        workers: number of processes.
    """
    # The interrupt is the parent's to handle, and its handlers are not for this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    own_offsets()
    torch.set_num_threads(1)
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(WORKER_SEED + worker)
    _tell_worker_info(dataset, worker, workers)
    looker: Looker | None = None
    try:
        if init is not None:
            init(worker)
        looker = Looker(dataset)
    except Exception as error:
        refusal = error
    while True:
        try:
            request = connection.recv()
        except (EOFError, OSError):
            return
        if request == STOP:
            return
        try:
            if looker is None:
                raise refusal
            answer = packed(
                stored_columns(dataset)
                if request is None
                else [looker.read(position, twice) for position, twice in request]
            )
        except Exception as error:
            answer = _packed_error(error)
        connection.send_bytes(answer)


def packed(value: Any) -> bytes:
    """A value as bytes; a tensor takes no more than its own elements, whatever it is a view of."""
    file = io.BytesIO()
    _Pickler(file, protocol=5).dump(value)
    return file.getvalue()


def unpacked(data: bytes) -> Any:
    """The value that one of our own processes packed."""
    return pickle.loads(data)


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        plain = type(value) is torch.Tensor and value.device.type == "cpu" and value.layout == torch.strided
        if not plain or value.is_quantized or value.is_nested or value.is_conj() or value.is_neg():
            return NotImplemented
        flat = value.detach().contiguous().reshape(-1)
        return _tensor, (flat.view(torch.uint8).numpy() if flat.numel() else None, value.dtype, tuple(value.shape))


def _tensor(data: Any, dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype) if data is None else torch.from_numpy(data).view(dtype).reshape(shape)


def _packed_error(error: Exception) -> bytes:
    trace = traceback.format_exc()
    try:
        data = packed(Failure(error, trace))
        unpacked(data)
    except Exception:
        data = packed(Failure(RuntimeError(f"{type(error).__name__}: {error}"), trace))
    return data


def _digest(value: Any) -> str:
    digest = hashlib.sha1(usedforsecurity=False)
    _update(digest, value)
    return digest.hexdigest()


def _update(digest: Any, value: Any) -> None:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        digest.update(f"{value.dtype}{tuple(value.shape)}".encode())
        if value.layout == torch.strided and not value.is_nested and value.numel():
            digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    elif isinstance(value, np.ndarray):
        digest.update(f"{value.dtype}{value.shape}".encode())
        digest.update(repr(value.tolist()).encode() if value.dtype.hasobject else value.tobytes())
    elif hasattr(value, "__array_interface__") or hasattr(value, "tobytes"):
        digest.update(type(value).__name__.encode())
        digest.update(value.tobytes() if hasattr(value, "tobytes") else np.asarray(value).tobytes())
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            digest.update(repr(key).encode())
            _update(digest, inner)
    elif isinstance(value, (list, tuple)):
        digest.update(f"{len(value)}".encode())
        for inner in value:
            _update(digest, inner)
    elif isinstance(value, (str, bytes, int, float, complex, bool, type(None))):
        digest.update(repr(value).encode())
    else:
        # What has no contents that we know of: its type alone.
        digest.update(type(value).__qualname__.encode())


def _tell_worker_info(dataset: Any, worker: int, workers: int) -> None:
    """Let `torch.utils.data.get_worker_info()` answer as in a loader's worker."""
    try:
        from torch.utils.data._utils import worker as of_torch

        of_torch._worker_info = of_torch.WorkerInfo(
            id=worker, num_workers=workers, seed=WORKER_SEED + worker, dataset=dataset
        )
    except (ImportError, AttributeError, TypeError):
        return
