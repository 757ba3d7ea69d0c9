"""What a forward pass changes outside of the features, put back after it."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from torch import nn

from rra_monitor.capture.kept import kept_tensors
from rra_monitor.capture.objects import reached


@contextmanager
def recorded(model: nn.Module, copy_all: bool = False, most: int | None = None) -> Iterator[None]:
    """Put back on leaving what forward passes of the network changed, see `reached`, and that alone.

    In memory there are copies of all buffers, of other tensors up to 256 MiB, and of the parameters and their gradients
    if these have no more than that. Of larger networks only those parameters are copied that an earlier pass changed
    (the teacher of a student, say); of the others a sum over all bits tells whether they changed.

    Args:
        model: network.
        copy_all: whether all parameters are copied whatever their size (on the CPU if they take more than half of the
            free memory of a GPU), which finds those that a forward pass changes.
        most: bytes of parameters with their gradients up to which all are copied; 256 MiB if None.
    """
    found = reached(model)
    put_back_tensors = kept_tensors(found, copy_all, most)

    def put_back() -> None:
        for undo in found.undo:
            with suppress(Exception):  # an odd object is left alone
                undo()
        lost = {id(tensor) for tensor in put_back_tensors()}
        names = [name for name, parameter in model.named_parameters() if id(parameter) in lost] if lost else []
        if names:
            warnings.warn(
                f"a forward pass in evaluation mode changed {names[0]} ({len(names)} parameters in all). None did so "
                "before, so there was no copy, and it is not as it was; from now on it is put back",
                stacklevel=2,
            )

    try:
        yield
    finally:
        _whatever_happens(put_back)


def _whatever_happens(put_back: Callable[[], None]) -> None:
    """Call the function, again from its start where the user interrupts it; the interrupt goes on after it."""
    interrupt: KeyboardInterrupt | None = None
    while True:
        try:
            put_back()
            break
        except KeyboardInterrupt as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt
