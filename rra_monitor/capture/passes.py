"""Which features are captured in which pass, so that those held at once fit a budget."""

from collections.abc import Mapping, Sequence

from rra_monitor.capture.channels import view_dims
from rra_monitor.capture.layer import Layer


def grouped(layers: Sequence[Layer], n: int, budget: int) -> list[list[Layer]]:
    """Consecutive layers in groups whose float32 features in all views fit the budget, at least one layer each."""
    groups: list[list[Layer]] = []
    used = 0
    for layer in layers:
        size = 4 * n * sum(view_dims(layer).values())
        if not groups or used + size > budget:
            groups.append([])
            used = 0
        groups[-1].append(layer)
        used += size
    return groups


def named_dims(layers: Sequence[Layer]) -> dict[str, int]:
    """The name of each distinct view of the layers to its number of features, in execution order."""
    return {layer.view_names[view]: dim for layer in layers for view, dim in view_dims(layer).items()}


def windows(dims: Mapping[str, int], n: int, budget: int, itemsize: int = 4) -> list[dict[str, slice]]:
    """Features in parts that fit the budget, for as few passes as there can be.

    Args:
        dims: name of each view, in execution order, to its number of features.
        n: number of samples.
        budget: bytes of the features that are held at once, at least those of one feature.
        itemsize: bytes of a feature.

    Returns:
        For each pass the name of a view to some of its flattened features, see `collect`. All but the last pass are
        full: a part may end one view and begin the next.

    Raises:
        ValueError: a budget below one feature of all samples.
    """
    room = budget // (n * itemsize)
    if room < 1:
        raise ValueError(
            f"memory_budget={budget:,} bytes is below {n * itemsize:,}, one feature of {n:,} samples. Raise it, or "
            "take fewer samples"
        )
    passes: list[dict[str, slice]] = []
    left = 0
    for name, dim in dims.items():
        start = 0
        while start < dim:
            if not left:
                passes.append({})
                left = room
            stop = min(dim, start + left)
            passes[-1][name] = slice(start, stop)
            left -= stop - start
            start = stop
    return passes
