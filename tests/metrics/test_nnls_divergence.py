import math

import numpy as np
import pytest

import rra_monitor as rra
from rra_monitor.metrics import nnls_divergence, nnls_matrix
from tests.helpers import similarity

RNG = np.random.default_rng(7)


class TestNNLSDivergence:
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
