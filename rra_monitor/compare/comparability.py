"""Which quantities of two groups cannot be compared, and why."""

import warnings
from collections.abc import Sequence

from rra_monitor.compare.groups import Group, Run, When
from rra_monitor.measure.match import check_comparable
from rra_monitor.measure.snapshot import Settings, same_density


def refusals(
    group_a: Group, group_b: Group, a: Sequence[Run], b: Sequence[Run], epoch: When, notes: list[str]
) -> dict[str, str]:
    """Quantity to the reason why two groups cannot be compared by it; adds to the notes."""
    here, there = group_a.settings, group_b.settings
    found = {}
    counts = f"n={here.n}, k={here.k} in {group_a.name}, n={there.n}, k={there.k} in {group_b.name}"
    dense = here.dense_as(there)
    needs = f"{counts} (k/n {here.ndr:.4g} and {there.ndr:.4g})"
    if dense and here.k * there.n != there.k * here.n:
        notes.append(f"Curves are compared at k/n that differ by less than a tenth: {needs}.")
    if here.metric != there.metric:
        reason = f"metric {here.metric} in {group_a.name}, {there.metric} in {group_b.name}; measure both with one"
        found = {"id": reason, "nncs": reason}
    elif here.n != there.n:
        if dense:
            notes.append(f"The ID depends on n, which is {here.n} in {group_a.name} and {there.n} in {group_b.name}.")
        else:
            found["id"] = f"the ID needs the same n, or the same k/n: {needs}; {_remedy(here, there)}"
    if not dense:
        found.setdefault("nncs", f"NNCS needs the same k/n: {needs}; {_remedy(here, there)}")
        found["nnls_within_run"] = f"the NNLS of layers of one run needs the same k/n: {needs}; {_remedy(here, there)}"
    if (group_a.nncs is None) != (group_b.nncs is None):
        bare = group_a.name if group_a.nncs is None else group_b.name
        found["nncs"] = f"NNCS needs labels, and {bare} has none; give its sample labels"
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            check_pairs(a, b, epoch)
        # One content of the inputs in each group: say it once.
        notes += [str(warning.message) for warning in caught[:1]]
    except ValueError as error:
        found["nnls"] = str(error)
    return found


def _remedy(here: Settings, there: Settings) -> str:
    """How two samples get one density: by another k in one of them, where a whole one does."""
    for one, other in ((here, there), (there, here)):
        k = round(one.k * other.n / one.n)
        if k >= 2 and same_density(one.k, one.n, k, other.n):  # a monitor takes no fewer
            return f"measure with k={k} at n={other.n}"
    return "measure with one n"


def check_pairs(a: Sequence[Run], b: Sequence[Run], epoch: When) -> None:
    """Refuse an NNLS between runs that has no pairs, no graphs or no meaning."""
    places = {(run.path, run.probe) for run in (*a, *b)}
    if len(places) == 1:
        raise ValueError(f"{a[0].path} is the only run, and a run is not paired with itself; add another seed")
    runs = list(a) if a is b else [*a, *b]
    for run in runs:
        step = run.at(epoch).step
        if step not in run.store.graph_steps(run.probe):
            raise ValueError(
                f"{run.path} kept no graphs of probe {run.probe!r} at step {step}, and NNLS needs them; keep them with "
                "keep_graphs='all' or a number"
            )
        there = f"probe {run.probe!r} of {run.path} (here: probe {runs[0].probe!r} of {runs[0].path})"
        check_comparable(runs[0].at(epoch).settings, run.at(epoch).settings, there)
