"""Whether a network gives the same samples the same features in each pass and in each batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rra_monitor.capture.calls import Trace
from rra_monitor.capture.layer import Layer
from rra_monitor.capture.sketches import difference, tolerance

RANDOM = (
    "the network is random in evaluation mode, too, so that ID, NNCS and NNLS measure its noise, and two snapshots "
    "differ where nothing was learned. Let what is random follow the training flag of its module"
)
OF_THE_BATCH = (
    "they depend on the other samples of a batch, and ID, NNCS and NNLS on the batch size and the number of processes. "
    "Let the layer use running statistics of the training in evaluation mode"
)
UNKNOWN = (
    "the network is random in evaluation mode, too, or they depend on the other samples of a batch, and ID, NNCS and "
    "NNLS measure that. Let what is random follow the training flag of its module, and a norm over the batch use "
    "running statistics"
)


@dataclass(frozen=True)
class Differing:
    """The layers whose features differ between passes of the same samples.

    Attributes:
        shares: name of each layer, in execution order, to the difference in proportion to the features.
        meaning: what that means for the numbers, and the remedy.
    """

    shares: Mapping[str, float] = field(default_factory=dict)
    meaning: str = UNKNOWN

    def remark(self, watched: Sequence[Layer]) -> str:
        """What to say where watched layers are among them; empty if none is."""
        if not any(layer.name in self.shares for layer in watched):
            return ""
        name, share = next(iter(self.shares.items()))
        return (
            f"the features of the same samples in layer {name!r} differ by {100 * share:.0f} % between two passes: "
            f"{self.meaning}, or name layers before this one"
        )


def differing(one: Trace, other: Trace, rows: Sequence[tuple[int, int]]) -> dict[str, float]:
    """Name of each layer whose features differ beyond rounding to the difference, in execution order.

    Args:
        one: a trace.
        other: a trace of another pass.
        rows: positions of the same sample in the two batches, of each sample that both have.
    """
    found: dict[str, float] = {}
    others = {(call.module, call.index): call for call in other.whole}
    calls = {(call.module, call.index): call for call in one.whole}
    least = 0.0
    for layer in one.layers:
        call, twin = calls.get((layer.module, layer.call)), others.get((layer.module, layer.call))
        if not layer.module or call is None or twin is None or call.sketch is None or twin.sketch is None:
            continue
        if call.sketch.shape[1:] != twin.sketch.shape[1:]:
            continue
        # What follows a layer of half precision has its error, whatever its own type.
        least = max(least, tolerance(call.dtype))
        here, there = ([pair[side] for pair in rows] for side in (0, 1))
        if (share := difference(call.sketch[here], twin.sketch[there])) > least:
            found[layer.name] = share
    return found
