"""What every way to a graph is compared with: a loop in double precision."""

import numpy as np

from rra_monitor.graph import KnnGraph


def truth(points, k):
    """The graph by a double-precision loop, equal distances in float32 by index."""
    points = points.astype(np.float64)
    indices = np.empty((len(points), k), np.int32)
    distances = np.empty((len(points), k), np.float32)
    for i in range(len(points)):
        row = np.sqrt(((points - points[i]) ** 2).sum(axis=1)).astype(np.float32)
        row[i] = np.inf
        indices[i] = np.argsort(row, kind="stable")[:k]
        distances[i] = row[indices[i]]
    return KnnGraph(indices, distances)


def assert_same_but_for_ties(graph, expected):
    np.testing.assert_allclose(graph.distances, expected.distances, rtol=2e-6, atol=0)
    for i in (np.sort(graph.indices) != np.sort(expected.indices)).any(axis=1).nonzero()[0]:
        # The last distance is tied, and those that differ are at it.
        last = expected.distances[i, -1]
        for found in (graph, expected):
            differ = ~np.isin(found.indices[i], np.intersect1d(graph.indices[i], expected.indices[i]))
            np.testing.assert_allclose(found.distances[i, differ], last, rtol=1e-5)
