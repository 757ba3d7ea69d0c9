import itertools
import logging
import math
import time

import numpy as np
import pytest
import torch

import rra_monitor as rra
from rra_monitor.graph import choose as choose_module
from rra_monitor.graph import nn_descent, sieve
from rra_monitor.graph.choose import choose, exact_seconds, nn_descent_seconds
from rra_monitor.graph.exact import MEMORY_BUDGET
from rra_monitor.graph.points import Points
from rra_monitor.graph.precision import bfloat16_pays

CPU = torch.device("cpu")
SHAPES = list(itertools.product((2_000, 50_000, 150_000, 200_000, 500_000), (10, 64, 512, 3_072), (10, 50)))
CLOCKS = [f"{clock}{unit}" for clock in ("time", "perf_counter", "process_time", "monotonic") for unit in ("", "_ns")]


def chosen(n, dim, k, device=CPU, min_recall=0.95, memory_budget=MEMORY_BUDGET):
    return choose(n, dim, k, device, min_recall, memory_budget)


def test_many_neighbours_of_few_samples_are_found_exactly():
    assert chosen(2_000, 3_072, 20)[0] == "exact"
    assert chosen(15_000, 16_384, 150)[0] == "exact"


@pytest.mark.parametrize("dim", [2**e for e in range(18)])
def test_up_to_130_000_samples_the_graph_is_exact_whatever_its_shape(dim):
    for k in (1, 10, 20, 50, 1_000):
        assert chosen(130_000, dim, k, memory_budget=1 << 50)[0] == "exact"


def test_few_neighbours_of_many_samples_with_few_features_are_found_by_descent():
    assert chosen(200_000, 64, 10)[0] == "nndescent"


def test_where_an_approximation_cannot_serve_the_graph_is_exact():
    assert chosen(200_000, 64, 10, min_recall=0.999)[0] == "exact"
    assert chosen(200_000, 64, 10, torch.device("cuda"))[0] == "exact"
    assert chosen(100, 64, 60, min_recall=0.5)[0] == "exact"


def test_a_descent_that_exceeds_the_memory_budget_is_not_taken():
    needed = nn_descent.nn_descent_bytes(200_000, 64, 10)
    assert chosen(200_000, 64, 10, memory_budget=needed)[0] == "nndescent"
    backend, reason = chosen(200_000, 64, 10, memory_budget=needed - 1)
    assert backend == "exact"
    assert reason == f"a descent would take {needed:,} bytes, above memory_budget={needed - 1:,}"


def test_the_default_budget_holds_a_descent_over_50_000_images_of_cifar_10():
    assert nn_descent.nn_descent_bytes(50_000, 3_072, 30, effort=2) < MEMORY_BUDGET


def test_a_descent_has_to_pay_for_its_compilation():
    assert nn_descent_seconds(50_000, 64, 10) < 0.5 * exact_seconds(50_000, 64, 10)
    backend, reason = chosen(50_000, 64, 10)
    assert backend == "exact"
    assert "s by descent, of which 20 s to compile it, once in a process" in reason
    assert chosen(1_000_000, 64, 10, memory_budget=10 << 30)[0] == "nndescent"


@pytest.fixture
def threads():
    """Whatever the test sets, the number of torch's threads is restored."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_the_choice_is_the_same_after_a_descent_and_with_any_number_of_threads(threads):
    torch.set_num_threads(1)
    before = [chosen(*shape) for shape in SHAPES]
    assert {backend for backend, _ in before} == {"exact", "nndescent"}
    torch.set_num_threads(2)
    assert [chosen(*shape) for shape in SHAPES] == before
    rra.knn_graph(torch.rand(100, 3, generator=torch.Generator().manual_seed(0)), 5, "nndescent")
    assert [chosen(*shape) for shape in SHAPES] == before


def test_neither_the_choice_of_a_backend_nor_that_of_a_precision_reads_a_clock(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    points = Points(torch.randn(1000, 10, generator=generator) @ torch.randn(10, 512, generator=generator))
    asked = []
    monkeypatch.setattr(sieve, "bfloat16_pays", lambda: asked.append(bfloat16_pays()) or asked[0])

    def refused(*_):
        raise AssertionError("a clock was read")

    with monkeypatch.context() as patch:
        for clock in CLOCKS:
            patch.setattr(time, clock, refused)
        for shape in SHAPES:
            chosen(*shape)
        sieve._plan(points, 5)
    assert asked


def test_auto_keeps_to_the_memory_budget_in_its_choice_and_in_the_descent(monkeypatch, caplog):
    monkeypatch.setattr(choose_module, "exact_seconds", lambda n, dim, k: math.inf)  # so that a descent always pays
    monkeypatch.setattr(choose_module, "suits", lambda n, dim: False)
    points = np.random.default_rng(0).normal(size=(2000, 300)).astype(np.float32)  # of which it finds 90 %
    needed = nn_descent.nn_descent_bytes(2000, 300, 10)
    assert rra.knn_graph(points, 10, min_recall=0.8, memory_budget=needed).backend == "nndescent"
    assert rra.knn_graph(points, 10, min_recall=0.8, memory_budget=needed - 1).backend == "exact"
    assert rra.knn_graph(points, 10, min_recall=0.97, memory_budget=needed).backend == "exact"
    assert f"at its highest effort within memory_budget={needed:,} bytes" in caplog.text


def test_the_choice_and_its_reason_are_logged(caplog):
    with caplog.at_level(logging.INFO, "rra_monitor"):
        rra.knn_graph(torch.rand(100, 3, generator=torch.Generator().manual_seed(0)), 5)
    assert "exact for n=100, d=3, k=5: all pairs are compared directly" in caplog.text
