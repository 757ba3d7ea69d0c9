import math

import numpy as np
import pytest
import torch

import rra_monitor as rra
from rra_monitor.metrics import (
    _chance,
    adjusted,
    cka_matrix,
    linear_cka,
    linear_kernel,
    nnls,
    nnls_chance,
    nnls_divergence,
    nnls_matrix,
    nnls_per_sample,
    turnover,
    turnovers,
)
from tests.helpers import similarity
from tests.helpers.graphs import graph_of, listed

pytestmark = pytest.mark.usefixtures("two_threads")

RNG = np.random.default_rng(7)


@pytest.fixture(scope="module")
def case():
    """Two related representations of 60 samples, with k = 9."""
    a = RNG.normal(size=(60, 4))
    return a, a + 0.5 * RNG.normal(size=a.shape)


class TestPerSample:
    def test_equals_the_loop_and_has_the_nnls_as_its_mean(self, case):
        a, b = case
        found = nnls_per_sample(rra.knn_graph(a, 9), rra.knn_graph(b, 9))
        np.testing.assert_allclose(found, similarity.nnls_per_sample(listed(a, 9), listed(b, 9)))
        assert found.mean() == pytest.approx(nnls(rra.knn_graph(a, 9), rra.knn_graph(b, 9)))

    def test_is_symmetric_and_exactly_one_for_the_same_graph(self, case):
        a, b = (rra.knn_graph(points, 9) for points in case)
        np.testing.assert_array_equal(nnls_per_sample(a, b), nnls_per_sample(b, a))
        assert (nnls_per_sample(a, a) == 1).all()

    def test_follows_the_samples_where_they_are_put_in_another_order(self, case):
        order = RNG.permutation(60)
        moved = nnls_per_sample(*(rra.knn_graph(points[order], 9) for points in case))
        np.testing.assert_array_equal(moved, nnls_per_sample(*(rra.knn_graph(points, 9) for points in case))[order])

    def test_the_order_of_neighbours_does_not_matter(self):
        assert (
            nnls_per_sample(graph_of([[1, 2], [2, 0], [0, 1]]), graph_of([[2, 1], [0, 2], [1, 0]])).tolist() == [1] * 3
        )


class TestBounds:
    @pytest.mark.parametrize("wrong", [4, -1, 2**31 - 1])
    @pytest.mark.parametrize("compare", [nnls, nnls_per_sample, turnover])
    def test_a_neighbour_that_does_not_exist_is_refused(self, compare, wrong):
        right, broken = graph_of([[1], [0], [3], [2]]), graph_of([[1], [0], [3], [2]])
        broken.indices[2] = wrong  # arrays can be written to after they were checked
        for pair in ((right, broken), (broken, right)):
            with pytest.raises(ValueError, match=f"neighbour 0 of sample 2 is {wrong}, expected .* 0 to 3"):
                compare(*pair)

    @pytest.mark.parametrize("compare", [nnls_per_sample, turnover])
    def test_graphs_that_do_not_compare_are_refused(self, compare):
        with pytest.raises(ValueError, match="n=4, k=1 and n=4, k=2"):
            compare(graph_of([[1], [0], [3], [2]]), graph_of([[1, 2], [0, 2], [3, 0], [2, 0]]))
        share = rra.KnnGraph(np.array([[1], [0]], np.int32), np.ones((2, 1), np.float32), total=4)
        with pytest.raises(ValueError, match="gather_graph first"):
            compare(share, share)


class TestChance:
    @pytest.mark.parametrize("k", [2, 20])
    def test_unrelated_features_give_chance_and_adjusted_values_near_zero(self, k):
        rng = np.random.default_rng(0)
        values = [nnls(*(rra.knn_graph(rng.normal(size=(200, d)), k) for d in (3, 12))) for _ in range(100)]
        error = np.std(values, ddof=1) / math.sqrt(100)
        assert abs(np.mean(values) - nnls_chance(200, k)) < 3 * error
        level = adjusted(np.array(values), nnls_chance(200, k))
        assert abs(level.mean()) < 3 * error / (1 - nnls_chance(200, k))
        assert abs(level).max() < 0.02

    @pytest.mark.parametrize(("n", "k"), [(50, 2), (700, 5), (700, 150)])
    def test_a_graph_with_itself_gives_exactly_one(self, n, k):
        graph = rra.knn_graph(RNG.normal(size=(n, 6)), k)
        assert nnls(graph, graph) == 1.0
        assert adjusted(nnls(graph, graph), nnls_chance(n, k)) == 1.0

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


