import math

import numpy as np
import pytest

import rra_monitor as rra
from rra_monitor.metrics import nnls_per_sample, turnover, turnovers
from tests.helpers import similarity
from tests.helpers.graphs import listed


class TestTurnover:
    def test_equals_differences_of_sets_of_pairs(self, layers):
        before, after = (similarity.pairs(listed(points, 9)) for points in layers)
        found = turnover(*(rra.knn_graph(points, 9) for points in layers))
        for pairs, expected in [
            (found.born_pairs, after - before),
            (found.died_pairs, before - after),
            (found.stayed_pairs, before & after),
        ]:
            assert len(pairs) == len(expected)
            assert {tuple(pair) for pair in pairs.tolist()} == expected
        assert found.changed_share == pytest.approx(len(after - before) / 540)
        assert found.stayed_share == pytest.approx(len(before & after) / 540)
        for i in range(60):
            assert found.changed[i] == sum(a == i for a, _ in after - before) == sum(a == i for a, _ in before - after)
            assert found.stayed[i] == sum(a == i for a, _ in before & after)
            assert found.gained[i] == sum(b == i for _, b in after - before)
            assert found.lost[i] == sum(b == i for _, b in before - after)

    def test_backwards_births_are_deaths(self, layers):
        a, b = (rra.knn_graph(points, 9) for points in layers)
        there, back = turnover(a, b), turnover(b, a)
        np.testing.assert_array_equal(there.born_pairs, back.died_pairs)
        np.testing.assert_array_equal(there.gained, back.lost)

    def test_nothing_happens_between_a_graph_and_itself(self, layers):
        graph = rra.knn_graph(layers[0], 9)
        found = turnover(graph, graph)
        assert (found.changed_share, found.stayed_share, len(found.born_pairs), len(found.stayed_pairs)) == (
            0,
            1,
            0,
            540,
        )
        assert found.gained.tolist() == found.lost.tolist() == [0] * 60

    def test_agrees_with_the_nnls(self, layers):
        a, b = (rra.knn_graph(points, 9) for points in layers)
        stayed = turnover(a, b).stayed
        np.testing.assert_allclose(nnls_per_sample(a, b), stayed / (18 - stayed))

    def test_unrelated_features_keep_the_stated_share(self):
        rng = np.random.default_rng(2)
        shares = [
            turnover(*(rra.knn_graph(rng.normal(size=(100, 5)), 4) for _ in "ab")).stayed_share for _ in range(50)
        ]
        assert abs(np.mean(shares) - 4 / 99) < 3 * np.std(shares, ddof=1) / math.sqrt(50)

    def test_turnovers_are_between_each_two_graphs_of_a_sequence(self, layers):
        graphs = [rra.knn_graph(points, 9) for points in (*layers, layers[0])]
        found = turnovers(graphs)
        assert [(t.before, t.after) for t in found] == [(graphs[0], graphs[1]), (graphs[1], graphs[2])]
        with pytest.raises(ValueError, match="at least two graphs to compare, got 1"):
            turnovers(graphs[:1])
