import math

import numpy as np
import pytest

import rra_monitor as rra
from rra_monitor.metrics import _chance, adjusted, nncs, nncs_by_class, nncs_ceiling, nncs_chance, nnls, nnls_chance
from tests.helpers.agreements import half, near
from tests.helpers.graphs import random_graph

RNG = np.random.default_rng(7)


class TestNNCSChance:
    """Random features: the mean of many draws lies within three standard errors of the stated chance."""

    @pytest.mark.parametrize("k", [2, 10])
    @pytest.mark.parametrize("sizes", [(60, 60, 60), (150, 25, 5)], ids=["balanced", "imbalanced"])
    def test_features_without_class_information_give_chance_and_adjusted_values_near_zero(self, sizes, k):
        rng = np.random.default_rng(0)
        labels = np.repeat(np.arange(len(sizes)), sizes)
        draws = [nncs_by_class(rra.knn_graph(rng.normal(size=(len(labels), 8)), k), labels) for _ in range(100)]
        first = draws[0]
        for values, chance in [
            ([draw.micro.value for draw in draws], nncs_chance(labels)),
            ([draw.macro.value for draw in draws], first.macro.chance),
            ([draw.micro.adjusted for draw in draws], 0),
            ([draw.macro.adjusted for draw in draws], 0),
        ]:
            assert abs(np.mean(values) - chance) < 3 * np.std(values, ddof=1) / math.sqrt(len(draws))
        each = np.array([draw.matrix for draw in draws])
        errors = each.std(axis=0, ddof=1) / math.sqrt(len(draws))
        assert (abs(each.mean(axis=0) - first.matrix_chance) < 3.5 * errors).all()  # nine cells at once
        assert abs(np.mean([draw.micro.adjusted for draw in draws])) < 0.02

    @pytest.mark.parametrize("agreement", [half, near])
    def test_chance_holds_for_agreement_functions(self, agreement):
        rng = np.random.default_rng(1)
        targets = rng.exponential(size=100)
        values = [nncs(rra.knn_graph(rng.normal(size=(100, 8)), 2), targets, agreement=agreement) for _ in range(60)]
        chance = nncs_chance(targets, agreement)
        assert abs(np.mean(values) - chance) < 3 * np.std(values, ddof=1) / math.sqrt(60)
        assert abs(adjusted(np.mean(values), chance, nncs_ceiling(targets, 2, agreement))) < 0.03

    def test_chance_and_ceiling_need_two_samples_and_a_possible_k(self):
        with pytest.raises(ValueError, match="at least 2 samples, got 1"):
            nncs_chance([3])
        with pytest.raises(ValueError, match="k=4 must lie in 1 to n-1=3"):
            nncs_ceiling([0, 0, 1, 1], 4)


class TestNNLSChance:
    def test_chance_equals_the_hypergeometric_sum(self):
        n, k = 30, 7
        terms = (
            math.comb(k, s) * math.comb(n - 1 - k, k - s) / math.comb(n - 1, k) * s / (2 * k - s) for s in range(k + 1)
        )
        assert nnls_chance(n, k) == pytest.approx(sum(terms))

    def test_all_others_as_neighbours_are_always_alike(self):
        assert nnls_chance(10, 9) == 1.0
        assert nnls(random_graph(10, 9, RNG), random_graph(10, 9, RNG)) == 1.0

    def test_chance_stays_finite_for_many_samples(self):
        assert nnls_chance(1_000_000, 1000) == pytest.approx(1000 / 2e6, rel=0.01)

    @pytest.mark.parametrize(("n", "k", "largest"), [(200, 2, 0.02), (200, 20, 0.02), (50, 40, 0.1)])
    def test_unrelated_features_give_chance_and_adjusted_values_near_zero(self, n, k, largest):
        rng = np.random.default_rng(0)
        values = [nnls(*(rra.knn_graph(rng.normal(size=(n, d)), k) for d in (3, 12))) for _ in range(100)]
        error = np.std(values, ddof=1) / math.sqrt(100)
        assert abs(np.mean(values) - nnls_chance(n, k)) < 3 * error
        level = adjusted(np.array(values), nnls_chance(n, k))
        assert abs(level.mean()) < 3 * error / (1 - nnls_chance(n, k))
        assert abs(level).max() < largest

    @pytest.mark.parametrize(("n", "k"), [(10**6, 50_000), (10**6, 300_000), (200_000, 180_000), (60_000, 12_000)])
    def test_chance_of_a_long_sum_is_that_of_its_terms_around_the_mean(self, monkeypatch, n, k):
        whole = nnls_chance(n, k)
        monkeypatch.setattr(_chance, "ALL_TERMS", 5_000)
        assert nnls_chance(n, k) == pytest.approx(whole, rel=1e-11)

    def test_chance_of_the_most_samples_that_a_graph_can_have(self):
        # Nearly every draw shares k² / n: the value of that many.
        assert nnls_chance(2**31 - 1, 2**30) == pytest.approx(1 / 3, rel=1e-8)
        for n in (2**31, 8 * 10**9, 10**400):
            with pytest.raises(ValueError, match=f"n is a number of {n.bit_length()} bits, expected at most 2,147"):
                nnls_chance(n, 5)


class TestAdjusted:
    def test_adjusted_is_nan_where_no_value_could_tell_anything(self):
        labels = [0, 0, 0, 1]
        everyone = nncs_by_class(rra.knn_graph(RNG.normal(size=(4, 2)), 3), labels)
        assert math.isnan(everyone.micro.adjusted)
        alone = nncs_by_class(rra.knn_graph(RNG.normal(size=(4, 2)), 2), labels)
        assert np.isnan(alone.per_class.adjusted).tolist() == [False, True]
        assert math.isnan(adjusted(1.0, 1.0))

    def test_adjusted_keeps_the_shape_of_a_matrix(self):
        np.testing.assert_allclose(adjusted(np.array([[0.2, 1.0], [0.6, 0.1]]), 0.2), [[0, 1], [0.5, -0.125]])

    @pytest.mark.parametrize(("n", "k"), [(50, 2), (700, 5), (700, 150)])
    def test_adjusted_nnls_of_a_graph_with_itself_is_exactly_one(self, n, k):
        graph = rra.knn_graph(RNG.normal(size=(n, 6)), k)
        assert nnls(graph, graph) == 1.0
        assert adjusted(nnls(graph, graph), nnls_chance(n, k)) == 1.0
