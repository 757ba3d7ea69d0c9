"""What a fit will measure, in words."""

from collections.abc import Mapping

from rra_monitor.measure.estimate import CostEstimate


def announcement(
    plans: Mapping[str, CostEstimate],
    *,
    views: tuple[str, ...],
    every_n_epochs: int,
    keep_graphs: str | int,
    path: str | None,
    references: Mapping[str, str],
    remarks: list[str],
) -> str:
    """Probes, layers, rhythm, cost and place of the snapshots, one line each.

    Args:
        plans: probe to its layers and cost.
        views: views of each layer.
        every_n_epochs: number of epochs between two measurements.
        keep_graphs: graphs that stay on disk.
        path: directory of the run; None if nothing is stored.
        references: name to the directory of an earlier run.
        remarks: further lines.
    """
    lines = ["RRA monitor:"]
    for probe, plan in plans.items():
        kind = "no labels, so no NNCS" if plan.classes is None else f"{plan.classes} classes"
        lines.append(f"  {probe}: {len(plan.layers)} layers of {plan.n} samples ({kind}), k = {plan.k}")
    first = next(iter(plans.values()))
    lines.append(f"  layers: {', '.join(layer.name for layer in first.layers)}")
    if len(views) > 1:
        lines.append(f"  views of each layer: {', '.join(views)}; {first.graphs} different ones in all")
    rhythm = "every epoch" if every_n_epochs == 1 else f"every {every_n_epochs} epochs"
    seconds, size = sum(plan.seconds for plan in plans.values()), sum(plan.bytes for plan in plans.values())
    cost = f"about {max(seconds, 0.1):.1f} s and {max(size / 1e6, 0.1):.1f} MB"
    lines.append(f"  before training, {rhythm} and at the end; each time {cost}")
    number = f"the graphs of {keep_graphs} snapshots are kept"
    kept = {"all": "all graphs are kept", "last": "the last graphs are kept"}.get(str(keep_graphs), number)
    lines.append("  stored nowhere" if path is None else f"  stored in {path}; {kept}")
    if references:
        lines.append(f"  compared with {', '.join(f'{name} ({path})' for name, path in references.items())}")
    return "\n".join([*lines, *(f"  {remark}" for remark in remarks)])
