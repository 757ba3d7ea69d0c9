"""The remedies that texts about metrics name, each of them followed."""

import numpy as np
import pytest

from rra_monitor import KnnGraph, knn_graph, metrics
from tests.helpers.remedies import Remedy

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(40, 6))
GRAPH, OTHER, ONE = knn_graph(POINTS, 5), knn_graph(POINTS[:, :3], 5), knn_graph(POINTS, 1)
CLASSES = np.arange(40) % 4
MATRIX = metrics.nnls_matrix([GRAPH, OTHER])


def written_to(indices):
    """A graph whose neighbours were changed after it was checked."""
    graph = KnnGraph(np.array([[1], [0], [3], [2]], np.int32), np.ones((4, 1), np.float32))
    graph.indices[:] = indices
    return graph


REMEDIES = [
    Remedy(
        "build them alike",
        lambda: metrics.nnls(GRAPH, knn_graph(POINTS, 6)),
        lambda: metrics.nnls(GRAPH, knn_graph(POINTS, 5)),
    ),
    Remedy(
        "give positions in the graph, not ids in the data set",
        lambda: metrics.nncs(written_to([[700], [600], [800], [500]]), [0, 0, 1, 1]),
        lambda: metrics.nncs(written_to([[2], [3], [0], [1]]), [0, 0, 1, 1]),
    ),
    Remedy(
        "for targets that are no classes give an agreement function",
        lambda: metrics.nncs(GRAPH, POINTS),
        lambda: metrics.nncs(GRAPH, POINTS, agreement=lambda a, b: (a > 0).all(-1) == (b > 0).all(-1)),
    ),
    Remedy(
        "it gets two arrays (m, k, …) and must return (m, k): True or False, or degrees of agreement in 0 to 1",
        lambda: metrics.nncs(GRAPH, POINTS, agreement=lambda a, b: a - b),
        lambda: metrics.nncs(GRAPH, POINTS, agreement=lambda a, b: (a[..., 0] > 0) == (b[..., 0] > 0)),
        lambda: metrics.nncs(GRAPH, POINTS, agreement=lambda a, b: np.exp(-np.abs(a - b).sum(-1))),
    ),
    Remedy(
        "pass the same samples",
        lambda: metrics.linear_cka(POINTS, POINTS[:30]),
        lambda: metrics.linear_cka(POINTS, POINTS[:, :3]),
    ),
    Remedy(
        "take more, or unbiased=False",
        lambda: metrics.linear_cka(POINTS[:3], POINTS[:3, :2], unbiased=True),
        lambda: metrics.linear_cka(POINTS[:4], POINTS[:4, :2], unbiased=True),
        lambda: metrics.linear_cka(POINTS[:3], POINTS[:3, :2], unbiased=False),
    ),
    Remedy(
        "the ID needs two neighbours per sample, the graph has k={}; build it with k >= 2",
        lambda: metrics.decimated_twonn(ONE),
        lambda: metrics.decimated_twonn(knn_graph(POINTS, 2)),
    ),
    Remedy(
        "expected several whole numbers, as in (1, 2, 4)",
        lambda: metrics.decimated_twonn(GRAPH, parts=2),
        lambda: metrics.decimated_twonn(knn_graph(POINTS, 39), parts=(1, 2, 4)),
    ),
    Remedy(
        "the ID needs {} neighbours per sample, the graph has k={}; build it with k >= {}",
        lambda: metrics.twonn(ONE),
        lambda: metrics.twonn(knn_graph(POINTS, 2)),
    ),
    Remedy(
        "must be at least 2, better 200",
        lambda: metrics.twonn_standard_error(GRAPH, replicates=1),
        lambda: metrics.twonn_standard_error(GRAPH, replicates=2),
        lambda: metrics.twonn_standard_error(GRAPH, replicates=200),
    ),
    Remedy(
        "expected one shape (l_p, l_q) with cells of the same layers; pick the rows and columns of the layers that "
        "both have",
        lambda: metrics.nnls_divergence(MATRIX, MATRIX[:1, :1]),
        lambda: metrics.nnls_divergence(MATRIX[:1, :1], MATRIX[:1, :1]),
    ),
    Remedy(
        "leave out the layers without a value, and pass values as `nnls_matrix` gives them, not adjusted ones",
        lambda: metrics.nnls_divergence(metrics.adjusted(MATRIX - 0.9, 0.5), MATRIX),
        lambda: metrics.nnls_divergence(metrics.nnls_matrix([OTHER, GRAPH]), MATRIX),
    ),
]


@pytest.mark.parametrize("remedy", REMEDIES, ids=str)
def test_metrics_remedy_is_followed(remedy):
    remedy.check()
