"""Which quantities of two groups cannot be compared, and why."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rra_monitor.compare.groups import Group, Run, When
from rra_monitor.compare.pairs import ACROSS, WITHIN_RUN
from rra_monitor.measure.match import check_comparable
from rra_monitor.measure.quantity import Quantity
from rra_monitor.measure.settings import Settings, same_density


@dataclass(frozen=True)
class Comparability:
    """What of two groups can be compared.

    Attributes:
        refused: name of a quantity to the reason why the groups cannot be compared by it.
        notes: remarks for the reader, one sentence each.
    """

    refused: Mapping[str, str]
    notes: tuple[str, ...]


def symbols(groups: Iterable[Group]) -> dict[str, str]:
    """Name of each refusable quantity to its symbol, for the reader."""
    found = {one.name: one.symbol for group in groups for one in group.quantities}
    return found | {ACROSS: "NNLS", WITHIN_RUN: "NNLS of the layers of one run"}


def comparability(group_a: Group, group_b: Group, a: Sequence[Run], b: Sequence[Run], epoch: When) -> Comparability:
    """Which main quantities of two groups cannot be compared, nor their NNLS, and remarks on the rest."""
    here, there = group_a.settings, group_b.settings
    refused: dict[str, str] = {}
    notes: list[str] = []
    dense = here.dense_as(there)
    counts = f"n={here.n}, k={here.k} in {group_a.name}, n={there.n}, k={there.k} in {group_b.name}"
    needs = f"{counts} (k/n {here.ndr:.4g} and {there.ndr:.4g})"
    if dense and here.k * there.n != there.k * here.n:
        notes.append(f"Curves are compared at k/n that differ by less than a tenth: {needs}.")
    for quantity in main_quantities([group_a, group_b]):
        name, symbol = quantity.name, quantity.symbol
        bare = [group.name for group in (group_a, group_b) if name not in group.curves]
        if bare and quantity.needs_labels:
            refused[name] = f"{symbol} needs labels, and {bare[0]} has none; give its sample labels"
        elif bare:
            refused[name] = f"{bare[0]} was measured without {symbol}; measure it with quantities=[{name!r}]"
        elif here.metric != there.metric:
            metrics = f"metric {here.metric} in {group_a.name}, {there.metric} in {group_b.name}"
            refused[name] = f"{metrics}; measure both with one"
        elif (methods := _methods(name, group_a, group_b)) is not None:
            refused[name] = f"the {symbol} is by {methods}; measure both with one estimator"
        elif quantity.depends_on_k and not dense:
            refused[name] = f"{symbol} needs the same k/n: {needs}; {_remedy(here, there)}"
        elif not quantity.depends_on_k and here.n != there.n and not dense:
            refused[name] = f"the {symbol} needs the same n, or the same k/n: {needs}; {_remedy(here, there)}"
        elif not quantity.depends_on_k and here.n != there.n:
            sizes = f"{here.n} in {group_a.name} and {there.n} in {group_b.name}"
            notes.append(f"The {symbol} depends on n, which is {sizes}.")
    if not dense:
        refused[WITHIN_RUN] = f"the NNLS of layers of one run needs the same k/n: {needs}; {_remedy(here, there)}"
    try:
        # One content of the inputs in each group: say it once.
        notes += check_pairs(a, b, epoch)[:1]
    except ValueError as error:
        refused[ACROSS] = str(error)
    return Comparability(refused, tuple(notes))


def main_quantities(groups: Iterable[Group]) -> list[Quantity]:
    """The main quantities of layers that any of the groups has, each once."""
    return list({one.name: one for group in groups for one in group.quantities if one.rank == "main"}.values())


def _methods(name: str, group_a: Group, group_b: Group) -> str | None:
    """The two methods by which groups have a quantity, in words; None where they are the same."""
    here, there = (next(one.method for one in group.quantities if one.name == name) for group in (group_a, group_b))
    return None if here == there else f"{here!r} in {group_a.name}, by {there!r} in {group_b.name}"


def _remedy(here: Settings, there: Settings) -> str:
    """How two samples get one density: by another k in one of them, where a whole one does."""
    for one, other in ((here, there), (there, here)):
        k = round(one.k * other.n / one.n)
        if k >= 2 and same_density(one.k, one.n, k, other.n):  # a monitor takes no fewer
            return f"measure with k={k} at n={other.n}"
    return "measure with one n"


def check_pairs(a: Sequence[Run], b: Sequence[Run], epoch: When) -> list[str]:
    """Refuse an NNLS between runs that has no pairs, no graphs or no meaning; remarks on the rest."""
    places = {(run.path, run.probe) for run in (*a, *b)}
    if len(places) == 1:
        raise ValueError(f"{a[0].path} is the only run, and a run is not paired with itself; add another seed")
    runs = list(a) if a is b else [*a, *b]
    remarks = []
    for run in runs:
        step = run.at(epoch).step
        if step not in run.store.graph_steps(run.probe):
            raise ValueError(
                f"{run.path} kept no graphs of probe {run.probe!r} at step {step}, and NNLS needs them; keep them with "
                "keep_graphs='all' or a number"
            )
        there = f"probe {run.probe!r} of {run.path} (here: probe {runs[0].probe!r} of {runs[0].path})"
        remarks += check_comparable(runs[0].at(epoch).settings, run.at(epoch).settings, there)
    return remarks
