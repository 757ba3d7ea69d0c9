import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import rra_monitor as rra
from rra_monitor.metrics import decimated_twonn, gride, levina_bickel, ratio_histogram, twonn, twonn_standard_error
from rra_monitor.metrics._decimation import covered_fraction
from rra_monitor.metrics._gride import most_likely_dimension
from tests.helpers import ROOT, loops
from tests.helpers.ranks.dimension_ranks import estimates, whole_graph
from tests.metrics.golden.points import POINTS

GOLDEN = json.loads((Path(__file__).parent / "golden" / "intrinsic_dimension.json").read_text())["estimates"]
ESTIMATES = {
    "ml": twonn,
    "regression": lambda graph: twonn(graph, method="regression"),
    "censored": lambda graph: twonn(graph, method="censored"),
    "levina_bickel": levina_bickel,
    "gride": lambda graph: gride(graph).dimensions[-1],
    "standard error": twonn_standard_error,
    "decimated": lambda graph: decimated_twonn(graph, parts=[1]).dimensions[0],
    "histogram": lambda graph: ratio_histogram(graph).dimension,
}
WARNING = [name for name in ESTIMATES if name != "histogram"]


def cloud(n, d, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def torus(n, d, seed=0):
    angles = 2 * math.pi * np.random.default_rng(seed).random((n, d))
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1)


def logs_of(points, near=1, far=2):
    rows = loops.neighbours(points, far)
    return [math.log(row[far - 1][1] / row[near - 1][1]) for row in rows if row[near - 1][1] > 0]


class TestGoldenValues:
    """Of dadapy and scikit-dimension, by tests/metrics/golden/make_golden.py."""

    @pytest.fixture(params=list(POINTS))
    def case(self, request):
        points = POINTS[request.param]()
        return rra.knn_graph(points, 32), GOLDEN[request.param]

    def test_twonn_by_maximum_likelihood_but_for_one_sample(self, case):
        graph, golden = case
        expected = golden["dadapy.compute_id_2NN(algorithm='ml')"] * graph.n / (graph.n - 1)
        assert twonn(graph) == pytest.approx(expected, rel=1e-5)

    def test_twonn_by_regression(self, case):
        graph, golden = case
        for discard in (0.1, 0.3):
            expected = golden[f"dadapy.compute_id_2NN(algorithm='base', mu_fraction={1 - discard})"]
            assert twonn(graph, method="regression", discard=discard) == pytest.approx(expected, rel=1e-5)
        expected = golden["skdim.id.TwoNN(discard_fraction=0.1)"]
        assert twonn(graph, method="regression") == pytest.approx(expected, rel=1e-5)

    def test_censored_twonn_but_for_one_sample(self, case):
        graph, golden = case
        kept = int(graph.n * 0.9)
        expected = golden["skdim.id.TwoNN(discard_fraction=0.1, method='mle')"] * kept / (kept - 1)
        assert twonn(graph, method="censored") == pytest.approx(expected, rel=1e-5)

    def test_levina_bickel(self, case):
        graph, golden = case
        for k, expected in golden["skdim.id.MLE.fit(comb='mle')"].items():
            assert levina_bickel(graph, int(k)) == pytest.approx(expected, rel=1e-5)

    def test_gride_but_for_one_sample_where_they_cut_no_outliers(self, case):
        graph, golden = case
        scales = gride(graph)
        checked = 0
        for source in ("dadapy.return_id_scaling_gride", "skdim.id.GRIDE(multiscale=True)"):
            for scale, (near, far) in enumerate(zip(scales.near, scales.far, strict=True)):
                ratios = graph.distances[:, far - 1] / graph.distances[:, near - 1]
                median, high = np.percentile(ratios, [50, 95])
                if ratios.max() < median + 20 * (high - median):
                    ours = scales.dimensions[scale], scales.standard_errors[scale]
                    theirs = golden[source]["ids"][scale], golden[source]["errors"][scale]
                    # N - 1 for N in one term moves the root by less than 1 / N.
                    assert ours == pytest.approx(theirs, rel=1 / graph.n + 1e-5)
                    checked += 1
        assert checked >= 6


