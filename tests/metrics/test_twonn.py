import math

import numpy as np
import pytest

import rra_monitor as rra
from rra_monitor.metrics import twonn
from tests.helpers import loops
from tests.helpers.loops import log_ratios
from tests.helpers.manifolds import cloud, torus

RNG = np.random.default_rng(1)


class TestTwoNN:
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

    def test_regression_is_the_least_squares_slope_through_the_origin(self):
        points = cloud(70, 4)
        logs = sorted(log_ratios(points))
        kept = math.floor(70 * 0.8)
        xs, ys = logs[:kept], [-math.log(1 - (i + 1) / 70) for i in range(kept)]
        slope = np.linalg.lstsq(np.array(xs)[:, None], np.array(ys), rcond=None)[0][0]
        found = twonn(rra.knn_graph(points, 2), method="regression", discard=0.2)
        assert found == pytest.approx(slope, rel=1e-4)

    def test_censored_is_the_maximum_of_the_censored_likelihood(self):
        points = cloud(70, 4)
        logs = sorted(log_ratios(points))
        kept = math.floor(70 * 0.8)

        def likelihood(rate):
            seen = sum(math.log(rate) - rate * x for x in logs[:kept])
            return seen - rate * logs[kept - 1] * (70 - kept)

        best = max(np.linspace(1, 10, 9001), key=likelihood)
        assert twonn(rra.knn_graph(points, 2), method="censored", discard=0.2) == pytest.approx(best, abs=2e-3)

    @pytest.mark.parametrize("method", ["regression", "censored"])
    def test_near_duplicates_do_not_pull_a_robust_fit_down(self, method):
        points = torus(2000, 5)
        doubled = np.concatenate([points, points[:40] + 1e-6 * cloud(40, 10)])
        clean, soiled = rra.knn_graph(points, 2), rra.knn_graph(doubled, 2)
        assert twonn(soiled) < 0.7 * twonn(clean)
        assert twonn(soiled, method=method) == pytest.approx(twonn(clean, method=method), rel=0.1)

    def test_without_a_discarded_share_the_regression_leaves_out_the_last_which_has_no_height(self):
        graph = rra.knn_graph(cloud(100, 3), 2)
        value = twonn(graph, method="regression", discard=0)
        assert value == twonn(graph, method="regression", discard=0.005)
        assert value > 0

    @pytest.mark.parametrize("method", ["ml", "regression", "censored"])
    def test_samples_with_duplicates_leave_the_estimate(self, method):
        points = cloud(100, 3)
        graph = rra.knn_graph(np.concatenate([points, points[:1]]), 2)
        usable = graph.distances[:, 0] > 0
        assert usable.sum() == 99
        around = (np.arange(99)[:, None] + [1, 2]) % 99  # the ID does not depend on who the neighbours are
        rest = rra.KnnGraph(around, graph.distances[usable])
        assert twonn(graph, method=method) == twonn(rest, method=method)

    @pytest.mark.parametrize(("method", "discard"), [("mle", 0.1), ("ml", 1.0), ("censored", -0.1)])
    def test_what_is_no_method_or_no_share_is_refused_with_its_value(self, method, discard):
        with pytest.raises(ValueError, match=r"method='mle' is none of|discard=(1.0|-0.1) must lie"):
            twonn(rra.knn_graph(cloud(20, 2), 2), method=method, discard=discard)


class TestGoldenValues:
    def test_twonn_by_maximum_likelihood_but_for_one_sample(self, golden):
        graph, values = golden
        expected = values["dadapy.compute_id_2NN(algorithm='ml')"] * graph.n / (graph.n - 1)
        assert twonn(graph) == pytest.approx(expected, rel=1e-5)

    def test_twonn_by_regression(self, golden):
        graph, values = golden
        for discard in (0.1, 0.3):
            expected = values[f"dadapy.compute_id_2NN(algorithm='base', mu_fraction={1 - discard})"]
            assert twonn(graph, method="regression", discard=discard) == pytest.approx(expected, rel=1e-5)
        expected = values["skdim.id.TwoNN(discard_fraction=0.1)"]
        assert twonn(graph, method="regression") == pytest.approx(expected, rel=1e-5)

    def test_censored_twonn_but_for_one_sample(self, golden):
        graph, values = golden
        kept = int(graph.n * 0.9)
        expected = values["skdim.id.TwoNN(discard_fraction=0.1, method='mle')"] * kept / (kept - 1)
        assert twonn(graph, method="censored") == pytest.approx(expected, rel=1e-5)
