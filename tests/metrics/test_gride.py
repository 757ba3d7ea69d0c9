import math

import numpy as np
import pytest

import rra_monitor as rra
from rra_monitor.metrics import gride, twonn
from rra_monitor.metrics._gride import most_likely_dimension
from tests.helpers.loops import log_ratios
from tests.helpers.manifolds import cloud


class TestGride:
    @pytest.mark.parametrize(("near", "far"), [(1, 2), (2, 4), (3, 5), (8, 16)])
    def test_is_the_maximum_of_the_likelihood(self, near, far):
        logs = log_ratios(cloud(80, 4), near, far)

        def likelihood(d):
            # The density of the ratio m: d (m^d - 1)^(far - near - 1) / (B m^((far - 1) d + 1)), constants left out.
            return sum(
                math.log(d) + (far - near - 1) * math.log(math.exp(d * x) - 1) - ((far - 1) * d + 1) * x for x in logs
            )

        best = max(np.linspace(2, 8, 6001), key=likelihood)
        assert most_likely_dimension(np.array(logs), near, far) == pytest.approx(best, abs=2e-3)

    def test_the_standard_error_is_the_curvature_of_the_likelihood(self):
        points = cloud(80, 4)
        logs = log_ratios(points, 4, 8)
        scales = gride(rra.knn_graph(points, 8))

        def likelihood(d):
            return sum(math.log(d) + 3 * math.log(math.exp(d * x) - 1) - 7 * d * x for x in logs)

        best, h = scales.dimensions[2], 1e-3
        curvature = (likelihood(best + h) - 2 * likelihood(best) + likelihood(best - h)) / h**2
        assert scales.standard_errors[2] == pytest.approx(1 / math.sqrt(-curvature), rel=1e-3)

    def test_the_first_scale_is_twonn_and_all_use_the_ks_of_the_graph(self):
        graph = rra.knn_graph(cloud(300, 4), 20)
        scales = gride(graph)
        assert scales.dimensions[0] == pytest.approx(twonn(graph), rel=1e-12)
        assert scales.near.tolist() == [1, 2, 4, 8]
        assert scales.far.tolist() == [2, 4, 8, 16]
        assert scales.radii == pytest.approx(graph.distances[:, [1, 3, 7, 15]].mean(axis=0, dtype=float))

    def test_noise_shows_as_a_dimension_that_falls_with_the_scale(self):
        line = np.linspace(0, 100, 2000)[:, None] * np.ones(8) + 0.02 * cloud(2000, 8)
        dimensions = gride(rra.knn_graph(line, 64)).dimensions
        assert dimensions[0] > 1.3 * dimensions[-1]
        assert dimensions[-1] == pytest.approx(1, rel=0.15)

    def test_ties_at_a_scale_are_its_limit_not_an_error(self):
        # Ratios of 1 among others: the value is that of ratios a hair above 1.
        logs = np.array([0.0, 0.0, 0.2, 0.3, 0.5])
        nudged = np.array([1e-9, 1e-9, 0.2, 0.3, 0.5])
        assert most_likely_dimension(logs, 2, 4) == pytest.approx(most_likely_dimension(nudged, 2, 4), rel=1e-6)


def test_gride_golden_values_but_for_one_sample(golden):
    graph, values = golden
    scales = gride(graph)
    checked = 0
    for source in ("dadapy.return_id_scaling_gride", "skdim.id.GRIDE(multiscale=True)"):
        for scale, (near, far) in enumerate(zip(scales.near, scales.far, strict=True)):
            ratios = graph.distances[:, far - 1] / graph.distances[:, near - 1]
            median, high = np.percentile(ratios, [50, 95])
            if ratios.max() < median + 20 * (high - median):
                ours = scales.dimensions[scale], scales.standard_errors[scale]
                theirs = values[source]["ids"][scale], values[source]["errors"][scale]
                # N - 1 for N in one term moves the root by less than 1 / N.
                assert ours == pytest.approx(theirs, rel=1 / graph.n + 1e-5)
                checked += 1
    assert checked >= 6
