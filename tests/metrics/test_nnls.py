import numpy as np
import pytest

import rra_monitor as rra
from rra_monitor.metrics import nnls, nnls_matrix, nnls_per_sample
from tests.helpers import similarity
from tests.helpers.graphs import graph_of, listed, random_graph

RNG = np.random.default_rng(7)


pytestmark = pytest.mark.usefixtures("two_threads")


class TestNNLS:
    def test_hand_computed(self):
        # Shared: 2 of 2, 1 of 3, 0 of 4, 1 of 3, 2 of 2.
        a = graph_of([[1, 2], [0, 2], [0, 1], [0, 1], [0, 3]])
        b = graph_of([[2, 1], [0, 3], [3, 4], [0, 2], [3, 0]])
        assert nnls(a, b) == pytest.approx((1 + 1 / 3 + 0 + 1 / 3 + 1) / 5)

    def test_different_shapes_are_refused_with_both_values(self):
        with pytest.raises(ValueError, match=r"n=20, k=3 and n=20, k=4"):
            nnls(random_graph(20, 3, RNG), random_graph(20, 4, RNG))
        with pytest.raises(ValueError, match="empty list"):
            nnls_matrix([])


class TestNNLSMatrix:
    @pytest.mark.parametrize(("la", "lb"), [(3, 3), (2, 70), (130, 1)])
    def test_the_matrix_equals_its_cells_for_any_number_of_layers(self, la, lb):
        graphs_a = [random_graph(20, 4, RNG) for _ in range(la)]
        graphs_b = [random_graph(20, 4, RNG) for _ in range(lb)]
        matrix = nnls_matrix(graphs_a, graphs_b)
        assert matrix.shape == (la, lb)
        for row, a in enumerate(graphs_a):
            for column, b in enumerate(graphs_b):
                cell = np.mean(
                    [len(set(x) & set(y)) / len(set(x) | set(y)) for x, y in zip(a.indices, b.indices, strict=True)]
                )
                assert matrix[row, column] == pytest.approx(cell)

    def test_one_list_gives_a_symmetric_matrix_with_ones(self):
        matrix = nnls_matrix([random_graph(700, 5, RNG) for _ in range(4)])
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-15)
        assert (np.diag(matrix) == 1).all()


class TestNNLSPerSample:
    def test_equals_the_loop_and_has_the_nnls_as_its_mean(self, layers):
        a, b = layers
        found = nnls_per_sample(rra.knn_graph(a, 9), rra.knn_graph(b, 9))
        np.testing.assert_allclose(found, similarity.nnls_per_sample(listed(a, 9), listed(b, 9)))
        assert found.mean() == pytest.approx(nnls(rra.knn_graph(a, 9), rra.knn_graph(b, 9)))

    def test_is_symmetric_and_exactly_one_for_the_same_graph(self, layers):
        a, b = (rra.knn_graph(points, 9) for points in layers)
        np.testing.assert_array_equal(nnls_per_sample(a, b), nnls_per_sample(b, a))
        assert (nnls_per_sample(a, a) == 1).all()

    def test_follows_the_samples_where_they_are_put_in_another_order(self, layers):
        order = RNG.permutation(60)
        moved = nnls_per_sample(*(rra.knn_graph(points[order], 9) for points in layers))
        np.testing.assert_array_equal(moved, nnls_per_sample(*(rra.knn_graph(points, 9) for points in layers))[order])

    def test_the_order_of_neighbours_does_not_matter(self):
        assert (
            nnls_per_sample(graph_of([[1, 2], [2, 0], [0, 1]]), graph_of([[2, 1], [0, 2], [1, 0]])).tolist() == [1] * 3
        )
