"""Which features are captured in which pass, so that those held at once fit a budget."""

from collections.abc import Mapping, Sequence

from rra_monitor.capture.channels import view_dims, view_itemsizes
from rra_monitor.capture.layer import Layer


def grouped(layers: Sequence[Layer], n: int, budget: int) -> list[list[Layer]]:
    """Consecutive layers in groups whose features in all views fit the budget, at least one layer each."""
    groups: list[list[Layer]] = []
    used = 0
    for layer in layers:
        size = n * sum(sample_bytes([layer]).values())
        if not groups or used + size > budget:
            groups.append([])
            used = 0
        groups[-1].append(layer)
        used += size
    return groups


def named_dims(layers: Sequence[Layer]) -> dict[str, int]:
    """The name of each distinct view of the layers to its number of features, in execution order."""
    return {layer.view_names[view]: dim for layer in layers for view, dim in view_dims(layer).items()}


def itemsizes(layers: Sequence[Layer]) -> dict[str, int]:
    """The name of each distinct view of the layers to the bytes of one of its features."""
    return {layer.view_names[view]: size for layer in layers for view, size in view_itemsizes(layer).items()}


def sample_bytes(layers: Sequence[Layer]) -> dict[str, int]:
    """The name of each distinct view of the layers to the bytes of the features of one sample."""
    sizes = itemsizes(layers)
    return {name: dim * sizes[name] for name, dim in named_dims(layers).items()}


def windows(
    dims: Mapping[str, int],
    n: int,
    budget: int,
    sizes: Mapping[str, int],
    held: Mapping[str, slice] | None = None,
    backwards: bool = False,
) -> list[dict[str, slice]]:
    """Features in parts that fit the budget, for as few passes as there can be.

    Args:
        dims: name of each view, in execution order, to its number of features.
        n: number of samples.
        budget: bytes of the features that are held at once, at least those of one feature.
        sizes: name of each view to the bytes of one feature.
        held: features that are at hand, the first or the last of all, and are in no pass.
        backwards: whether the passes go from the last feature to the first.

    Returns:
        For each pass the name of a view to some of its flattened features, see `collect`. All but the last pass are
        full: a part may end one view and begin the next.

    Raises:
        ValueError: a budget below one feature of all samples.
    """
    widest = max(sizes[name] for name in dims)
    if budget < n * widest:
        raise ValueError(
            f"memory_budget={budget:,} bytes is below {n * widest:,}, one feature of {n:,} samples. Raise it, or "
            "take fewer samples"
        )
    passes: list[dict[str, slice]] = []
    left = 0
    for name in reversed(list(dims)) if backwards else dims:
        low, high = _left(dims[name], (held or {}).get(name))
        feature = n * sizes[name]
        while low < high:
            if left < feature:
                passes.append({})
                left = budget
            count = min(high - low, left // feature)
            passes[-1][name] = slice(high - count, high) if backwards else slice(low, low + count)
            left -= count * feature
            low, high = (low, high - count) if backwards else (low + count, high)
    return passes


def _left(dim: int, held: slice | None) -> tuple[int, int]:
    """Start and end of the features of a view that are not at hand."""
    if held is None:
        return 0, dim
    return (0, held.start) if held.stop == dim else (held.stop, dim)