class TestDivergence:
    def test_equals_the_loop_reference(self):
        p, q = RNG.random(size=(2, 5, 7))
        p[0, :3], q[0, 1:4] = 0, 0
        p[1, :3], q[1, 1:4] = 1, 1
        p[2, 0], q[2, 0], p[2, 1], q[2, 1] = 0, 1, 1, 0
        assert nnls_divergence(p, q) == pytest.approx(similarity.divergence(p.tolist(), q.tolist()), rel=1e-12)

    def test_is_symmetric_and_zero_for_equal_matrices_only(self):
        p, q = RNG.random(size=(2, 6, 6))
        assert nnls_divergence(p, p) == 0
        assert nnls_divergence(p, q) == pytest.approx(nnls_divergence(q, p))
        assert nnls_divergence(p, q) > 0

    def test_opposite_certainties_give_one(self):
        assert nnls_divergence(np.eye(4), 1 - np.eye(4)) == 1

    def test_is_exact_for_close_matrices(self):
        # (p - q)² / (8 p (1 - p) ln 2); a difference of entropies has lost all digits at 1e-9.
        for step in (1e-3, 1e-6, 1e-9):
            expected = step**2 / (8 * 0.25 * math.log(2))
            assert nnls_divergence([[0.5 + step / 2]], [[0.5 - step / 2]]) == pytest.approx(expected, rel=1e-5)

    def test_takes_what_nnls_matrix_gives(self):
        graphs = [rra.knn_graph(RNG.normal(size=(40, 3)), 5) for _ in range(3)]
        matrix = nnls_matrix(graphs)
        assert nnls_divergence(matrix, matrix) == 0
        assert nnls_divergence(matrix[:, :2], matrix[:, 1:]) > 0

    @pytest.mark.parametrize("value", [math.nan, -0.1, 1.0001])
    def test_values_that_are_no_nnls_are_refused(self, value):
        with pytest.raises(ValueError, match=rf"second matrix holds {value} at \(1, 0\)"):
            nnls_divergence([[0.5], [0.5]], [[0.5], [value]])

    def test_matrices_of_other_layers_are_refused(self):
        with pytest.raises(ValueError, match=r"shapes \(3, 3\) and \(4, 3\)"):
            nnls_divergence(np.ones((3, 3)), np.ones((4, 3)))
        with pytest.raises(ValueError, match=r"shapes \(0, 0\)"):
            nnls_divergence(np.ones((0, 0)), np.ones((0, 0)))


class TestTurnover:
    def test_equals_differences_of_sets_of_pairs(self, case):
        before, after = (similarity.pairs(listed(points, 9)) for points in case)
        found = turnover(*(rra.knn_graph(points, 9) for points in case))
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

    def test_backwards_births_are_deaths(self, case):
        a, b = (rra.knn_graph(points, 9) for points in case)
        there, back = turnover(a, b), turnover(b, a)
        np.testing.assert_array_equal(there.born_pairs, back.died_pairs)
        np.testing.assert_array_equal(there.gained, back.lost)

    def test_nothing_happens_between_a_graph_and_itself(self, case):
        graph = rra.knn_graph(case[0], 9)
        found = turnover(graph, graph)
        assert (found.changed_share, found.stayed_share, len(found.born_pairs), len(found.stayed_pairs)) == (
            0,
            1,
            0,
            540,
        )
        assert found.gained.tolist() == found.lost.tolist() == [0] * 60

    def test_agrees_with_the_nnls(self, case):
        a, b = (rra.knn_graph(points, 9) for points in case)
        stayed = turnover(a, b).stayed
        np.testing.assert_allclose(nnls_per_sample(a, b), stayed / (18 - stayed))

    def test_unrelated_features_keep_the_stated_share(self):
        rng = np.random.default_rng(2)
        shares = [
            turnover(*(rra.knn_graph(rng.normal(size=(100, 5)), 4) for _ in "ab")).stayed_share for _ in range(50)
        ]
        assert abs(np.mean(shares) - 4 / 99) < 3 * np.std(shares, ddof=1) / math.sqrt(50)

    def test_a_sequence_gives_one_between_each_two(self, case):
        graphs = [rra.knn_graph(points, 9) for points in (*case, case[0])]
        found = turnovers(graphs)
        assert [(t.before, t.after) for t in found] == [(graphs[0], graphs[1]), (graphs[1], graphs[2])]
        with pytest.raises(ValueError, match="at least two graphs to compare, got 1"):
            turnovers(graphs[:1])


