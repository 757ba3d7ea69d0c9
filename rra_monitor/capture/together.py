"""Passes through a sharded network, which all ranks enter together, also those whose own work failed.

The modules of such a network gather their parameters from all ranks when they are called. A rank that leaves a pass
early would let the others wait for its part: it goes on calling what the modules do before and after their own forward
pass, in the order of the passes that ran to their end, with no work in between.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from weakref import WeakKeyDictionary

import torch
from torch import nn

from rra_monitor.capture.units import called_within, enter, leave, put_back_of, sharded_units

Event = tuple[int, bool]
"""Number of a unit, and whether it was entered or left."""

_orders = WeakKeyDictionary[nn.Module, tuple[Event, ...]]()
"""Network to the order in which its units were entered and left in a pass that ran to its end."""


@contextmanager
def entered_together(model: nn.Module, passes: int) -> Iterator[Callable[[], None]]:
    """A number of passes through a network, the same on all ranks, after which no rank waits for this one.

    Gives a function to call at the end of each pass. What a rank leaves out of a pass, or of the number of passes,
    by an error or since it has fewer samples, it makes up for without work; an error goes on after that. Units that
    were sharded before are so again, and what fully sharded modules count in a pass is as before. Of the first pass
    of a network on this rank the order of the units is unknown, and taken to be that of their names, if it ends early.
    For a network that is in one piece on each rank nothing is done.

    Args:
        model: the network.
        passes: number of forward passes that each rank makes, the largest of all ranks.
    """
    units = sharded_units(model)
    if not units:
        yield lambda: None
        return
    followed = _Followed(model, units)
    put_back = [put_back_of(unit) for unit in units]
    try:
        try:
            with followed.hooked():
                yield followed.end_pass
        except Exception:
            with suppress(Exception):  # such as of a rank that died; the first error tells more
                followed.make_up(passes)
            raise
        followed.make_up(passes)
    finally:
        followed.leave_all()
        with torch.no_grad():
            for undo in put_back:
                undo()


class _Followed:
    """The units of a network, and how far the pass is that runs."""

    def __init__(self, model: nn.Module, units: list[nn.Module]) -> None:
        self._model = model
        self._units = units
        self._seen: list[Event] = []
        self._ended = 0

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Note each unit that is entered or left."""
        handles = []
        try:
            for number, unit in enumerate(self._units):
                entered = called_within(unit).register_forward_pre_hook(partial(self._note, (number, True)))
                handles.append(entered)
                handles.append(unit.register_forward_hook(partial(self._note, (number, False))))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _note(self, event: Event, *_: object) -> None:
        self._seen.append(event)

    def end_pass(self) -> None:
        """Enter and leave the units that are left of the pass, and begin the next one."""
        left = self._left()
        for number, entered in left:
            (enter if entered else leave)(self._units[number])
            self._seen.append((number, entered))
        if not left:
            _orders[self._model] = tuple(self._seen)
        self._seen = []
        self._ended += 1

    def make_up(self, passes: int) -> None:
        """End the pass that runs, and enter all units for each that is left."""
        with torch.no_grad():
            if self._seen:
                self.end_pass()
            while self._ended < passes:
                self.end_pass()

    def leave_all(self) -> None:
        """Leave the units of a pass that cannot be made up for, which asks for nothing of the others."""
        with torch.no_grad():
            for number in reversed(self._running()):
                with suppress(Exception):
                    leave(self._units[number])
        self._seen = []

    def _left(self) -> tuple[Event, ...]:
        """What is left of the pass, in the order in which the other ranks need it."""
        order, seen = _orders.get(self._model), tuple(self._seen)
        if order is not None and order[: len(seen)] == seen:
            return order[len(seen) :]
        if seen and not self._running():
            return ()
        entered = {number for number, _ in seen}
        others = [number for number in range(len(self._units)) if number not in entered]
        return tuple(
            [event for number in others for event in ((number, True), (number, False))]
            + [(number, False) for number in reversed(self._running())]
        )

    def _running(self) -> list[int]:
        """The units that were entered and not left, the outermost first."""
        running: list[int] = []
        for number, entered in self._seen:
            if entered:
                running.append(number)
            elif number in running:
                running.remove(number)
        return running
