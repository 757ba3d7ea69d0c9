import numpy as np
import pytest
from sklearn.model_selection import LeaveOneOut, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

import rra_monitor as rra
from rra_monitor.measure.quantities import knn_accuracy as module
from rra_monitor.measure.quantities.knn_accuracy import knn_accuracy


@pytest.mark.parametrize("k", [1, 2, 5, 12])
def test_knn_accuracy_equals_scikit_learn_leaving_each_sample_out(digits, k, monkeypatch):
    features, labels = digits[0][:150].reshape(150, -1).numpy(), 3 * digits[1][:150].numpy() - 7
    classifier = KNeighborsClassifier(k, algorithm="brute")
    expected = cross_val_score(classifier, features, labels, cv=LeaveOneOut()).mean()
    graph = rra.knn_graph(features, k)
    assert knn_accuracy(graph, labels) == pytest.approx(expected)
    monkeypatch.setattr(module, "BLOCK", 100)  # a few rows at a time
    assert knn_accuracy(graph, labels) == pytest.approx(expected)


def test_knn_accuracy_is_measured_where_it_is_asked_for_and_there_are_labels(small_net, digits):
    images, labels = digits[0][:80], digits[1][:80]
    samples = {"labelled": rra.FixedSample.from_tensors(images, labels), "bare": rra.FixedSample.from_tensors(images)}
    monitor = rra.Monitor(samples, layers=["input"], quantities=["knn_accuracy"])
    found = monitor.measure(small_net, step=0, epoch=0)
    snapshot = found["labelled"]
    assert snapshot.curves["knn_accuracy"][0] == knn_accuracy(snapshot.graphs["input"], labels.numpy())
    assert snapshot.chances()["knn_accuracy"] == np.bincount(labels).max() / 80
    assert "knn_accuracy" not in found["bare"].curves
