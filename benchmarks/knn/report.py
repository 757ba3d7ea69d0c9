"""The figures of this benchmark as tables."""

from collections.abc import Sequence

from cells import Cell, Measurement
from methods import AUTO, EXACT, HALF_PRODUCT, METHODS
from results import Sheet

MIN_RECALL = 0.95
"""What the grid asks of a backend before it may count as the best."""


def cells_of(measured: Sequence[Measurement]) -> dict[Cell, dict[str, Measurement]]:
    """The measurements by cell and method."""
    table: dict[Cell, dict[str, Measurement]] = {}
    for one in measured:
        table.setdefault(one.cell, {})[one.method] = one
    return table


def methods_sheet(measured: Sequence[Measurement]) -> Sheet:
    """Everything about every method, for each set of features."""
    n, k = measured[0].cell.n, measured[0].cell.k
    header = ("features", "d", "method", "seconds", "of half a product", "of rra exact", "peak MiB", "recall")
    sheet = Sheet(f"n = {n:,}, k = {k}: medians, and medians of the ratios within a repeat", header, texts=3)
    for cell, row in cells_of(measured).items():
        place = [cell.layer, f"{cell.d:,}"]
        for method, one in row.items():
            name = f"{method} ({one.backend})" if method == AUTO and one.backend else method
            found = ["skipped: " + one.skipped, "", "", "", ""] if one.skipped else figures(one, row)
            sheet.rows.append([*place, name, *found])
            place = ["", ""]
    return sheet


def figures(one: Measurement, row: dict[str, Measurement]) -> list[str]:
    ratios = [
        f"{one.over(row[unit]):.2f}" if unit in row and row[unit].seconds else "" for unit in (HALF_PRODUCT, EXACT)
    ]
    return [seconds_of(one), *ratios, f"{one.peak / 2**20:,.0f}", recall_of(one)]


def sizes_sheet(measured: Sequence[Measurement]) -> Sheet:
    """Seconds of every method by the number of samples."""
    table = dict(sorted(cells_of(measured).items(), key=lambda item: item[0].n))
    first = next(iter(table))
    header = ("method", *(f"n = {cell.n:,}" for cell in table))
    sheet = Sheet(f"{first.layer}, d = {first.d:,}, k = {first.k}: seconds", header)
    for method in next(iter(table.values())):
        row = [cells[method] for cells in table.values()]
        sheet.rows.append([method, *map(seconds_of, row)])
    return sheet


def grid_sheet(measured: Sequence[Measurement]) -> tuple[Sheet, str]:
    """Auto against the best backend that meets MIN_RECALL in each cell, and the verdict over all.

    No ratio where the backend that auto took was not measured by itself: a slower one is no measure of it.
    """
    backends = [name for name in METHODS if name != AUTO and any(one.method == name for one in measured)]
    names = [name.removeprefix("rra ") for name in backends]
    header = ("d", "n", "k")
    header += tuple(column for name in names for column in (f"{name} s", "recall", "reported"))
    header += ("auto s", "recall", "auto took", "of the best")
    title = f"auto against the best backend with a recall of at least {MIN_RECALL}, all compiled before"
    sheet = Sheet(title, header, texts=0)
    ratios: dict[Cell, float] = {}
    for cell, row in cells_of(measured).items():
        auto = row[AUTO]
        good = [row[name] for name in backends if row[name].seconds and meets(row[name])]
        if auto.seconds and good and row[f"rra {auto.backend}"].seconds:
            ratios[cell] = auto.over(min(good, key=lambda one: one.median))
        texts = [f"{cell.d:,}", f"{cell.n:,}", str(cell.k)]
        for name in backends:
            texts += [seconds_of(row[name]), recall_of(row[name]), reported_of(row[name])]
        ratio = f"{ratios[cell]:.2f}" if cell in ratios else ""
        sheet.rows.append([*texts, seconds_of(auto), recall_of(auto), auto.backend or "", ratio])
    return sheet, verdict(measured, ratios)


def verdict(measured: Sequence[Measurement], ratios: dict[Cell, float]) -> str:
    skipped = sum(bool(one.skipped) for one in measured)
    below = sum(one.method == AUTO and bool(one.seconds) and not meets(one) for one in measured)
    tail = f"in {below} cells its recall is below {MIN_RECALL}; {skipped} of {len(measured)} measurements skipped."
    if not ratios:
        return f"No cell has both auto and a backend to compare with; {tail}"
    worst = max(ratios, key=ratios.__getitem__)
    return f"auto at worst {ratios[worst]:.2f} times the best (d = {worst.d:,}, n = {worst.n:,}, k = {worst.k}); {tail}"


def meets(one: Measurement) -> bool:
    """Whether the recall suffices: against the exact graph, or as reported where that was not built."""
    found = one.reported_recall if one.recall is None else one.recall
    return found is not None and found >= MIN_RECALL


def seconds_of(one: Measurement) -> str:
    if one.skipped:
        return "skipped"
    return f"{one.median:.2f}" if one.median >= 1 else f"{one.median:.3f}"


def recall_of(one: Measurement) -> str:
    """Against the exact graph of the same run."""
    return "" if one.recall is None else f"{one.recall:.4f}"


def reported_of(one: Measurement) -> str:
    """What the graph says of itself, with its standard error."""
    error = "" if one.reported_error is None else f" ± {one.reported_error:.4f}"
    return "" if one.reported_recall is None else f"{one.reported_recall:.4f}{error}"
