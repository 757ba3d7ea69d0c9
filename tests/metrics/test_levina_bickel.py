import math

import pytest

import rra_monitor as rra
from rra_monitor.metrics import levina_bickel, twonn
from tests.helpers import loops
from tests.helpers.manifolds import cloud


class TestLevinaBickel:
    def test_averages_the_inverses_of_the_samples_estimates(self):
        points = cloud(60, 4)
        rows = loops.neighbours(points, 9)
        inverses = [sum(math.log(row[8][1] / row[j][1]) for j in range(8)) / 8 for row in rows]
        assert levina_bickel(rra.knn_graph(points, 12), k=9) == pytest.approx(60 / sum(inverses), rel=1e-4)

    def test_at_two_neighbours_it_is_twonn(self):
        graph = rra.knn_graph(cloud(200, 4), 7)
        assert levina_bickel(graph, k=2) == pytest.approx(twonn(graph), rel=1e-12)

    @pytest.mark.parametrize("k", [1, 8])
    def test_a_k_beyond_the_graph_is_refused(self, k):
        with pytest.raises(ValueError, match=f"k={k} must lie in 2 to 7"):
            levina_bickel(rra.knn_graph(cloud(50, 3), 7), k=k)


def test_levina_bickel_golden_values(golden):
    graph, values = golden
    for k, expected in values["skdim.id.MLE.fit(comb='mle')"].items():
        assert levina_bickel(graph, int(k)) == pytest.approx(expected, rel=1e-5)
