import math

import numpy as np
import pytest

import rra_monitor as rra
from rra_monitor.metrics import graph_health, near_duplicates, twonn
from rra_monitor.metrics._near_duplicates import beyond
from tests.helpers.manifolds import cloud, torus


def with_copies(points, count, noise=1e-6):
    """The first points replaced by others that differ in the last bits."""
    changed = points.copy()
    changed[:count] = points[len(points) - count :] * (1 + noise * cloud(count, points.shape[1], seed=9))
    return changed


def found_in(points, k=20):
    return near_duplicates(rra.knn_graph(points, min(k, len(points) - 1), "exact"))


@pytest.fixture(scope="module")
def pixels(digits):
    return digits[0].flatten(1).numpy()


class TestNearDuplicates:
    @pytest.mark.parametrize(("count", "plain"), [(0, 9.0), (2, 7.4), (18, 2.8), (54, 1.2)])
    def test_digits_whose_last_bits_differ_rule_the_id_and_are_named(self, pixels, count, plain):
        found = found_in(with_copies(pixels, count))
        assert found.rows.tolist() == [*range(count), *range(1797 - count, 1797)]
        assert found.rule == (count > 0)
        assert found.plain == pytest.approx(plain, abs=0.2)
        assert found.without == pytest.approx(9.1, abs=0.4)

    @pytest.mark.parametrize("k", [2, 7, 8, 20])
    @pytest.mark.parametrize("dim", [2, 5, 15])
    def test_any_k_and_dimension_tells_them(self, k, dim):
        found = found_in(with_copies(cloud(1000, dim).astype(np.float32), 10), k)
        assert set(found.rows) <= {*range(10), *range(990, 1000)}
        assert len(found.rows) >= 14
        assert found.rule

    @pytest.mark.parametrize("k", [2, 19])
    def test_one_pair_of_twenty_samples_is_told(self, k):
        found = found_in(with_copies(cloud(20, 8), 1), k)
        assert found.rows.tolist() == [0, 19]
        assert found.plain < 1 < 4 < found.without

    def test_one_image_as_two_files_is_a_near_duplicate(self, pixels):
        changed = pixels.copy()
        changed[:18] = (pixels[-18:] + 0.01 * cloud(18, 64)).clip(0, 1)
        found = found_in(changed)
        assert len(found.rows) >= 30
        assert found.rule

    def test_up_to_a_quarter_of_the_samples_may_be_near_duplicates(self):
        assert found_in(with_copies(cloud(1000, 8), 100)).share == 0.2
        # Beyond it they are the rule, and nothing is left to tell them from.
        assert found_in(with_copies(cloud(1000, 8), 200)).share == 0

    def test_exact_duplicates_are_none_and_hide_none(self):
        points = with_copies(cloud(500, 8), 5)
        points[100:110] = points[200:210]
        found = found_in(points)
        assert found.rows.tolist() == [*range(5), *range(495, 500)]
        # A near-duplicate of two that are equal has a near second neighbour, and an ordinary ratio.
        points[300] = points[100] * (1 + 1e-6)
        assert 300 not in found_in(points).rows

    def test_three_of_one_kind_leave_the_id_as_it_is(self):
        points = cloud(500, 8)
        points[:10], points[10:20] = points[20:30] + 1e-5 * cloud(10, 8, 1), points[20:30] + 1e-5 * cloud(10, 8, 2)
        assert not found_in(points).rule

    @pytest.mark.slow
    def test_an_approximate_graph_tells_them(self):
        points = with_copies(cloud(3000, 10).astype(np.float32), 15)
        found = near_duplicates(rra.knn_graph(points, 15, "nndescent"))
        assert len(found.rows) >= 28
        assert found.rule

    def test_rounding_that_pulls_equal_samples_apart_is_confirmed_by_brute_force(self):
        points = (cloud(400, 6) + 1000).astype(np.float32)
        points[:4] = np.nextafter(points[-4:], np.float32(np.inf))
        graph = rra.knn_graph(points, 10)
        for row in near_duplicates(graph).rows:
            distances = np.linalg.norm(points.astype(float) - points[row].astype(float), axis=1)
            distances[row] = np.inf
            near, far = np.sort(distances)[:2]
            assert far / near == pytest.approx(graph.distances[row, 1] / graph.distances[row, 0], rel=1e-3)
        assert near_duplicates(graph).rows.tolist() == [0, 1, 2, 3, 396, 397, 398, 399]

    def test_collapsed_layers_have_none(self):
        assert found_in(np.zeros((50, 3))).rows.size == 0
        grid = np.stack(np.meshgrid(*[np.arange(8.0)] * 3), axis=-1).reshape(-1, 3)
        found = found_in(grid)
        assert found.rows.size == 0
        assert math.isnan(found.plain)
        assert math.isnan(found.excess)

    def test_a_graph_of_one_neighbour_is_refused_and_its_health_unknown(self):
        graph = rra.knn_graph(cloud(30, 3), 1)
        with pytest.raises(ValueError, match="build it with k >= 2"):
            near_duplicates(graph)
        assert math.isnan(graph_health(graph).near_duplicates)

    def test_health_has_the_fraction(self):
        graph = rra.knn_graph(with_copies(cloud(500, 8), 5), 10)
        assert graph_health(graph).near_duplicates == 0.02


