"""Curves of a snapshot over its layers, computed from their graphs."""

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from rra_monitor.graph.knn import KnnGraph
from rra_monitor.metrics import graph_health, nncs, nnls_matrix, twonn, twonn_standard_error

HEALTH = ("ties", "zeros", "recall", "hubness", "checked", "failed")
"""The fields of `GraphHealth` that a snapshot keeps."""


def layer_curves(
    graphs: Mapping[str, KnnGraph], labels: npt.NDArray[np.int64] | None
) -> tuple[dict[str, Any], dict[str, str]]:
    """Everything that is computed from graphs alone.

    Args:
        graphs: layer name to graph, in execution order, of the same n samples and the same k >= 2.
        labels: (n,) classes, or None for unlabelled data.

    Returns:
        The curves by their names in a `Snapshot`; and layer to the reason where its ID is undefined.
    """
    in_order = list(graphs.values())
    dimensions, errors, undefined = [], [], {}
    for layer, graph in graphs.items():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            dimensions.append(twonn(graph))
        if math.isnan(dimensions[-1]):
            undefined[layer] = str(caught[-1].message)
        errors.append(math.nan if layer in undefined else twonn_standard_error(graph))
    health = [graph_health(graph) for graph in in_order]
    curves = {name: np.array([getattr(each, name) for each in health], dtype=float) for name in HEALTH}
    curves |= {"id": np.array(dimensions), "id_error": np.array(errors), "nnls": nnls_matrix(in_order)}
    classes = None if labels is None else np.array([nncs(graph, labels) for graph in in_order])
    return {**curves, "nncs": classes}, undefined
