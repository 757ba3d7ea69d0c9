import numpy as np
import pytest

import rra_monitor as rra
from rra_monitor.metrics import nncs, nncs_by_class, nncs_ceiling, nncs_chance, nncs_per_sample
from tests.helpers import similarity
from tests.helpers.graphs import listed

RNG = np.random.default_rng(5)


class TestNNCSByClass:
    def test_the_matrix_equals_the_loop_reference(self, classes):
        points, labels, graph = classes
        found = nncs_by_class(graph, labels)
        shares = similarity.class_shares(listed(points, 7), labels.tolist())
        assert found.classes.tolist() == [-3, 7, 9]
        assert found.sizes.tolist() == [40, 15, 5]
        for row, a in enumerate(found.classes.tolist()):
            for column, b in enumerate(found.classes.tolist()):
                assert found.matrix[row, column] == pytest.approx(shares[a, b])
        np.testing.assert_allclose(found.matrix.sum(axis=1), 1)

    def test_micro_is_the_nncs_and_macro_the_mean_over_classes(self, classes):
        _, labels, graph = classes
        found, each = nncs_by_class(graph, labels), nncs_per_sample(graph, labels)
        by_class = [each[labels == name].mean() for name in (-3, 7, 9)]
        np.testing.assert_allclose(found.per_class.value, by_class)
        assert found.micro.value == pytest.approx(nncs(graph, labels))
        assert found.macro.value == pytest.approx(np.mean(by_class))

    def test_levels_are_those_of_the_functions(self, classes):
        _, labels, graph = classes
        found = nncs_by_class(graph, labels)
        assert found.micro.chance == pytest.approx(nncs_chance(labels))
        assert found.micro.ceiling == pytest.approx(nncs_ceiling(labels, 7))
        np.testing.assert_allclose(found.per_class.chance, [39 / 59, 14 / 59, 4 / 59])
        np.testing.assert_allclose(found.per_class.ceiling, [1, 1, 4 / 7])
        assert found.macro.ceiling == pytest.approx((2 + 4 / 7) / 3)
        assert found.macro.adjusted == pytest.approx(
            (found.macro.value - found.macro.chance) / (found.macro.ceiling - found.macro.chance)
        )
        np.testing.assert_allclose(found.matrix_chance.sum(axis=1), 1)

    def test_separated_classes_reach_the_ceiling_at_any_size(self):
        labels = RNG.permutation(np.repeat([0, 1, 2], [30, 8, 4]))
        found = nncs_by_class(rra.knn_graph(labels[:, None] * 100 + RNG.normal(size=(42, 2)), 10), labels)
        assert found.micro.value == pytest.approx(found.micro.ceiling)
        assert found.micro.value == pytest.approx((30 + 8 * 7 / 10 + 4 * 3 / 10) / 42)
        np.testing.assert_allclose([found.micro.adjusted, found.macro.adjusted, *found.per_class.adjusted], 1)