class TestLinearCKA:
    """Each of narrow with narrow, narrow with wide and wide with wide takes another form."""

    SHAPES = ((3, 5), (3, 40), (40, 50))

    @pytest.mark.parametrize("dims", SHAPES)
    def test_equals_the_loop_over_whole_kernels(self, dims):
        a, b = (RNG.normal(size=(12, d)) + 3 for d in dims)
        b[:, :3] += 2 * a[:, :3]
        assert linear_cka(a, b) == pytest.approx(similarity.cka(a, b), rel=1e-9)
        assert linear_cka(b, a) == pytest.approx(similarity.cka(a, b), rel=1e-9)

    @pytest.mark.parametrize("dims", SHAPES)
    def test_the_unbiased_one_equals_the_mean_over_all_quadruples(self, dims):
        a, b = (RNG.normal(size=(9, d)) + 1 for d in dims)
        b[:, :3] += 2 * a[:, :3]
        hsic = similarity.unbiased_hsic
        expected = hsic(a, b) / math.sqrt(hsic(a, a) * hsic(b, b))
        assert linear_cka(a, b, unbiased=True) == pytest.approx(expected, rel=1e-9)

    @pytest.mark.parametrize("unbiased", [False, True])
    @pytest.mark.parametrize("dim", [6, 90])
    def test_shift_rotation_scale_and_common_order_do_not_matter(self, dim, unbiased):
        a, b = RNG.normal(size=(50, dim)), RNG.normal(size=(50, 8))
        rotation, _ = np.linalg.qr(RNG.normal(size=(dim, dim)))
        assert linear_cka(a, 1e-9 * (a @ rotation) + 5e-9, unbiased) == pytest.approx(1, abs=1e-6)
        order, plain = RNG.permutation(50), linear_cka(a, b, unbiased)
        assert linear_cka(a @ rotation * 1e9, b, unbiased) == pytest.approx(plain, rel=1e-6)
        assert linear_cka(a[order], b[order], unbiased) == pytest.approx(plain)

    def test_unrelated_wide_features_are_alike_only_for_the_biased_one(self):
        draws = [[RNG.normal(size=(100, 1000)) for _ in "ab"] for _ in range(10)]
        assert np.mean([linear_cka(*pair) for pair in draws]) == pytest.approx(0.91, abs=0.005)
        values = [linear_cka(*pair, unbiased=True) for pair in draws]
        assert abs(np.mean(values)) < 3 * np.std(values, ddof=1) / math.sqrt(10)

    @pytest.mark.parametrize("unbiased", [False, True])
    def test_the_matrix_equals_its_cells(self, unbiased):
        layers = [RNG.normal(size=(20, d)) for d in (3, 30, 7)]
        matrix = cka_matrix(layers, unbiased=unbiased)
        np.testing.assert_allclose(np.diag(matrix), 1)
        np.testing.assert_array_equal(matrix, matrix.T)
        crossed = cka_matrix(layers, [linear_kernel(layers[1])], unbiased)
        np.testing.assert_allclose(crossed[:, 0], matrix[:, 1])
        assert matrix[0, 2] == pytest.approx(linear_cka(layers[0], layers[2], unbiased))

    @pytest.mark.parametrize(("n", "d"), [(30, 7), (30, 9000)])
    def test_keeps_no_more_than_the_smaller_form(self, n, d):
        kernel = linear_kernel(RNG.normal(size=(n, d)).astype(np.float32))
        assert tuple(kernel.rows.shape) == (n, min(n, d))
        assert kernel.gram == (d > n)

    def test_takes_tensors_of_feature_maps_with_gradients_in_half_precision(self):
        maps = torch.randn(16, 4, 3, 3, requires_grad=True)
        assert linear_cka(maps, maps.detach().numpy()) == pytest.approx(1)
        assert linear_cka(maps.to(torch.bfloat16), maps) == pytest.approx(1, abs=0.01)

    @pytest.mark.parametrize("unbiased", [False, True])
    def test_a_dead_layer_has_none_and_says_why(self, unbiased):
        with pytest.warns(UserWarning, match="all 9 samples are equal in a representation"):
            assert math.isnan(linear_cka(np.full((9, 4), 0.1), RNG.normal(size=(9, 3)), unbiased))

    def test_equal_distances_leave_the_unbiased_one_undefined(self):
        with pytest.warns(UserWarning, match="equally far from each other"):
            assert math.isnan(linear_cka(np.eye(9), RNG.normal(size=(9, 3)), unbiased=True))

    def test_what_does_not_compare_is_refused(self):
        a = RNG.normal(size=(6, 2))
        with pytest.raises(ValueError, match="found n=3 and n=6"):
            linear_cka(a, a[:3])
        with pytest.raises(ValueError, match="at least 4 samples, got 3"):
            linear_cka(a[:3], a[:3], unbiased=True)
        with pytest.raises(ValueError, match="empty list"):
            cka_matrix([])
        with pytest.raises(ValueError, match="NaN or infinite"):
            linear_cka(a, a * np.nan)
