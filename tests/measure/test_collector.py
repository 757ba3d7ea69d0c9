import math
import random
import warnings

import numpy as np
import pytest
import torch

import rra_monitor as rra
from rra_monitor.measure.collector import Collector
from rra_monitor.measure.quantities import STANDARD
from rra_monitor.measure.quantity import Quantity
from rra_monitor.metrics import linear_kernel

FEATURES = np.random.default_rng(0).normal(size=(30, 5))
GRAPH = rra.knn_graph(FEATURES, 4)
LABELS = np.arange(30) % 3


def failing(*_):
    raise RuntimeError("no such thing")


def collected(quantity, labels=LABELS, **given):
    collector = Collector([*STANDARD, quantity], labels)
    for layer in ("input", "fc"):
        collector.add(layer, GRAPH, **given)
    return collector


@pytest.mark.parametrize(
    ("of", "compute", "expected"),
    [
        ("graph", lambda graph, labels: graph.distances[labels == 0, 0].sum(), GRAPH.distances[LABELS == 0, 0].sum()),
        ("gram", lambda kernel: kernel.matrix().trace(), ((FEATURES - FEATURES.mean(axis=0)) ** 2).sum()),
        ("gram", lambda kernel: kernel.eigenvalues().sum(), ((FEATURES - FEATURES.mean(axis=0)) ** 2).sum()),
        ("features", lambda features: features.max(), FEATURES.max()),
    ],
)
def test_a_quantity_gets_what_it_is_of(of, compute, expected):
    collector = collected(Quantity("mine", compute, of=of), features=FEATURES)
    assert collector.curves()["mine"] == pytest.approx([expected] * 2, rel=1e-5)
    assert not collector.reasons


def test_pairs_of_graphs_and_of_gram_matrices_give_arrays():
    overlap = Quantity("both", lambda graphs: [[len(graphs)] * 2] * 2, of="graph pairs")
    assert collected(overlap, features=FEATURES).matrices()["both"].tolist() == [[2, 2], [2, 2]]
    traces = Quantity("traces", lambda kernels: np.add.outer(*[[one.n for one in kernels]] * 2), of="gram pairs")
    assert collected(traces, features=FEATURES).matrices()["traces"].tolist() == [[60, 60], [60, 60]]


@pytest.mark.parametrize(
    ("quantity", "words"),
    [
        (Quantity("mine", failing), "its function failed: RuntimeError('no such thing')"),
        (Quantity("mine", lambda graph, labels: "x"), "its function failed: ValueError"),
        (Quantity("mine", lambda graph, labels: math.nan), "its function gave NaN"),
        (Quantity("mine", lambda graph, labels: math.inf), "its function gave inf"),
        (Quantity("mine", lambda graph, labels: 1.5, low=0, high=1), "its function gave 1.5, expected 0 to 1"),
    ],
)
def test_a_quantity_that_fails_is_undefined_with_the_reason_and_costs_no_other(quantity, words):
    collector = collected(quantity, features=FEATURES)
    assert np.isnan(collector.curves()["mine"]).all()
    assert collector.reasons["mine", "fc"].startswith(words)
    assert np.isfinite(collector.curves()["id"]).all()


@pytest.mark.parametrize(
    ("compute", "words"),
    [
        (failing, "its function failed"),
        (lambda graphs: np.eye(3), r"its function gave an array of shape \(3, 3\), expected \(2, 2\)"),
        (lambda graphs: 2 * np.eye(2), "its function gave 2, expected 0 to 1"),
    ],
)
def test_pairs_that_fail_are_undefined_with_the_reason(compute, words):
    collector = collected(Quantity("mine", compute, of="graph pairs", low=0, high=1), features=FEATURES)
    assert np.isnan(collector.matrices()["mine"]).any()
    with pytest.raises(ValueError, match=words):
        raise ValueError(collector.reasons["mine", ""])


def test_a_standard_quantity_raises_its_errors():
    collector = Collector(STANDARD, LABELS)
    with pytest.raises(ValueError, match="two neighbours"):
        collector.add("input", rra.knn_graph(FEATURES, 1))


def test_without_features_those_that_need_them_are_absent_with_the_reason_and_a_gram_matrix_is_enough_for_others():
    raw = collected(Quantity("mine", lambda features: 1.0, of="features"), kernel=linear_kernel(FEATURES))
    assert np.isnan(raw.curves()["mine"]).all()
    assert "features of the layer, which are never together" in raw.reasons["mine", "input"]
    gram = collected(Quantity("mine", lambda kernel: kernel.n, of="gram"), kernel=linear_kernel(FEATURES))
    assert gram.curves()["mine"].tolist() == [30, 30]


def test_what_needs_labels_is_left_out_without_them():
    collector = collected(Quantity("mine", lambda graph, labels: 1.0, needs_labels=True), labels=None)
    assert not {"mine", "nncs"} & collector.curves().keys()


def test_monitor_warns_of_an_undefined_quantity_once_in_a_run(small_net, digits):
    sample = rra.FixedSample.from_tensors(digits[0][:60], digits[1][:60])
    monitor = rra.Monitor({"p": sample}, layers=["input", "0"], quantities=[Quantity("mine", failing, symbol="MY")])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in range(2):
            monitor.measure(small_net, step=step, epoch=step)
    (said,) = (str(each.message) for each in caught)
    assert said.startswith("layers input, 0 of probe 'p': MY undefined: its function failed")


def test_a_quantity_that_draws_leaves_the_random_streams_of_the_training(small_net, digits):
    def drawn(graph, labels):
        return np.random.rand() + torch.rand(1).item() + random.random()

    sample = rra.FixedSample.from_tensors(digits[0][:60], digits[1][:60])
    monitor = rra.Monitor({"p": sample}, layers=["input"], quantities=[Quantity("mine", drawn)])
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(0)
    monitor.measure(small_net, step=0, epoch=0)
    found = (random.random(), np.random.rand(), torch.rand(1).item())
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(0)
    assert found == (random.random(), np.random.rand(), torch.rand(1).item())