class TestFalseAlarms:
    @pytest.mark.parametrize("chance", [0.1, 0.02])
    @pytest.mark.parametrize("n", [20, 400])
    def test_exponential_values_are_beyond_as_rarely_as_stated(self, n, chance):
        draws = np.random.default_rng(0).exponential(size=(3000, n))
        count = sum(int(beyond(each, chance).sum()) for each in draws)
        assert 0.4 * chance < count / 3000 < 1.25 * chance

    def test_the_excess_of_exponential_ratios_is_standard_normal(self):
        from rra_monitor.metrics._near_duplicates import _excess
        from rra_monitor.metrics._ratios import exponential_rate

        draws = np.sort(np.random.default_rng(0).exponential(size=(2000, 500)))
        found = [_excess(exponential_rate(x, "ml", 0), exponential_rate(x, "censored", 0.1), 500) for x in draws]
        assert np.mean(found) == pytest.approx(0, abs=0.1)
        assert np.std(found) == pytest.approx(1, abs=0.1)

    @pytest.mark.parametrize("k", [2, 20])
    def test_manifolds_heavy_tails_and_borders_have_none(self, k):
        rng = np.random.default_rng(0)
        clouds = [torus(500, d) for d in (1, 2, 5, 20)] + [cloud(500, d) for d in (1, 2, 5, 20)]
        clouds += [rng.random((500, 5)), rng.standard_t(1, size=(500, 10)), np.exp(2 * cloud(500, 4))]
        clouds += [np.round(100 * cloud(500, 3)), np.maximum(cloud(500, 30) - 2, 0)]
        assert [place for place, points in enumerate(clouds) if found_in(points, k).rule] == []

    @pytest.mark.parametrize("k", [2, 20])
    @pytest.mark.parametrize("spread", [0.3, 1.0, 2.0])
    def test_collapsed_classes_have_none(self, k, spread):
        rng = np.random.default_rng(0)
        centres = 10 * rng.normal(size=(10, 10))
        points = centres[np.arange(1000) % 10] + np.exp(spread * rng.normal(size=(1000, 1))) * cloud(1000, 10)
        assert not found_in(points, k).rule

    @pytest.mark.parametrize("k", [2, 20])
    def test_a_pair_far_from_all_others_is_none(self, k):
        points = cloud(500, 5)
        points[0] += 1e5
        points[1] = points[0] + 0.5
        found = found_in(points, k)
        assert found.rows.size == 0
        assert found.excess > 5

    @pytest.mark.parametrize("few", [100, 500])
    def test_samples_on_a_surface_among_those_in_more_dimensions_are_none(self, few):
        surface = np.pad(cloud(few, 2), ((0, 0), (0, 18)))
        found = found_in(np.concatenate([surface, 3 + cloud(1000 - few, 20, 1)]))
        assert not found.rule
        # Significant all the same: a test of the exponential law alone would name it.
        assert found.excess > 5

    def test_the_input_of_digits_has_none(self, pixels):
        found = found_in(pixels)
        assert found.rows.size == 0
        assert found.plain == found.without == twonn(rra.knn_graph(pixels, 20))
