"""Preparing a batch twice, to find out whether it is random."""

from collections.abc import Callable
from typing import Any

from rra_monitor.samples.drawing import fingerprint
from rra_monitor.samples.streams import Streams, drawn_from


def prepared_twice(prepared: Callable[[], Any], streams: Streams) -> Any:
    """What preparing a batch gives, the first time of two.

    Raises:
        ValueError: the second time it gives something else, or random numbers are drawn.
    """
    before = streams.states()
    first = prepared()
    between = streams.states()
    again = prepared()
    stream = drawn_from(before, between, streams.states())
    differ = fingerprint([first]) != fingerprint([again])
    if differ or stream is not None:
        what = "the same batch differs when it is prepared twice" if differ else f"it draws from {stream}"
        raise ValueError(
            f"preparing a batch of the sample is random ({what}): a collate_fn or a batch-transfer hook augments, and "
            "the analysis needs the same inputs every time. Let it augment only where the module's training is True, "
            "or pass a sample with prepare=False, of inputs as the network gets them"
        )
    return first
