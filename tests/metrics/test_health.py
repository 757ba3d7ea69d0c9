from itertools import pairwise

import numpy as np
import pytest

import rra_monitor as rra
from rra_monitor.metrics import graph_health, k_occurrence
from tests.helpers import loops, similarity

RNG = np.random.default_rng(6)


def listed(points, k):
    return [[j for j, _ in row] for row in loops.neighbours(points, k)]


class TestKOccurrence:
    def test_equals_the_loop_reference(self):
        points = RNG.normal(size=(60, 8))
        graph, counts = rra.knn_graph(points, 5), similarity.occurrence(listed(points, 5))
        assert k_occurrence(graph).tolist() == counts
        health = graph_health(graph)
        assert health.hubness == pytest.approx(similarity.skewness(counts))
        assert health.largest_hub == max(counts)
        assert health.orphans == counts.count(0) / 60

    def test_follows_the_samples_where_they_are_put_in_another_order(self):
        points, order = RNG.normal(size=(60, 8)), RNG.permutation(60)
        moved, there = rra.knn_graph(points[order], 5), rra.knn_graph(points, 5)
        np.testing.assert_array_equal(k_occurrence(moved), k_occurrence(there)[order])
        assert graph_health(moved).hubness == pytest.approx(graph_health(there).hubness)

    def test_has_k_as_its_mean(self):
        assert k_occurrence(rra.knn_graph(RNG.normal(size=(60, 8)), 5)).mean() == 5

    def test_hubs_come_with_the_dimension(self):
        flat, high = (graph_health(rra.knn_graph(RNG.normal(size=(1000, d)), 10)) for d in (2, 100))
        assert abs(flat.hubness) < 0.6
        assert high.hubness > 2
        assert high.orphans > 0.05 > flat.orphans

    def test_equal_counts_are_not_skewed(self):
        health = graph_health(rra.knn_graph(RNG.normal(size=(9, 2)), 8))
        assert (health.hubness, health.largest_hub, health.orphans) == (0.0, 8, 0.0)

    def test_a_neighbour_that_does_not_exist_is_refused(self):
        graph = rra.KnnGraph(np.array([[1], [0]], np.int32), np.ones((2, 1), np.float32))
        graph.indices[1] = 2  # arrays can be written to after they were checked
        with pytest.raises(ValueError, match="neighbour 0 of sample 1 is 2, expected positions among the 2 samples"):
            graph_health(graph)


class TestGraphHealth:
    def test_counts_ties_and_zeros_as_the_loop_does(self):
        points = RNG.integers(0, 4, size=(50, 3))
        rows = [[distance for _, distance in row] for row in loops.neighbours(points, 6)]
        tied = [b - a <= 1e-5 * b for row in rows for a, b in pairwise(row)]
        graph = rra.knn_graph(points, 6)
        health = graph_health(graph)
        assert health.tied_distances == pytest.approx(np.mean(tied))
        assert health.zero_distances == pytest.approx(np.mean([distance == 0 for row in rows for distance in row]))
        assert (health.ties, health.zeros) == (graph.ties, graph.zeros)

    def test_a_collapsed_layer_has_ties_and_zeros_only(self):
        health = graph_health(rra.knn_graph(np.ones((20, 3)), 4))
        assert (health.ties, health.tied_distances, health.zeros, health.zero_distances) == (1, 1, 1, 1)

    def test_a_healthy_layer_has_no_ties_and_zeros(self):
        health = graph_health(rra.knn_graph(RNG.normal(size=(200, 5)), 4))
        assert (health.zeros, health.zero_distances, health.recall) == (0, 0, 1)
        assert health.tied_distances < 0.01

    def test_one_neighbour_ties_with_nothing(self):
        assert graph_health(rra.knn_graph([[0.0], [1.0], [3.0]], 1)).tied_distances == 0

    def test_recall_is_that_of_the_graph(self):
        graph = rra.knn_graph(RNG.normal(size=(20, 3)), 2)
        assert graph_health(rra.KnnGraph(graph.indices, graph.distances, recall=0.87)).recall == 0.87
