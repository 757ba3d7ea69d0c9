import math

import numpy as np
import pytest

import rra_monitor as rra
from rra_monitor.metrics import nncs, nncs_chance, nnls, nnls_chance, nnls_matrix, twonn
from tests.helpers import loops
from tests.helpers.graphs import graph_of

RNG = np.random.default_rng(1)


def random_graph(n, k, rng=RNG):
    others = np.array([rng.choice(np.delete(np.arange(n), i), k, replace=False) for i in range(n)])
    return graph_of(others)


class TestIntrinsicDimension:
    def test_equals_the_maximum_of_the_likelihood(self):
        points = RNG.normal(size=(60, 4))
        assert twonn(rra.knn_graph(points, 2)) == pytest.approx(loops.twonn(points), rel=1e-4)

    @pytest.mark.parametrize("dim", [1, 2, 5])
    def test_finds_the_dimension_of_a_curved_manifold(self, dim):
        # A torus has no border, which would pull the estimate down; 6 % are four standard errors.
        angles = RNG.uniform(0, 2 * math.pi, size=(4000, dim))
        frame, _ = np.linalg.qr(RNG.normal(size=(3 * dim, 2 * dim)))
        torus = np.concatenate([np.cos(angles), np.sin(angles)], axis=1) @ frame.T
        assert twonn(rra.knn_graph(torus, 2)) == pytest.approx(dim, rel=0.06)

    def test_scale_and_rotation_do_not_matter(self):
        points = RNG.normal(size=(500, 6))
        rotation, _ = np.linalg.qr(RNG.normal(size=(6, 6)))
        plain = twonn(rra.knn_graph(points, 2))
        assert twonn(rra.knn_graph(points @ rotation * 37, 2)) == pytest.approx(plain, rel=1e-4)

    def test_samples_with_duplicates_leave_the_estimate(self):
        points = RNG.normal(size=(100, 3))
        with_pair = np.concatenate([points, points[:1]])
        graph = rra.knn_graph(with_pair, 2)
        usable = graph.distances[:, 0] > 0
        assert usable.sum() == 99
        ratios = graph.distances[usable, 1].astype(float) / graph.distances[usable, 0]
        assert twonn(graph) == pytest.approx(99 / np.log(ratios).sum())

    def test_is_nan_with_the_reason_where_all_are_duplicates(self):
        graph = rra.knn_graph(np.repeat(RNG.normal(size=(20, 3)), 2, axis=0), 2)
        with pytest.warns(UserWarning, match="40 of 40 samples have a duplicate"):
            assert math.isnan(twonn(graph))

    def test_is_nan_with_the_reason_where_all_ratios_are_one(self):
        with pytest.warns(UserWarning, match="equally far"):
            assert math.isnan(twonn(rra.knn_graph(np.eye(12), 2)))

    def test_needs_two_neighbours(self):
        with pytest.raises(ValueError, match="k=1"):
            twonn(rra.knn_graph([[0.0], [1.0], [3.0]], 1))


class TestClassSimilarity:
    def test_hand_computed(self):
        graph = graph_of([[1, 2], [0, 2], [3, 0], [2, 1]])
        # Pairs of one class: 0-1, 1-0, 2-3, 3-2.
        assert nncs(graph, [0, 0, 1, 1]) == 0.5

    def test_equals_the_loop_reference(self):
        points, labels = RNG.normal(size=(50, 3)), RNG.integers(0, 4, 50)
        assert nncs(rra.knn_graph(points, 7), labels) == pytest.approx(loops.nncs(points, labels, 7))

    def test_separated_classes_give_one(self):
        labels = np.repeat([0, 1, 2], 20)
        assert nncs(rra.knn_graph(labels[:, None] * 100 + RNG.normal(size=(60, 2)), 19), labels) == 1.0

    @pytest.mark.parametrize("sizes", [(100, 100, 100), (250, 40, 10)])
    def test_random_neighbours_give_the_chance_level(self, sizes):
        labels = np.repeat(np.arange(len(sizes)), sizes)
        values = [nncs(random_graph(len(labels), 2, np.random.default_rng(seed)), labels) for seed in range(40)]
        assert np.mean(values) == pytest.approx(nncs_chance(labels), abs=3 * np.std(values) / math.sqrt(40))

    @pytest.mark.parametrize("labels", [[0, 1], [0.0, 1.0, 2.0, 0.0], None, [[0], [1], [0], [1]]])
    def test_labels_that_do_not_fit_are_refused(self, labels):
        with pytest.raises(ValueError, match="expected integers of shape"):
            nncs(graph_of([[1], [0], [3], [2]]), labels)


