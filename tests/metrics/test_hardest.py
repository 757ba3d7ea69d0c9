import numpy as np
import pytest

import rra_monitor as rra
from rra_monitor.metrics import hardest_classes, hardest_samples, nncs_by_class
from tests.helpers.graphs import listed

RNG = np.random.default_rng(5)


class TestHardest:
    def test_a_mislabelled_sample_comes_first_with_its_likely_class(self):
        labels = np.repeat([4, 5], 20)
        points = labels[:, None] * 50 + RNG.normal(size=(40, 2))
        labels[3] = 5
        [first, second] = hardest_samples(rra.knn_graph(points, 6), labels, count=2)
        assert (first.position, first.label, first.value, first.rival, first.rival_share) == (3, 5, 0.0, 4, 1.0)
        assert second.value > 0.8

    def test_equals_sorting_by_hand(self, classes):
        points, labels, graph = classes
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

    def test_classes_are_sorted_by_the_adjusted_value(self, classes):
        _, labels, graph = classes
        found, table = hardest_classes(graph, labels), nncs_by_class(graph, labels)
        assert [h.adjusted for h in found] == sorted(table.per_class.adjusted)
        for hard in found:
            row = table.classes.tolist().index(hard.label)
            assert hard.size == table.sizes[row]
            assert hard.value == table.matrix[row, row]
            assert hard.rival_share == max(np.delete(table.matrix[row], row))

    def test_counts_below_one_are_refused(self, classes):
        _, labels, graph = classes
        with pytest.raises(ValueError, match="count=0"):
            hardest_samples(graph, labels, count=0)
