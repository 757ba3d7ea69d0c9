"""Graphs made by hand and by loops."""

import numpy as np

import rra_monitor as rra
from tests.helpers import loops


class NoGroup:
    """In place of a process group that is not asked for."""


def graph_of(indices):
    """A graph with given neighbours; distances do not matter."""
    array = np.array(indices, dtype=np.int32)
    return rra.KnnGraph(array, np.ones(array.shape, np.float32))


def first_rows(graph, rows):
    """The shard of a graph that a first rank would hold."""
    return rra.ShardedGraph(graph.indices[:rows], graph.distances[:rows], 0, graph.n, NoGroup)


def listed(points, k):
    """The k nearest neighbours of each point, by a loop."""
    return [[j for j, _ in row] for row in loops.neighbours(points, k)]


def random_graph(n, k, rng):
    """A graph whose neighbours are drawn."""
    return graph_of([rng.choice(np.delete(np.arange(n), i), k, replace=False) for i in range(n)])
