"""What a fit will measure and what it costs, in words."""

from collections.abc import Mapping

from rra_monitor.measure.estimate import CostEstimate


def announcement(
    plans: Mapping[str, CostEstimate],
    *,
    views: tuple[str, ...],
    rhythm: str,
    max_overhead: float | None = None,
    keep_graphs: str | int,
    path: str | None,
    references: Mapping[str, str],
    remarks: list[str],
    memory_budget: float,
    averaged: bool = False,
) -> str:
    """Probes, layers, rhythm, cost and place of the snapshots, one line each.

    Args:
        plans: probe to its layers and cost.
        views: views of each layer.
        rhythm: moments between the start and the end of the fit, in words.
        max_overhead: share of the time that measuring may take.
        keep_graphs: graphs that stay on disk.
        path: directory of the run; None if nothing is stored.
        references: name to the directory of an earlier run.
        remarks: further lines.
        memory_budget: bytes that a snapshot may take beyond what the network takes for a batch.
        averaged: whether averaged weights are measured, too.
    """
    lines = ["RRA monitor:"]
    for probe, plan in plans.items():
        kind = "no labels, so no NNCS" if plan.classes is None else f"{plan.classes} classes"
        lines.append(f"  {probe}: {len(plan.layers)} layers of {plan.n} samples ({kind}), k = {plan.k}")
    first = next(iter(plans.values()))
    lines.append(f"  layers: {', '.join(layer.name for layer in first.layers)}")
    if len(views) > 1:
        lines.append(f"  views of each layer: {', '.join(views)}; {first.graphs} different ones in all")
    each, weights = list(plans.values()), 2 if averaged else 1
    graphs, curves = (
        weights * sum(sizes) for sizes in zip(*((p.graph_bytes, p.curve_bytes) for p in each), strict=True)
    )
    lasting = graphs + curves if keep_graphs == "all" else curves
    disk = "" if path is None else f" and {in_bytes(lasting)}"
    share = "" if max_overhead is None else f", at most {100 * max_overhead:.3g} % of the time"
    passes = ", ".join(f"{weights * plan.passes} of {probe}" for probe, plan in plans.items())
    fewer = ", and a larger one needs fewer passes" if max(plan.passes for plan in each) > 1 else ""
    lines.append(
        f"  passes through the network: {passes}; beside them no more memory is taken than "
        f"memory_budget={memory_budget / 2**30:.3g} GiB{fewer}"
    )
    number = f"the graphs of {keep_graphs} snapshots are kept"
    kept = {"all": "all graphs are kept", "last": "the last graphs are kept"}.get(str(keep_graphs), number)
    if keep_graphs != "all":
        kept += f", {in_bytes(graphs * (1 if keep_graphs == 'last' else int(keep_graphs)))}"
    lines.append(
        f"  before training, {rhythm} and at the end{share}; each time about {in_seconds(total(plans, averaged))}{disk}"
    )
    lines.append("  stored nowhere" if path is None else f"  stored in {path}; {kept}")
    if references:
        lines.append(f"  compared with {', '.join(f'{name} ({path})' for name, path in references.items())}")
    return "\n".join([*lines, *(f"  {remark}" for remark in remarks)])


def total(plans: Mapping[str, CostEstimate], averaged: bool) -> float:
    """Seconds of the snapshots of one moment: of the weights in training, and of averaged ones on request."""
    return (2 if averaged else 1) * sum(plan.seconds for plan in plans.values())


def correction(announced: float, taken: float) -> str | None:
    """What to say where a moment took more than twice what was announced, by more than a second; None otherwise."""
    if taken <= 2 * announced or taken - announced <= 1:
        return None
    return (
        f"RRA monitor: a moment took {in_seconds(taken)}, with its loggers, not the announced {in_seconds(announced)}"
    )


def in_seconds(seconds: float) -> str:
    """A time in two digits.

    >>> in_seconds(0.0421), in_seconds(2.345), in_seconds(123.4)
    ('0.042 s', '2.3 s', '123 s')
    """
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"


def in_bytes(size: int) -> str:
    """A size on disk.

    >>> in_bytes(6_400), in_bytes(213_000), in_bytes(5_930_000), in_bytes(12_300_000_000)
    ('6 kB', '213 kB', '5.9 MB', '12.3 GB')
    """
    if size < 1e6:
        return f"{size / 1e3:.0f} kB"
    return f"{size / 1e6:.1f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"
