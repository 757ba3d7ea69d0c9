import math

import numpy as np
import pytest

import rra_monitor as rra
from rra_monitor.metrics import twonn, twonn_standard_error
from tests.helpers.manifolds import cloud, torus


class TestStandardError:
    @pytest.mark.parametrize("method", ["ml", "regression", "censored"])
    def test_standard_error_is_the_spread_over_draws_of_a_known_manifold(self, method):
        graphs = [rra.knn_graph(torus(600, 4, seed), 2) for seed in range(60)]
        spread = np.std([twonn(graph, method=method) for graph in graphs], ddof=1)
        stated = np.mean([twonn_standard_error(graph, method=method, replicates=100) for graph in graphs[:8]])
        # The spread of 60 draws is good to 9 %.
        assert stated == pytest.approx(spread, rel=0.27)

    def test_pairs_of_near_duplicates_are_drawn_together(self):
        points = torus(1000, 5)
        doubled = np.concatenate([points, points[:20] + 1e-6 * cloud(20, 10)])
        graph = rra.knn_graph(doubled, 2)
        # The mean of N logarithms, 40 of them huge and all alike, drawn as 20 pairs: twice the variance of 40 singles.
        logs = np.log(graph.distances[:, 1] / graph.distances[:, 0])
        singles = twonn(graph) ** 2 * logs.std() / math.sqrt(len(logs))
        assert twonn_standard_error(graph, replicates=1000) == pytest.approx(math.sqrt(2) * singles, rel=0.15)

    def test_the_seed_decides_and_global_streams_are_left_alone(self):
        graph = rra.knn_graph(cloud(100, 3), 2)
        np.random.seed(5)
        before = np.random.get_state()[1].copy()
        first, again, other = (twonn_standard_error(graph, seed=seed) for seed in (1, 1, 2))
        assert first == again != other
        assert (np.random.get_state()[1] == before).all()

    def test_one_replicate_has_no_deviation(self):
        with pytest.raises(ValueError, match="replicates=1 must be at least 2"):
            twonn_standard_error(rra.knn_graph(cloud(20, 2), 2), replicates=1)