class TestLayerSimilarity:
    def test_hand_computed(self):
        # Shared: 2 of 2, 1 of 3, 0 of 4, 1 of 3, 2 of 2.
        a = graph_of([[1, 2], [0, 2], [0, 1], [0, 1], [0, 3]])
        b = graph_of([[2, 1], [0, 3], [3, 4], [0, 2], [3, 0]])
        assert nnls(a, b) == pytest.approx((1 + 1 / 3 + 0 + 1 / 3 + 1) / 5)

    def test_equals_the_loop_reference(self):
        a = RNG.normal(size=(60, 4))
        b = a + RNG.normal(size=a.shape)
        assert nnls(rra.knn_graph(a, 9), rra.knn_graph(b, 9)) == pytest.approx(loops.nnls(a, b, 9))

    @pytest.mark.parametrize(("la", "lb"), [(3, 3), (2, 70), (130, 1)])
    def test_the_matrix_equals_its_cells_for_any_number_of_layers(self, la, lb):
        graphs_a = [random_graph(20, 4) for _ in range(la)]
        graphs_b = [random_graph(20, 4) for _ in range(lb)]
        matrix = nnls_matrix(graphs_a, graphs_b)
        assert matrix.shape == (la, lb)
        for row, a in enumerate(graphs_a):
            for column, b in enumerate(graphs_b):
                cell = np.mean(
                    [len(set(x) & set(y)) / len(set(x) | set(y)) for x, y in zip(a.indices, b.indices, strict=True)]
                )
                assert matrix[row, column] == pytest.approx(cell)

    def test_one_list_gives_a_symmetric_matrix_with_ones(self):
        matrix = nnls_matrix([random_graph(700, 5) for _ in range(4)])
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-15)
        assert (np.diag(matrix) == 1).all()

    @pytest.mark.parametrize(("n", "k"), [(50, 2), (50, 20), (50, 40)])
    def test_random_neighbours_give_the_chance_level(self, n, k):
        values = [
            nnls(
                random_graph(n, k, np.random.default_rng(seed)), random_graph(n, k, np.random.default_rng(1000 + seed))
            )
            for seed in range(60)
        ]
        assert np.mean(values) == pytest.approx(nnls_chance(n, k), abs=3 * np.std(values) / math.sqrt(60))

    def test_chance_equals_the_hypergeometric_sum(self):
        n, k = 30, 7
        terms = (
            math.comb(k, s) * math.comb(n - 1 - k, k - s) / math.comb(n - 1, k) * s / (2 * k - s) for s in range(k + 1)
        )
        assert nnls_chance(n, k) == pytest.approx(sum(terms))

    def test_all_others_as_neighbours_are_always_alike(self):
        assert nnls_chance(10, 9) == 1.0
        assert nnls(random_graph(10, 9), random_graph(10, 9)) == 1.0

    def test_chance_stays_finite_for_many_samples(self):
        assert nnls_chance(1_000_000, 1000) == pytest.approx(1000 / 2e6, rel=0.01)

    def test_different_shapes_are_refused_with_both_values(self):
        with pytest.raises(ValueError, match=r"n=20, k=3 and n=20, k=4"):
            nnls(random_graph(20, 3), random_graph(20, 4))
        with pytest.raises(ValueError, match="empty list"):
            nnls_matrix([])


def test_default_k_is_the_thesis_choice():
    assert [rra.default_k(15_000, 10), rra.default_k(10_000, 10), rra.default_k(30_000, 50), rra.default_k(50, 10)] == [
        150,
        100,
        60,
        2,
    ]
