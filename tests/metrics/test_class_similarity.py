import math
import subprocess
import sys

import numpy as np
import pytest

import rra_monitor as rra
from rra_monitor.metrics import (
    adjusted,
    hardest_classes,
    hardest_samples,
    nncs,
    nncs_by_class,
    nncs_ceiling,
    nncs_chance,
    nncs_per_sample,
)
from tests.helpers import similarity
from tests.helpers.graphs import graph_of, listed

RNG = np.random.default_rng(5)


def near(a, b):
    """A graded agreement of numbers: 1 for equal ones, 0 from a distance of 1 on."""
    return np.clip(1 - abs(a - b), 0, 1)


def half(a, b):
    return abs(a - b) < 0.5


@pytest.fixture(scope="module")
def case():
    """Classes -3, 7 and 9 of 40, 15 and 5 samples, somewhat apart, in mixed order; k = 7 exceeds the last."""
    labels = RNG.permutation(np.repeat([7, -3, 9], [15, 40, 5]))
    points = RNG.normal(size=(60, 3)) + labels[:, None] / 6
    return points, labels, rra.knn_graph(points, 7)


class TestPerSample:
    def test_equals_the_loop_and_has_the_nncs_as_its_mean(self, case):
        points, labels, graph = case
        expected = similarity.nncs_per_sample(listed(points, 7), lambda i, j: labels[i] == labels[j])
        found = nncs_per_sample(graph, labels)
        np.testing.assert_allclose(found, expected)
        assert found.mean() == pytest.approx(nncs(graph, labels))

    def test_follows_the_samples_where_they_are_put_in_another_order(self, case):
        points, labels, graph = case
        order = RNG.permutation(60)
        moved = nncs_per_sample(rra.knn_graph(points[order], 7), labels[order])
        np.testing.assert_array_equal(moved, nncs_per_sample(graph, labels)[order])

    def test_names_of_classes_do_not_matter(self, case):
        _, labels, graph = case
        np.testing.assert_array_equal(nncs_per_sample(graph, labels), nncs_per_sample(graph, -100 * labels))

    def test_a_share_of_a_graph_is_refused(self, case):
        _, labels, graph = case
        share = rra.KnnGraph(graph.indices[:9], graph.distances[:9], total=60)
        for measure in (nncs_per_sample, hardest_samples, hardest_classes, nncs_by_class):
            with pytest.raises(ValueError, match="gather_graph first"):
                measure(share, labels[:9])

    def test_neighbours_that_do_not_exist_are_refused(self):
        with pytest.raises(ValueError, match="neighbour 0 of sample 1 is 3, expected positions among the 3 samples"):
            nncs(graph_of([[1], [3], [0]]), [0, 0, 1])
        with pytest.raises(ValueError, match="is -1"):
            nncs_by_class(graph_of([[1], [-1], [0]]), [0, 0, 1])


class TestAgreement:
    @pytest.mark.parametrize("agreement", [half, near])
    def test_equals_the_loop_reference(self, agreement):
        points, targets = RNG.normal(size=(40, 3)), RNG.uniform(0, 3, 40)
        graph = rra.knn_graph(points, 6)

        def agree(i, j):
            return agreement(targets[i], targets[j])

        expected = similarity.nncs_per_sample(listed(points, 6), agree)
        np.testing.assert_allclose(nncs_per_sample(graph, targets, agreement=agreement), expected)
        assert nncs(graph, targets, agreement=agreement) == pytest.approx(np.mean(expected))
        assert nncs_chance(targets, agreement) == pytest.approx(similarity.chance(40, agree))
        assert nncs_ceiling(targets, 6, agreement) == pytest.approx(similarity.ceiling(40, 6, agree))

    def test_gets_the_sample_first_and_the_neighbour_second(self):
        points, targets = RNG.normal(size=(40, 3)), RNG.uniform(0, 3, 40)
        expected = np.mean(similarity.nncs_per_sample(listed(points, 6), lambda i, j: targets[i] < targets[j]))
        assert nncs(rra.knn_graph(points, 6), targets, agreement=np.less) == pytest.approx(expected)

    def test_of_equal_classes_is_the_nncs_with_its_chance_and_ceiling(self, case):
        _, labels, graph = case
        assert nncs(graph, labels, agreement=np.equal) == nncs(graph, labels)
        assert nncs_chance(labels, np.equal) == pytest.approx(nncs_chance(labels))
        assert nncs_ceiling(labels, 7, np.equal) == pytest.approx(nncs_ceiling(labels, 7))

    def test_targets_may_be_sets_of_labels(self):
        points, sets = RNG.normal(size=(50, 3)), RNG.random(size=(50, 4)) < 0.3
        found = nncs(rra.knn_graph(points, 5), sets, agreement=lambda a, b: (a & b).any(axis=-1))
        expected = similarity.nncs_per_sample(listed(points, 5), lambda i, j: any(sets[i] & sets[j]))
        assert found == pytest.approx(np.mean(expected))

    def test_blocks_do_not_show(self, monkeypatch):
        targets, graph = RNG.uniform(0, 3, 40), rra.knn_graph(RNG.normal(size=(40, 3)), 6)
        whole = (nncs(graph, targets, agreement=half), nncs_chance(targets, half), nncs_ceiling(targets, 6, half))
        monkeypatch.setattr("rra_monitor.metrics._targets.BLOCK", 100)
        parts = (nncs(graph, targets, agreement=half), nncs_chance(targets, half), nncs_ceiling(targets, 6, half))
        assert parts == pytest.approx(whole)

    @pytest.mark.parametrize(
        ("agreement", "words"),
        [
            (lambda a, b: 1.0 if abs(a - b) < 0.5 else 0.0, "failed on arrays of shape .*truth value"),
            (lambda a, b: abs(a - b).max(), r"returned float64 of shape \(\)"),
            (lambda a, b: abs(a - b), "returned values from"),
            (lambda a, b: a * np.nan, "returned values from nan to nan"),
        ],
    )
    def test_a_function_that_is_no_agreement_is_refused_with_what_it_must_return(self, agreement, words):
        with pytest.raises(ValueError, match=f"(?s){words}.*degrees of agreement in 0 to 1"):
            nncs(rra.knn_graph(RNG.normal(size=(30, 2)), 4), RNG.uniform(0, 9, 30), agreement=agreement)

    def test_too_few_targets_are_refused(self):
        with pytest.raises(ValueError, match=r"float64 of shape \(4,\), expected an array \(5, …\)"):
            nncs(rra.knn_graph(RNG.normal(size=(5, 2)), 2), [0.1, 0.2, 0.3, 0.4], agreement=half)


