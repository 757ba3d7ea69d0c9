import math

import numpy as np
import pytest
import torch

from rra_monitor.metrics import cka_matrix, linear_cka, linear_kernel
from tests.helpers import similarity

RNG = np.random.default_rng(7)


pytestmark = pytest.mark.usefixtures("two_threads")


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
    def test_linear_kernel_keeps_the_smaller_form(self, n, d):
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

    def test_cka_refuses_what_does_not_compare(self):
        a = RNG.normal(size=(6, 2))
        with pytest.raises(ValueError, match="found n=3 and n=6"):
            linear_cka(a, a[:3])
        with pytest.raises(ValueError, match="at least 4 samples, got 3"):
            linear_cka(a[:3], a[:3], unbiased=True)
        with pytest.raises(ValueError, match="empty list"):
            cka_matrix([])
        with pytest.raises(ValueError, match="NaN or infinite"):
            linear_cka(a, a * np.nan)
