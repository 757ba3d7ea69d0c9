import numpy as np
import pytest

import rra_monitor as rra
from rra_monitor.metrics import (
    hardest_classes,
    hardest_samples,
    nncs,
    nncs_ceiling,
    nncs_chance,
    nncs_per_sample,
)
from tests.helpers import similarity
from tests.helpers.agreements import half, near
from tests.helpers.graphs import first_rows, graph_of, listed

RNG = np.random.default_rng(5)


class TestNNCS:
    def test_hand_computed(self):
        graph = graph_of([[1, 2], [0, 2], [3, 0], [2, 1]])
        # Pairs of one class: 0-1, 1-0, 2-3, 3-2.
        assert nncs(graph, [0, 0, 1, 1]) == 0.5

    def test_separated_classes_give_one(self):
        labels = np.repeat([0, 1, 2], 20)
        assert nncs(rra.knn_graph(labels[:, None] * 100 + RNG.normal(size=(60, 2)), 19), labels) == 1.0

    @pytest.mark.parametrize("labels", [[0, 1], [0.0, 1.0, 2.0, 0.0], None, [[0], [1], [0], [1]]])
    def test_labels_that_do_not_fit_are_refused(self, labels):
        with pytest.raises(ValueError, match="expected integers of shape"):
            nncs(graph_of([[1], [0], [3], [2]]), labels)


class TestNNCSPerSample:
    def test_equals_the_loop_and_has_the_nncs_as_its_mean(self, classes):
        points, labels, graph = classes
        expected = similarity.nncs_per_sample(listed(points, 7), lambda i, j: labels[i] == labels[j])
        found = nncs_per_sample(graph, labels)
        np.testing.assert_allclose(found, expected)
        assert found.mean() == pytest.approx(nncs(graph, labels))

    def test_follows_the_samples_where_they_are_put_in_another_order(self, classes):
        points, labels, graph = classes
        order = RNG.permutation(60)
        moved = nncs_per_sample(rra.knn_graph(points[order], 7), labels[order])
        np.testing.assert_array_equal(moved, nncs_per_sample(graph, labels)[order])

    def test_names_of_classes_do_not_matter(self, classes):
        _, labels, graph = classes
        np.testing.assert_array_equal(nncs_per_sample(graph, labels), nncs_per_sample(graph, -100 * labels))

    def test_a_shard_of_a_graph_is_refused(self, classes):
        _, labels, graph = classes
        for measure in (nncs_per_sample, hardest_samples, hardest_classes):
            with pytest.raises(ValueError, match=r"holds 9 of 60 samples.* ShardedGraph.gather\(\)"):
                measure(first_rows(graph, 9), labels[:9])


class TestNNCSAgreement:
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

    def test_agreement_gets_the_sample_first_and_the_neighbour_second(self):
        points, targets = RNG.normal(size=(40, 3)), RNG.uniform(0, 3, 40)
        expected = np.mean(similarity.nncs_per_sample(listed(points, 6), lambda i, j: targets[i] < targets[j]))
        assert nncs(rra.knn_graph(points, 6), targets, agreement=np.less) == pytest.approx(expected)

    def test_agreement_of_equal_classes_is_the_nncs_with_its_chance_and_ceiling(self, classes):
        _, labels, graph = classes
        assert nncs(graph, labels, agreement=np.equal) == nncs(graph, labels)
        assert nncs_chance(labels, np.equal) == pytest.approx(nncs_chance(labels))
        assert nncs_ceiling(labels, 7, np.equal) == pytest.approx(nncs_ceiling(labels, 7))

    def test_targets_may_be_sets_of_labels(self):
        points, sets = RNG.normal(size=(50, 3)), RNG.random(size=(50, 4)) < 0.3
        found = nncs(rra.knn_graph(points, 5), sets, agreement=lambda a, b: (a & b).any(axis=-1))
        expected = similarity.nncs_per_sample(listed(points, 5), lambda i, j: any(sets[i] & sets[j]))
        assert found == pytest.approx(np.mean(expected))

    def test_size_of_blocks_does_not_change_the_result(self, monkeypatch):
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
