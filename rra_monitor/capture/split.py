"""The layers of a tensor-parallel network whose output is only one rank's part of the features."""

from typing import Any

from torch import nn

from rra_monitor.capture.calls import Trace
from rra_monitor.capture.outputs import LeftOut
from rra_monitor.capture.sketches import projection, tolerance
from rra_monitor.capture.spread import meshes_of_layers
from rra_monitor.utils.collectives import gathered

PART = LeftOut(
    "one rank's part of the features, as a tensor-parallel layer does",
    remedy="watch the row-wise parallel layer that joins the parts, or the block around both",
)


def split_layers(model: nn.Module, traced: Trace) -> dict[str, LeftOut]:
    """The layers of which the ranks have other features of the same samples; a collective call.

    A tensor does not tell that it is a part: a layer between two parallel ones has plain tensors, and no parameters. So
    the ranks compare what they have.

    Args:
        model: network; for one whose layers are not split over ranks nothing is compared.
        traced: trace of the same samples on all ranks of a mesh.
    """
    found: dict[str, LeftOut] = {}
    calls = {(call.module, call.index): call for call in traced.whole}
    here: dict[str, tuple[int, float, float, tuple[float, ...]]] = {}
    for layer in traced.layers:
        call = calls.get((layer.module, layer.call))
        if layer.module and call is not None and call.sketch is not None:
            size, limit = float(call.sketch.norm()), tolerance(call.dtype)
            here[layer.name] = layer.dim, size, limit, projection(call.sketch)
    for mesh in meshes_of_layers(model):
        for group in mesh.get_all_groups():
            everyone = gathered(lambda: here, group)
            found |= {name: PART for name in here if any(_differ(here[name], other.get(name)) for other in everyone)}
    return found


def _differ(one: Any, other: Any) -> bool:
    """Whether two ranks have other features of a layer."""
    if other is None or one[0] != other[0] or len(one[3]) != len(other[3]):
        return True
    most = max(one[2], other[2]) * max(one[1], other[1])
    return any(abs(here - there) > most for here, there in zip(one[3], other[3], strict=True))
