"""A sample's inputs after a change of every batch, evaluated once and kept."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from rra_monitor.samples.drawing import fingerprint
from rra_monitor.samples.items import Place, split_item
from rra_monitor.samples.kept import found, kept
from rra_monitor.samples.repeated import prepared_twice
from rra_monitor.samples.stacked import RaggedError, as_inputs, rows, take, tensor_bytes
from rra_monitor.samples.streams import Streams
from rra_monitor.utils.rng import preserved_rng
from rra_monitor.utils.trees import map_tensors


def changed_inputs(
    handed: Callable[[range], Any],
    change: Callable[[Any], Any],
    place: Place,
    inputs: Any,
    ends: Sequence[int],
    limit: int,
    folder: Path | None,
    identity: str,
) -> tuple[Any, Path | None]:
    """The changed inputs, None if they are as before, and the file that holds them if they are in one that stays.

    Args:
        handed: batch of some samples, as a loader hands it on.
        change: function of such a batch.
        place: where the label stands in it.
        inputs: inputs before the change.
        ends: ends of the batches.
        limit: most bytes in memory.
        folder: directory for a file.
        identity: digest that names the samples before the change.

    Raises:
        ValueError: a change that is random.
    """
    n = ends[-1]
    parts = [range(start, stop) for start, stop in pairwise(ends)]
    streams = Streams(change)
    restorers = streams.saved()
    known: dict[int, Any] = {}

    def changed(number: int) -> Any:
        if number in known:
            return known.pop(number)
        with torch.no_grad():
            batch = change(handed(parts[number]))
        part = split_item(batch, place)[0]
        return map_tensors(lambda tensor: tensor.cpu(), as_inputs(rows(part, len(parts[number]))))

    def same(number: int, batch: Any) -> bool:
        return fingerprint([batch]) == fingerprint([take(inputs, parts[number])]) and type(batch) is type(inputs)

    with preserved_rng():
        try:
            twice = sorted({0, len(parts) - 1})
            for number in twice:
                known[number] = prepared_twice(partial(changed, number), streams)
            origin = hashlib.sha256((identity + fingerprint([known[number] for number in twice])).encode())
            there = None if folder is None else found(folder, origin.hexdigest()[:16], n)
            if there is not None and tensor_bytes(known[0]) / len(parts[0]) * n > limit:
                return there
            number, batch = 0, changed(0)
            while same(number, batch):
                number += 1
                if number == len(parts):
                    return None, None
                batch = changed(number)

            def batches() -> Iterator[tuple[int, Any]]:
                for earlier in range(number):
                    yield len(parts[earlier]), take(inputs, parts[earlier])
                yield len(parts[number]), batch
                for later in range(number + 1, len(parts)):
                    yield len(parts[later]), changed(later)

            try:
                return kept(batches(), n, limit, folder, origin.hexdigest()[:16])
            except RaggedError as error:
                raise RaggedError(f"{error}, batch by batch; let what changes a batch pad all to one shape") from error
        finally:
            for restore in restorers:
                restore()
