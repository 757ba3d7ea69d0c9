import math

import numpy as np
import pytest

import rra_monitor as rra
from rra_monitor.metrics import decimated_twonn, twonn
from rra_monitor.metrics._decimation import covered_fraction
from tests.helpers.manifolds import cloud, torus


class TestDecimation:
    @pytest.mark.parametrize("method", ["ml", "censored"])
    def test_equals_graphs_of_the_parts_where_all_samples_are_covered(self, method):
        points = cloud(240, 3)
        found = decimated_twonn(rra.knn_graph(points, 239), parts=[1, 3, 5], method=method, seed=7)
        assert found.covered.tolist() == [1, 1, 1]
        assert found.samples.tolist() == [240, 80, 48]
        order = np.random.default_rng(7).permutation(240)
        for position, number in enumerate([1, 3, 5]):
            members = [[i for place, i in enumerate(order) if place % number == part] for part in range(number)]
            values = [twonn(rra.knn_graph(points[rows], 2), method=method) for rows in members]
            assert found.dimensions[position] == pytest.approx(np.mean(values), rel=1e-5)
            if number > 1:
                assert found.spreads[position] == pytest.approx(np.std(values, ddof=1), rel=1e-4)
        assert math.isnan(found.spreads[0])

    def test_samples_out_of_reach_leave_no_bias_on_a_constant_density(self):
        points = torus(6000, 3)
        wide = decimated_twonn(rra.knn_graph(points, 60), parts=[4])
        narrow = decimated_twonn(rra.knn_graph(points, 10), parts=[4], least_covered=0.7)
        assert narrow.covered[0] == pytest.approx(covered_fraction(10, 4), abs=0.02)
        assert narrow.covered[0] < 0.8
        assert narrow.dimensions[0] == pytest.approx(wide.dimensions[0], rel=0.04)

    def test_the_ratio_is_pareto_whatever_the_reach(self):
        # Volumes of a constant density: running sums of exponential draws. Without a limit the mean logarithm is 1.
        rng = np.random.default_rng(0)
        volumes = rng.exponential(size=(40_000, 10)).cumsum(axis=1)
        own = rng.random(volumes.shape) < 1 / 5
        logs = [math.log(row[mine][1] / row[mine][0]) for row, mine in zip(volumes, own, strict=True) if sum(mine) > 1]
        assert len(logs) / 40_000 == pytest.approx(covered_fraction(10, 5), abs=0.01)
        assert np.mean(logs) == pytest.approx(1, abs=0.02)
        assert np.std(logs) == pytest.approx(1, abs=0.03)

    def test_reaches_as_far_as_the_graph_by_itself_and_says_where_it_ends(self):
        graph = rra.knn_graph(cloud(2000, 4), 20)
        assert decimated_twonn(graph).parts.tolist() == [1, 2, 4]
        with pytest.warns(UserWarning, match=r"n / 16 is out of reach of k=20: 3\d% of the samples"):
            beyond = decimated_twonn(graph, parts=[2, 16])
        assert np.isnan(beyond.dimensions).tolist() == [False, True]

    @pytest.mark.parametrize("parts", [[], [0], [1, 40]])
    def test_numbers_of_parts_without_sense_are_refused(self, parts):
        with pytest.raises(ValueError, match="must each lie in 1 to 33"):
            decimated_twonn(rra.knn_graph(cloud(100, 2), 5), parts=parts)
