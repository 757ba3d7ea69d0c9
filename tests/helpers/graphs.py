"""Graphs made by hand and by loops."""

import numpy as np

import rra_monitor as rra
from tests.helpers import loops


def graph_of(indices):
    """A graph with given neighbours; distances do not matter."""
    array = np.array(indices, dtype=np.int32)
    return rra.KnnGraph(array, np.ones(array.shape, np.float32))


def listed(points, k):
    """The k nearest neighbours of each point, by a loop."""
    return [[j for j, _ in row] for row in loops.neighbours(points, k)]


def random_graph(n, k, rng):
    """A graph whose neighbours are drawn."""
    return graph_of([rng.choice(np.delete(np.arange(n), i), k, replace=False) for i in range(n)])
