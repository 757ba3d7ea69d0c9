import math

import numpy as np
import pytest

import rra_monitor as rra
from rra_monitor.metrics import ratio_histogram, twonn
from tests.helpers.loops import log_ratios
from tests.helpers.manifolds import cloud, torus


class TestRatioHistogram:
    def test_counts_every_ratio_once(self):
        points = cloud(80, 3)
        found = ratio_histogram(rra.knn_graph(points, 2), bins=4, upper=1.4)
        expected = [0] * 4
        beyond = 0
        for log in log_ratios(points):
            position = int((math.exp(log) - 1) / 0.1)
            if position < 4:
                expected[position] += 1
            else:
                beyond += 1
        assert found.counts.tolist() == expected
        assert found.beyond == beyond
        assert found.dimension == pytest.approx(twonn(rra.knn_graph(points, 2)))

    def test_a_manifold_of_constant_density_follows_the_pareto_density(self):
        found = ratio_histogram(rra.knn_graph(torus(8000, 6), 2), bins=10, upper=2.0)
        width = 0.1
        errors = np.sqrt(found.pareto / 8000 / width)
        assert (abs(found.density - found.pareto) < 4 * errors).all()

    def test_densities_are_shares_of_all_ratios(self):
        found = ratio_histogram(rra.knn_graph(cloud(300, 3), 2), bins=7, upper=1.6)
        inside = found.counts.sum() / 300
        assert (found.density * np.diff(found.edges)).sum() == pytest.approx(inside)
        assert (found.pareto * np.diff(found.edges)).sum() == pytest.approx(1 - 1.6**-found.dimension)

    @pytest.mark.parametrize(("bins", "upper"), [(0, 2.0), (5, 1.0), (5, math.nan)])
    def test_bins_without_sense_are_refused(self, bins, upper):
        with pytest.raises(ValueError, match=f"bins={bins} must be at least 1 and upper={upper}"):
            ratio_histogram(rra.knn_graph(cloud(20, 2), 2), bins=bins, upper=upper)