class TestTwoNN:
    def test_regression_is_the_least_squares_slope_through_the_origin(self):
        points = cloud(70, 4)
        logs = sorted(logs_of(points))
        kept = math.floor(70 * 0.8)
        xs, ys = logs[:kept], [-math.log(1 - (i + 1) / 70) for i in range(kept)]
        slope = np.linalg.lstsq(np.array(xs)[:, None], np.array(ys), rcond=None)[0][0]
        found = twonn(rra.knn_graph(points, 2), method="regression", discard=0.2)
        assert found == pytest.approx(slope, rel=1e-4)

    def test_censored_is_the_maximum_of_the_censored_likelihood(self):
        points = cloud(70, 4)
        logs = sorted(logs_of(points))
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


class TestUndefined:
    @pytest.mark.parametrize("name", WARNING)
    def test_is_nan_with_the_reason_where_all_are_duplicates(self, name):
        graph = rra.knn_graph(np.repeat(cloud(10, 3), 3, axis=0), 2)
        with pytest.warns(UserWarning, match="30 of 30 samples have a duplicate, 0 remain"):
            assert math.isnan(ESTIMATES[name](graph))

    @pytest.mark.parametrize("name", WARNING)
    def test_is_nan_with_the_reason_where_all_ratios_are_one(self, name):
        with pytest.warns(UserWarning, match="all 12 samples are equally far from their"):
            assert math.isnan(ESTIMATES[name](rra.knn_graph(np.eye(12), 2)))

    @pytest.mark.parametrize("name", list(ESTIMATES))
    def test_needs_two_neighbours(self, name):
        with pytest.raises(ValueError, match=r"k=1\b|k=1 must lie"):
            ESTIMATES[name](rra.knn_graph([[0.0], [1.0], [3.0]], 1))

    @pytest.mark.parametrize("name", list(ESTIMATES))
    def test_one_ranks_share_of_a_graph_is_refused(self, name):
        graph = rra.knn_graph(cloud(20, 2), 4)
        with pytest.raises(ValueError, match="holds 10 of 20 samples"):
            ESTIMATES[name](rra.KnnGraph(graph.indices[:10], graph.distances[:10], total=20))


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


class TestGride:
    @pytest.mark.parametrize(("near", "far"), [(1, 2), (2, 4), (3, 5), (8, 16)])
    def test_is_the_maximum_of_the_likelihood(self, near, far):
        logs = logs_of(cloud(80, 4), near, far)

        def likelihood(d):
            # The density of the ratio m: d (m^d - 1)^(far - near - 1) / (B m^((far - 1) d + 1)), constants left out.
            return sum(
                math.log(d) + (far - near - 1) * math.log(math.exp(d * x) - 1) - ((far - 1) * d + 1) * x for x in logs
            )

        best = max(np.linspace(2, 8, 6001), key=likelihood)
        assert most_likely_dimension(np.array(logs), near, far) == pytest.approx(best, abs=2e-3)

    def test_the_standard_error_is_the_curvature_of_the_likelihood(self):
        points = cloud(80, 4)
        logs = logs_of(points, 4, 8)
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


class TestStandardError:
    @pytest.mark.parametrize("method", ["ml", "regression", "censored"])
    def test_is_what_draws_of_a_known_manifold_spread_by(self, method):
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


class TestRatioHistogram:
    def test_counts_every_ratio_once(self):
        points = cloud(80, 3)
        found = ratio_histogram(rra.knn_graph(points, 2), bins=4, upper=1.4)
        expected = [0] * 4
        beyond = 0
        for log in logs_of(points):
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


def test_over_the_ranks_of_a_group_each_gets_the_value_of_the_whole_graph(tmp_path):
    script = ROOT / "tests" / "helpers" / "ranks" / "dimension_ranks.py"
    processes = [
        subprocess.Popen([sys.executable, script, str(rank), tmp_path], stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=900)[1] for process in processes]
    for process, error in zip(processes, errors, strict=True):
        assert process.returncode == 0, error
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first == second
    for name, expected in estimates(whole_graph()).items():
        assert first[name] == pytest.approx(expected, rel=1e-7)