class TestByClass:
    def test_the_matrix_equals_the_loop_reference(self, case):
        points, labels, graph = case
        found = nncs_by_class(graph, labels)
        shares = similarity.class_shares(listed(points, 7), labels.tolist())
        assert found.classes.tolist() == [-3, 7, 9]
        assert found.sizes.tolist() == [40, 15, 5]
        for row, a in enumerate(found.classes.tolist()):
            for column, b in enumerate(found.classes.tolist()):
                assert found.matrix[row, column] == pytest.approx(shares[a, b])
        np.testing.assert_allclose(found.matrix.sum(axis=1), 1)

    def test_micro_is_the_nncs_and_macro_the_mean_over_classes(self, case):
        _, labels, graph = case
        found, each = nncs_by_class(graph, labels), nncs_per_sample(graph, labels)
        by_class = [each[labels == name].mean() for name in (-3, 7, 9)]
        np.testing.assert_allclose(found.per_class.value, by_class)
        assert found.micro.value == pytest.approx(nncs(graph, labels))
        assert found.macro.value == pytest.approx(np.mean(by_class))

    def test_levels_are_those_of_the_functions(self, case):
        _, labels, graph = case
        found = nncs_by_class(graph, labels)
        assert found.micro.chance == pytest.approx(nncs_chance(labels))
        assert found.micro.ceiling == pytest.approx(nncs_ceiling(labels, 7))
        np.testing.assert_allclose(found.per_class.chance, [39 / 59, 14 / 59, 4 / 59])
        np.testing.assert_allclose(found.per_class.ceiling, [1, 1, 4 / 7])
        assert found.macro.ceiling == pytest.approx((2 + 4 / 7) / 3)
        assert found.macro.adjusted == pytest.approx(
            (found.macro.value - found.macro.chance) / (found.macro.ceiling - found.macro.chance)
        )
        np.testing.assert_allclose(found.matrix_chance.sum(axis=1), 1)

    def test_separated_classes_reach_the_ceiling_at_any_size(self):
        labels = RNG.permutation(np.repeat([0, 1, 2], [30, 8, 4]))
        found = nncs_by_class(rra.knn_graph(labels[:, None] * 100 + RNG.normal(size=(42, 2)), 10), labels)
        assert found.micro.value == pytest.approx(found.micro.ceiling)
        assert found.micro.value == pytest.approx((30 + 8 * 7 / 10 + 4 * 3 / 10) / 42)
        np.testing.assert_allclose([found.micro.adjusted, found.macro.adjusted, *found.per_class.adjusted], 1)


class TestChance:
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
    def test_holds_for_agreement_functions(self, agreement):
        rng = np.random.default_rng(1)
        targets = rng.exponential(size=100)
        values = [nncs(rra.knn_graph(rng.normal(size=(100, 8)), 2), targets, agreement=agreement) for _ in range(60)]
        chance = nncs_chance(targets, agreement)
        assert abs(np.mean(values) - chance) < 3 * np.std(values, ddof=1) / math.sqrt(60)
        assert abs(adjusted(np.mean(values), chance, nncs_ceiling(targets, 2, agreement))) < 0.03

    def test_adjusted_is_nan_where_no_value_could_tell_anything(self):
        labels = [0, 0, 0, 1]
        everyone = nncs_by_class(rra.knn_graph(RNG.normal(size=(4, 2)), 3), labels)
        assert math.isnan(everyone.micro.adjusted)
        alone = nncs_by_class(rra.knn_graph(RNG.normal(size=(4, 2)), 2), labels)
        assert np.isnan(alone.per_class.adjusted).tolist() == [False, True]
        assert math.isnan(adjusted(1.0, 1.0))

    def test_adjusted_keeps_the_shape_of_a_matrix(self):
        np.testing.assert_allclose(adjusted(np.array([[0.2, 1.0], [0.6, 0.1]]), 0.2), [[0, 1], [0.5, -0.125]])

    def test_levels_need_two_samples_and_a_possible_k(self):
        with pytest.raises(ValueError, match="at least 2 samples, got 1"):
            nncs_chance([3])
        with pytest.raises(ValueError, match="k=4 must lie in 1 to n-1=3"):
            nncs_ceiling([0, 0, 1, 1], 4)


