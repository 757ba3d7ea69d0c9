"""A comparison of groups of runs as plain values for the page.

It is {"moment": int or "last", "groups": [{"name", "probe", "runs": int}, …], "notes": [str, …], "pairs": [pair, …]}
and a pair is {"a": str, "b": str, "rows": [str, …], "columns": [str, …], "count": int, "chance": x,
"refused": {symbol: reason}, "mean": array (rows, columns), "same_mean": array (rows), "same_sd": array (rows)}. The
mean is over all ordered pairs of runs, `same` that of each layer with the layer of the same name. The three are null
where NNLS is refused. Only full views are shown: pooled views have no place on an axis of layers. Arrays are those of
`payload`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rra_monitor.capture.names import FULL, displayed, split_view
from rra_monitor.compare.comparability import symbols
from rra_monitor.compare.comparison import Comparison
from rra_monitor.compare.pairs import Pairs
from rra_monitor.compare.statistics import mean
from rra_monitor.page.payload import floats, fractions


def comparison_payload(comparison: Comparison) -> dict[str, Any]:
    """A comparison as plain values."""
    return {
        "moment": comparison.moment,
        "groups": [
            {"name": group.name, "probe": group.probe, "runs": len(group.runs)} for group in comparison.groups.values()
        ],
        "notes": list(comparison.notes),
        "pairs": [
            _pairs(pairs, symbols(comparison.groups.values()))
            for (a, b), pairs in comparison.pairs.items()
            if a != b or len(comparison.groups[a].runs) > 1  # of one run alone the notes speak
        ],
    }


def _pairs(pairs: Pairs, shown: Mapping[str, str]) -> dict[str, Any]:
    layers_a, layers_b = displayed(pairs.layers_a), displayed(pairs.layers_b)
    rows, columns = _full(layers_a), _full(layers_b)
    about = {
        "a": pairs.a,
        "b": pairs.b,
        "rows": [layers_a[row] for row in rows],
        "columns": [layers_b[column] for column in columns],
        "count": len(pairs.runs),
        "chance": pairs.chance,
        "refused": {shown.get(name, name): reason for name, reason in pairs.refused.items()},
    }
    if not pairs.comparable or not len(pairs.runs):
        return about | {"mean": None, "same_mean": None, "same_sd": None}
    return about | {
        "mean": fractions(pairs.mean()[np.ix_(rows, columns)]),
        "same_mean": floats(mean(pairs.same_layer())[rows]),
        "same_sd": floats(pairs.same_layer_deviation()[rows]),
    }


def _full(layers: Sequence[str]) -> list[int]:
    return [place for place, layer in enumerate(layers) if split_view(layer)[1] == FULL]