class TestHardest:
    def test_a_mislabelled_sample_comes_first_with_its_likely_class(self):
        labels = np.repeat([4, 5], 20)
        points = labels[:, None] * 50 + RNG.normal(size=(40, 2))
        labels[3] = 5
        [first, second] = hardest_samples(rra.knn_graph(points, 6), labels, count=2)
        assert (first.position, first.label, first.value, first.rival, first.rival_share) == (3, 5, 0.0, 4, 1.0)
        assert second.value > 0.8

    def test_equals_sorting_by_hand(self, case):
        points, labels, graph = case
        rows = []
        for i, row in enumerate(listed(points, 7)):
            found = [labels[j] for j in row]
            own = found.count(labels[i])
            rival_count, rival = max((found.count(name), -name) for name in {-3, 7, 9} - {labels[i]})
            possible = min(7, (labels == labels[i]).sum() - 1)
            rows.append((own / possible, -rival_count, i, own / 7, -rival if rival_count else None))
        found = hardest_samples(graph, labels, count=60)
        assert [(h.position, h.value, h.rival) for h in found] == [(i, v, r) for _, _, i, v, r in sorted(rows)]

    def test_samples_alone_in_their_class_are_left_out(self):
        graph = rra.knn_graph(RNG.normal(size=(6, 2)), 2)
        assert sorted(h.position for h in hardest_samples(graph, [0, 0, 1, 2, 2, 2])) == [0, 1, 3, 4, 5]
        assert sorted(h.label for h in hardest_classes(graph, [0, 0, 1, 2, 2, 2])) == [0, 2]

    def test_one_class_has_no_rival(self):
        graph = rra.knn_graph(RNG.normal(size=(6, 2)), 2)
        assert [h.rival for h in hardest_samples(graph, [0] * 6, count=1)] == [None]
        assert hardest_classes(graph, [0] * 6) == []

    def test_classes_are_sorted_by_the_adjusted_value(self, case):
        _, labels, graph = case
        found, table = hardest_classes(graph, labels), nncs_by_class(graph, labels)
        assert [h.adjusted for h in found] == sorted(table.per_class.adjusted)
        for hard in found:
            row = table.classes.tolist().index(hard.label)
            assert hard.size == table.sizes[row]
            assert hard.value == table.matrix[row, row]
            assert hard.rival_share == max(np.delete(table.matrix[row], row))

    def test_counts_below_one_are_refused(self, case):
        _, labels, graph = case
        with pytest.raises(ValueError, match="count=0"):
            hardest_samples(graph, labels, count=0)


RANK = """
import sys, json, numpy as np, torch.distributed as dist, rra_monitor as rra
from rra_monitor.metrics import graph_health, k_occurrence, nncs, nncs_by_class
rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", store=dist.FileStore(folder + "/store", 3), rank=rank, world_size=3)
rng = np.random.default_rng(0)
labels, whole = rng.integers(0, 4, 90), rra.knn_graph(rng.integers(0, 5, size=(90, 3)), 6)
rows = [slice(0, 50), slice(50, 50), slice(50, 90)][rank]
found = dict(ties=whole.ties, zeros=whole.zeros, checked=whole.checked, offset=rows.start, total=90)
share = rra.KnnGraph(whole.indices[rows], whole.distances[rows], **found)
group, half = dist.group.WORLD, lambda a, b: abs(a - b) < 0.5
assert (nncs_by_class(share, labels[rows], group).matrix == nncs_by_class(whole, labels).matrix).all()
assert nncs(share, labels[rows] / 4, group, agreement=half) == nncs(whole, labels / 4, agreement=half)
assert (k_occurrence(share, group) == k_occurrence(whole)).all()
assert graph_health(share, group) == graph_health(whole)
del group  # gloo's threads end with its last reference; those that outlive the interpreter abort the process
dist.destroy_process_group()
"""


def test_ranks_that_share_a_graph_get_the_values_of_the_whole(tmp_path):
    ranks = [
        subprocess.Popen([sys.executable, "-c", RANK, str(rank), str(tmp_path)], stderr=subprocess.PIPE, text=True)
        for rank in range(3)
    ]
    for rank in ranks:
        errors = rank.communicate(timeout=900)[1]
        assert rank.returncode == 0, errors
